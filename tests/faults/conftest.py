"""Adds up the scenarios of all worker processes, and tells the sum last of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.rounds import ROUNDS, SEED
from tests.faults.tally import TALLY, told
from tests.support.simulated_functions import simulated


@pytest.fixture
def virtual() -> Iterator[None]:
    """Let agents live in simulated worlds, in virtual time."""
    with simulated():
        yield


class _Sum:
    def __init__(self) -> None:
        self.tally: Counter[str] = Counter()

    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker process counted."""
        self.tally.update(getattr(node, "workeroutput", {}).get("tally", {}))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where anything was lost, doubled or stuck, whatever the tests say."""
        self.tally.update(TALLY)
        if any(self.tally[name] for name in ("lost", "doubled", "stuck")):
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Write the sum as the very last line."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.tally:
            reporter.write_line(f"SEED={SEED} ROUNDS={ROUNDS:g}")
            reporter.write_line(told(self.tally))


def pytest_configure(config: pytest.Config) -> None:
    """Add up in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Sum(), "tally")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on what this worker process counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = dict(TALLY)
