"""What an outage left is found by a poll, and mended once."""

from __future__ import annotations

from typing import Any

import pytest
from moto.ecs.models import ecs_backends

from fargate_agent.reconciliation import PATIENCE_SECONDS
from tests.support import aws
from tests.support.functions import redelivered
from tests.support.stack_template import ACCOUNT, REGION
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

LATER = PATIENCE_SECONDS + 60


def stop(task: dict[str, Any]) -> None:
    """Let a task stop, of which no event is heard."""
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"], reason="lost")


def forget(task: dict[str, Any]) -> None:
    """Let ECS know a task no more, as an hour after its end."""
    for tasks in ecs_backends[ACCOUNT][REGION].tasks.values():
        tasks.pop(task["taskArn"], None)


@pytest.fixture
def lost(world: World) -> str:
    """Claim a run whose message gets lost before its launch."""
    run = world.schedule(world.deployment())
    world.poll()
    (record,) = world.receive()
    world.aws_faults.lose("RunTask", after_effect=False)
    assert world.dispatch([record]) == [run]
    queue = {"QueueUrl": world.runs_queue, "ReceiptHandle": record["receiptHandle"]}
    aws.moto("sqs").delete_message(**queue)
    assert (world.state(run), world.tasks()) == ("PENDING", [])
    return run


def test_a_claimed_run_whose_message_was_lost_is_launched_after_all_and_once(
    world: World, lost: str
) -> None:
    world.heal(PATIENCE_SECONDS - 60)
    assert world.unacknowledged() == 0
    world.heal(LATER)
    world.heal(LATER)
    assert world.unacknowledged() == 1

    assert world.deliver() == []

    assert world.run(lost)["infrastructure_pid"].endswith(world.task_of(lost)["taskArn"])
    world.heal(LATER)
    assert world.unacknowledged() == 0


def test_what_prefects_own_observer_calls_pending_is_launched_after_all_too(
    world: World, lost: str
) -> None:
    world.set_state(lost, "PENDING", name="InfrastructurePending")

    world.heal(LATER)
    assert (
        world.deliver(lambda record: record["attributes"].update(ApproximateReceiveCount="2")) == []
    )

    assert world.task_of(lost)


@pytest.mark.parametrize("before", ["PENDING", "RUNNING"])
def test_a_run_with_its_task_is_left(world: World, before: str) -> None:
    task = world.launched(world.deployment())
    if before == "RUNNING":
        world.set_state(task["startedBy"], "RUNNING", name="Running")

    world.heal(LATER)

    assert world.state(task["startedBy"]) == before
    assert world.unacknowledged() == 0


@pytest.mark.parametrize("before", ["PENDING", "RUNNING"])
def test_a_run_whose_task_stopped_unheard_is_crashed(world: World, before: str) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    if before == "RUNNING":
        world.set_state(run, "RUNNING", name="Running")
    stop(task)

    world.heal(LATER)
    world.heal(LATER)

    assert world.states(run)[-1] == "Crashed"
    assert world.states(run).count("Crashed") == 1
    assert "lost" in world.message(run)


def test_a_running_run_whose_task_ecs_forgot_is_crashed(world: World) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    world.set_state(run, "RUNNING", name="Running")
    forget(task)

    world.heal(LATER)

    assert world.state(run) == "CRASHED"
    assert "ECS does not know it any more" in world.message(run)


@pytest.mark.parametrize("infrastructure", [None, "host:1234", "arn:aws:ecs:x:1:cluster/y::task"])
@pytest.mark.parametrize("before", ["PENDING", "RUNNING"])
def test_what_another_launched_elsewhere_is_left_to_it(
    world: World, before: str, infrastructure: str | None
) -> None:
    run = world.schedule(world.deployment())
    world.set_state(run, "PENDING", name="Pending", state_details={"transition_id": OTHERS})
    if before == "RUNNING":
        world.set_state(run, "RUNNING", name="Running")
    world.prefect.send("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": infrastructure})

    world.heal(LATER)

    assert world.state(run) == before
    assert world.unacknowledged() == 0


OTHERS = "5c8f7f0e-0000-4000-8000-000000000000"


def test_what_is_found_is_logged_and_counted(
    world: World, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.heal(LATER)

    found = {line.message: vars(line) for line in caplog.records}
    assert found["enqueued again"]["flow_run_id"] == lost
    assert (found["reconciled"]["checked"], found["reconciled"]["enqueued"]) == (1, 1)


@pytest.mark.parametrize(
    ("reason", "then"),
    [("Essential container in task exited", "Crashed"), ("Your Spot Task was interrupted.", "")],
)
def test_a_redelivery_concludes_a_task_that_ended_before_its_run_was_told_of_it(
    world: World, reason: str, then: str
) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    (record,) = world.receive()
    world.aws_faults.lose("RunTask", after_effect=True)
    assert world.dispatch([record]) == [run]
    task = world.task_of(run)
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"], reason=reason)

    assert world.dispatch([redelivered(record)]) == []

    assert world.states(run)[-1] == (then or "AwaitingRelaunch")
    assert len([one for one in world.tasks() if one["startedBy"] == run]) == 1
    assert world.run(run)["infrastructure_pid"] is None
