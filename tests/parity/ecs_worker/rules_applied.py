"""What the rules make of a case, and which of them had a say."""

from __future__ import annotations

from collections.abc import Iterable

from tests.parity.ecs_worker.cases import Case
from tests.parity.ecs_worker.comparison import normalized
from tests.parity.ecs_worker.expectation import Expected
from tests.parity.ecs_worker.rules import RULES
from tests.parity.ecs_worker.rules.base import Rule


def expected_of(case: Case) -> Expected:
    """Return what a case is expected to lead to."""
    expected = Expected.recorded(case)
    for rule in RULES:
        expected = rule.expect(expected)
    return expected


def touched(cases: Iterable[Case]) -> dict[Rule, list[str]]:
    """Return for each rule the cases of which it changed the expectation."""
    found: dict[Rule, list[str]] = {rule: [] for rule in RULES}
    for case in cases:
        expected = Expected.recorded(case)
        seen = visible(expected)
        for rule in RULES:
            changed = rule.expect(expected)
            if changed != expected:
                before, seen = seen, visible(changed)
                found[rule] += [case.id] if seen != before else []
            expected = changed
    return found


def visible(expected: Expected) -> object:
    """Return what can be compared with a run of the product."""
    return [
        (one.outcome, one.cluster, [normalized([*call]) for call in one.calls])
        for one in expected.played
    ]
