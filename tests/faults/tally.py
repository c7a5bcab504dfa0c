"""What the scenarios of a whole test run come to, over all worker processes."""

from __future__ import annotations

from collections import Counter

from tests.support.simulated_findings import findings, report
from tests.support.simulated_world import World

NAMES = ("faults", "runs", "lost", "doubled", "stuck")

TALLY: Counter[str] = Counter()
"""Of this process."""


def told(tally: Counter[str]) -> str:
    """Return a tally as one line."""
    return " ".join(f"{name}={tally[name]}" for name in NAMES)


def judge(world: World, what: object = "") -> None:
    """Count what became of a world's runs, which must be neither lost nor doubled nor stuck."""
    __tracebackhide__ = True
    assert not world.calls.broken, "\n".join(world.calls.broken)
    found = findings(world)
    TALLY.update(
        faults=world.calls.faults,
        runs=len(world.expected),
        lost=len(found.lost),
        doubled=len(found.doubled),
        stuck=len(found.stuck),
    )
    assert not found, f"{what}: {found}\n{report(world)}"
