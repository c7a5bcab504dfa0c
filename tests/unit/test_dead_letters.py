"""What is to be done with a dead letter is decided by its run as it is now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.dead_letters import Letter, Remedy, judge
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import FlowRun

DUE = datetime(2026, 1, 1, tzinfo=UTC)
GAVE_UP = "Gave up after 200 tries: throttled"
RUN = FlowRun(
    id="run", name="n", scheduled_time=DUE, claim_id="claim", flow_id="flow", flow_name="etl"
)


def letter(**about: Any) -> Letter:
    return Letter(queue_url="q", message_id="m", receipt="r", body="", sent=DUE, **about)


def state(type: str, **fields: Any) -> RunState:
    return RunState(
        **{
            "type": type,
            "scheduled_time": DUE,
            "claim_id": None,
            "infrastructure_id": None,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (state("CRASHED"), Remedy.SCHEDULE),
        (state("SCHEDULED"), Remedy.SEND),
        (state("PENDING", claim_id="claim"), Remedy.SEND),
        (state("PENDING", claim_id="another's"), Remedy.DROP),
        (state("SCHEDULED", scheduled_time=DUE + timedelta(hours=1)), Remedy.DROP),
        (state("RUNNING"), Remedy.DROP),
        (state("CANCELLED"), Remedy.DROP),
        (state("FAILED"), Remedy.SCHEDULE),
        (state("COMPLETED"), Remedy.DROP),
        (state("CRASHED", is_served=False), Remedy.LEAVE),
        (None, Remedy.DROP),
    ],
)
def test_a_run_decides_by_its_state(found: RunState | None, remedy: Remedy) -> None:
    assert judge(letter(run=RUN), found, GAVE_UP)[0] is remedy


@pytest.mark.parametrize("type", ["CRASHED", "FAILED"])
def test_a_run_that_ended_by_itself_since_is_not_run_again(type: str) -> None:
    found = judge(letter(run=RUN), state(type), "Some reference tasks failed.")

    assert found[0] is Remedy.DROP


def test_a_task_event_is_sent_again_and_poison_is_left() -> None:
    assert judge(letter(event={"detail": {}}), None, "")[0] is Remedy.SEND
    assert judge(letter(), None, "")[0] is Remedy.LEAVE
