from typing import Any

import pytest

from fargate_agent.diagnosis import diagnose
from fargate_agent.orchestrators.states import RunState
from fargate_agent.watch import conclude
from tests.support.fakes import FakePrefect, run_state
from tests.support.values import CLUSTER_ARN, RUN_ID, TASK_ARN, claimed_overrides, stopped_task

THIS_TASK = f"{CLUSTER_ARN}::{TASK_ARN}"
ANOTHER_TASK = f"{CLUSTER_ARN}::{TASK_ARN[:-1]}0"


def told(state: RunState | None, detail: dict[str, Any]) -> list[tuple[Any, ...]]:
    prefect = FakePrefect(states={RUN_ID: state} if state else {})
    conclude(prefect, detail)  # type: ignore[arg-type]
    return prefect.told


def crashed(detail: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [("crash", RUN_ID, diagnose(detail))]


@pytest.mark.parametrize("reported", [THIS_TASK, None])
def test_a_running_run_whose_task_stopped_crashes_with_the_diagnosis(reported: str | None):
    detail = stopped_task()

    assert told(run_state("RUNNING", infrastructure_id=reported), detail) == crashed(detail)


@pytest.mark.parametrize("reported", [THIS_TASK, None])
def test_a_cancelling_run_whose_task_stopped_is_cancelled(reported: str | None):
    assert told(run_state("CANCELLING", infrastructure_id=reported), stopped_task()) == [
        ("cancelled", RUN_ID, f"The ECS task {TASK_ARN} has stopped.")
    ]


def test_a_pending_run_whose_own_task_stopped_crashes():
    detail = stopped_task(overrides=claimed_overrides("claim-1"))

    assert told(run_state("PENDING", claim_id="claim-1"), detail) == crashed(detail)


@pytest.mark.parametrize("overrides", [claimed_overrides("claim-1"), {}])
def test_a_run_pending_under_a_later_claim_is_left_alone(overrides: Any):
    assert told(run_state("PENDING", claim_id="claim-2"), stopped_task(overrides=overrides)) == []


@pytest.mark.parametrize("type", ["RUNNING", "CANCELLING"])
def test_a_run_in_a_later_task_is_left_alone(type: str):
    assert told(run_state(type, infrastructure_id=ANOTHER_TASK), stopped_task()) == []


@pytest.mark.parametrize(
    "type", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SCHEDULED", "PAUSED"]
)
def test_a_run_that_waits_for_no_task_is_left_alone(type: str):
    state = run_state(type, infrastructure_id=THIS_TASK, claim_id="claim-1")

    assert told(state, stopped_task(overrides=claimed_overrides("claim-1"))) == []


def test_a_deleted_run_is_left_alone():
    assert told(None, stopped_task()) == []


@pytest.mark.parametrize("started_by", ["ecs-svc/1234567890", "", "nightly"])
def test_a_task_that_is_no_flow_runs_is_left_alone(started_by: str):
    state = run_state("RUNNING", infrastructure_id=THIS_TASK)

    assert told(state, stopped_task(startedBy=started_by)) == []


def test_a_task_that_nobody_signed_is_left_alone():
    detail = stopped_task()
    del detail["startedBy"]

    assert told(run_state("RUNNING", infrastructure_id=THIS_TASK), detail) == []


def test_a_prefect_that_cannot_be_told_brings_the_event_back():
    prefect = FakePrefect(states={RUN_ID: run_state("RUNNING")}, failure=ConnectionError("down"))

    with pytest.raises(ConnectionError, match="down"):
        conclude(prefect, stopped_task())  # type: ignore[arg-type]


def test_a_pending_run_without_a_claim_is_not_crashed_by_a_task_without_one():
    assert told(run_state("PENDING", claim_id=None), stopped_task(overrides={})) == []


def test_a_pending_run_whose_reported_task_stopped_crashes_though_the_event_names_no_claim():
    detail = stopped_task(overrides={})

    state = run_state("PENDING", claim_id="claim-1", infrastructure_id=THIS_TASK)
    assert told(state, detail) == crashed(detail)
