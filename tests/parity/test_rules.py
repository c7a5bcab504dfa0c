"""The rules themselves: each says something, none says too much, and all start from recordings."""

from __future__ import annotations

import pytest

from tests.parity import legacy_agent
from tests.parity.cases import DEFAULT_FILE, Case, load
from tests.parity.comparison import touched, visible
from tests.parity.expectation import calls_of, recorded
from tests.parity.rules import RULES
from tests.parity.rules.revisions import Finder

CASES = load(DEFAULT_FILE)

MODELLED = ("DescribeTaskDefinition", "GetObject", "RegisterTaskDefinition", "RunTask")


def test_no_rule_is_dead():
    assert [rule.name for rule, ids in touched(CASES).items() if not ids] == []


def test_only_a_universal_rule_touches_more_than_a_quarter_of_the_cases():
    wide = {rule.name for rule, ids in touched(CASES).items() if len(ids) > len(CASES) / 4}

    assert wide <= {rule.name for rule in RULES if rule.universal}


def test_rules_have_names_of_their_own_and_a_reason():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(len(rule.why) > 40 for rule in RULES)


@pytest.mark.parametrize("recording", [c for c in CASES if not c.validates], ids=lambda c: c.id)
def test_what_was_not_recorded_is_derived_as_what_was(recording: Case):
    """Where a rule lets a launch go on, its calls come from the model of the legacy agent."""
    for index, step in enumerate(recording.output["runs"]):
        run = recording.flow_runs[0 if recording.is_environment else index]
        model = legacy_agent.first_calls(recording, run)
        key = model.key and {"Bucket": model.key[0], "Key": model.key[1]}
        derived = dict(zip(MODELLED, (model.describe, key, model.register, model.run), strict=True))
        for call in calls_of(recording, step):
            of_another_revision = str(call.params.get("taskDefinition")).startswith("arn:")
            if call.operation in MODELLED and not of_another_revision:
                assert _as_json(call.params) == _as_json(derived[call.operation])


LOOKED_FOR = [
    c
    for c in CASES
    # Any error of a look made the legacy agent register.
    if c.existing and not c.is_environment and not c.fault("DescribeTaskDefinition")
]


@pytest.mark.parametrize("recording", LOOKED_FOR, ids=lambda c: c.id)
def test_revisions_are_looked_for_as_they_were(recording: Case):
    """The rules about revisions are changes of a search that finds what the legacy agent found."""
    before = recorded(recording)

    assert visible(Finder()(recording, before)) == visible(before)


def _as_json(value: object) -> object:
    """Return a value as a recording holds it: a set was written as text."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return str(value) if isinstance(value, set) else value
