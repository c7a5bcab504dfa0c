"""Tells after the tests which deliberate difference touched how many cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.parity import cases, comparison
from tests.parity.ecs_worker import cases as worker_cases
from tests.parity.ecs_worker import rules_applied

Touched = Callable[[Any], Mapping[Any, Sequence[str]]]

TABLES: Mapping[str, tuple[str, Callable[[Path], list[Any]], Touched]] = {
    "test_legacy_agent": ("legacy_cases", cases.load, comparison.touched),
    "test_ecs_worker": ("ecs_worker_cases", worker_cases.load, rules_applied.touched),
}
"""For a module of tests: the option that names its cases, what reads them, and its rules."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of one case all those of a file.

    A ``case`` is of ``--legacy-cases``, a ``further_case`` of the project's other recordings, and
    an ``ecs_worker_case`` of ``--ecs-worker-cases``.
    """
    option = metafunc.config.getoption
    files = {
        "case": (option("legacy_cases"), cases.load),
        "further_case": (cases.FURTHER_FILE, cases.load),
        "ecs_worker_case": (option("ecs_worker_cases"), worker_cases.load),
    }
    for name in files.keys() & set(metafunc.fixturenames):
        file, load = files[name]
        held: list[Any] = list(load(file))
        metafunc.parametrize(name, held, ids=[case.id for case in held])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables of rules, where the cases were run."""
    reports = [r for held in terminalreporter.stats.values() for r in held]
    for module, (option, load, touched) in TABLES.items():
        if not any(f"{module}.py" in getattr(r, "nodeid", "") for r in reports):
            continue
        held = load(config.getoption(option))
        terminalreporter.section(f"deliberate differences, in {len(held)} cases")
        for rule, ids in touched(held).items():
            mark = "*" if rule.universal else " "
            terminalreporter.write_line(f"{len(ids):4}{mark} {rule.name}: {rule.why}")
        terminalreporter.write_line("     * at every launch")
