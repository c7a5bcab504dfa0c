"""Tells after the tests which deliberate difference touched how many cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.cases import FURTHER_FILE, load
from tests.parity.comparison import touched


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of one ``case`` all cases of ``--legacy-cases``, of a ``further_case`` others."""
    files = {"case": metafunc.config.getoption("legacy_cases"), "further_case": FURTHER_FILE}
    for name in files.keys() & set(metafunc.fixturenames):
        cases = load(files[name])
        metafunc.parametrize(name, cases, ids=[case.id for case in cases])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of rules, where the cases were run."""
    reports = [r for held in terminalreporter.stats.values() for r in held]
    if not any("test_legacy_agent" in getattr(r, "nodeid", "") for r in reports):
        return
    cases = load(config.getoption("legacy_cases"))
    terminalreporter.section(f"deliberate differences, in {len(cases)} cases")
    for rule, ids in touched(cases).items():
        mark = "*" if rule.universal else " "
        terminalreporter.write_line(f"{len(ids):4}{mark} {rule.name}: {rule.why}")
    terminalreporter.write_line("     * at every launch")
