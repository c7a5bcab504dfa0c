"""Applies the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from tests.parity.cases import Case
from tests.parity.expectation import Call, Expected, recorded
from tests.parity.rules import RULES
from tests.parity.rules.base import Rule


def expected_of(case: Case) -> tuple[Expected, list[Rule]]:
    """Return what a case is expected to lead to, and the rules that had a say in it."""
    expected, touching = recorded(case), []
    for rule in RULES:
        if rule.applies(case):
            changed = rule.expect(case, expected)
            if visible(changed) != visible(expected):
                touching.append(rule)
            expected = changed
    return expected, touching


def visible(expected: Expected) -> object:
    """Return what can be compared with a run of the product."""
    return expected.refused, expected.calls, expected.outcomes


def difference(did: Sequence[Call], expected: Sequence[Call]) -> str | None:
    """Describe where calls first differ from those that are expected, or None."""
    for number, (ours, theirs) in enumerate(zip_longest(did, expected), start=1):
        if ours == theirs:
            continue
        if ours is None or theirs is None or ours[:2] != theirs[:2]:
            return f"call {number} is\n  {ours}\nand not\n  {theirs}"
        keys = [k for k in {**ours.params, **theirs.params} if not _same(k, ours, theirs)]
        lines = (
            f"  {k} is\n    {ours.params.get(k)}\n  and not\n    {theirs.params.get(k)}"
            for k in keys
        )
        return f"call {number}, {ours.operation}:\n" + "\n".join(lines)
    return None


def _same(key: str, ours: Call, theirs: Call) -> bool:
    return bool(ours.params.get(key, ...) == theirs.params.get(key, ...))


def touched(cases: Iterable[Case]) -> dict[Rule, list[str]]:
    """Return for each rule the cases of which it changed the expectation."""
    found: dict[Rule, list[str]] = {rule: [] for rule in RULES}
    for case in cases:
        for rule in expected_of(case)[1]:
            found[rule].append(case.id)
    return found
