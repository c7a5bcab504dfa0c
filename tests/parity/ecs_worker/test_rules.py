"""The rules themselves: each says something, none says too much."""

from __future__ import annotations

from functools import cache

from tests.parity.ecs_worker.cases import DEFAULT_FILE, load
from tests.parity.ecs_worker.rules import RULES
from tests.parity.ecs_worker.rules_applied import touched
from tests.parity.ecs_worker.variations import variations

CASES = load(DEFAULT_FILE)


@cache
def of_recordings():
    return touched(CASES)


def test_no_rule_is_dead():
    also = touched(variations())

    assert [rule.name for rule, ids in of_recordings().items() if not (ids or also[rule])] == []


def test_only_a_universal_rule_touches_more_than_a_quarter_of_the_cases():
    wide = {rule.name for rule, ids in of_recordings().items() if len(ids) > len(CASES) / 4}

    assert wide <= {rule.name for rule in RULES if rule.universal}


def test_rules_have_names_of_their_own_and_a_reason():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(len(rule.why) > 40 for rule in RULES)
