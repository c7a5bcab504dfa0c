"""Prefect 1: runs that are cancelled, whose tasks are lost, and whose messages are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.ecs.models import ecs_backends

from fargate_agent.cancellation import GRACE_SECONDS, REASON, SETTLED_SECONDS
from fargate_agent.conclusion import SOON_SECONDS
from fargate_agent.reconciliation import PATIENCE_SECONDS
from tests.support import aws
from tests.support.stack_template import ACCOUNT, REGION
from tests.support.world1 import World1, environment

SPOT: dict[str, Any] = {
    "stopCode": "SpotInterruption",
    "stoppedReason": "Your Spot Task was interrupted.",
    "containers": [{"name": "flow", "exitCode": 137}],
}
NO_NETWORK: dict[str, Any] = {
    "stopCode": "TaskFailedToStart",
    "stoppedReason": "Timeout waiting for network interface provisioning to complete.",
    "containers": [{"name": "flow"}],
}
LATER = PATIENCE_SECONDS + 60


def stops(world: World1) -> list[tuple[str, str]]:
    """Return task and reason of each StopTask that was called."""
    return [(asked["task"], asked["reason"]) for asked in world.requests("StopTask")]


def claims(world: World1, run: str) -> list[str]:
    """Return the claims that tasks of a run were started for, in order."""
    asked = [a for a in world.requests("RunTask") if a["startedBy"] == run]
    return [environment(request)["FARGATE_AGENT_CLAIM_ID"] for request in asked]


def die(task: dict[str, Any], reason: str) -> None:
    """Let a task's container be killed, of which no event is heard."""
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"], reason=reason)
    for tasks in ecs_backends[ACCOUNT][REGION].tasks.values():
        for container in tasks[task["taskArn"]].containers if task["taskArn"] in tasks else []:
            container.exitCode = 137


@pytest.fixture
def task(world1: World1) -> dict[str, Any]:
    """Launch a run of a flow whose versions are locked."""
    return world1.launch(world1.flow(version_locking=True))


# -- cancelled -------------------------------------------------------------------------------------


def test_a_cancelling_run_has_the_time_to_end_itself_and_then_its_task_is_stopped(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world1.server.set_state(run, "Running")
    world1.server.set_state(run, "Cancelling")

    with world1.later(GRACE_SECONDS - 10):
        world1.poll()
    assert stops(world1) == []
    with world1.later(GRACE_SECONDS + 1):
        world1.poll()
    assert stops(world1) == [(task["taskArn"], REASON)]
    world1.stopped(task, stopCode="UserInitiated", stoppedReason=REASON)

    assert world1.states(run)[-2:] == ["Cancelling", "Cancelled"]


def test_a_cancelling_run_without_a_task_is_cancelled_in_the_end(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world1.server.set_state(run, "Cancelling")
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"])

    with world1.later(SETTLED_SECONDS - 10):
        world1.poll()
    assert world1.state(run) == "Cancelling"
    with world1.later(SETTLED_SECONDS + 1):
        world1.poll()
    assert world1.state(run) == "Cancelled"


def test_a_run_that_is_cancelled_between_its_launch_and_its_report_has_its_task_stopped(
    world1: World1,
) -> None:
    run = world1.schedule(world1.flow())
    world1.poll()
    world1.aws_faults.after("RunTask", lambda: world1.server.set_state(run, "Cancelled"))

    assert world1.deliver() == []

    reason = "The flow run is Cancelled in Prefect."
    assert stops(world1) == [(world1.task_of(run)["taskArn"], reason)]


def test_the_runs_of_another_agent_are_left(world1: World1) -> None:
    world1.poll()
    runs = [
        world1.server.add_run(world1.flow(), state=state)["id"]
        for state in ("Cancelling", "Submitted", "Running")
    ]
    with world1.server.lock:
        for run in runs:
            world1.server.run(run)["agent_id"] = "another"

    world1.heal(LATER)

    assert [world1.state(run) for run in runs] == ["Cancelling", "Submitted", "Running"]
    assert world1.unacknowledged() == 0


# -- launched again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "how"), [("Submitted", NO_NETWORK), ("Submitted", SPOT), ("Running", SPOT)]
)
def test_a_lost_run_is_launched_again_once_however_often_its_end_is_told(
    world1: World1, task: dict[str, Any], before: str, how: dict[str, Any]
) -> None:
    run = task["startedBy"]
    if before == "Running":
        world1.server.set_state(run, "Running")

    for _ in range(3):
        world1.stopped(task, **how)

    assert world1.states(run)[-1] == "Scheduled"
    assert world1.states(run).count("Scheduled") == 2
    assert "Relaunch 1 of 2." in world1.message(run)
    with world1.later(SOON_SECONDS + 1):
        world1.poll()
        assert world1.deliver() == []
    world1.stopped(task, **how)  # and once more, late
    first, second = claims(world1, run)
    assert first != second
    assert world1.state(run) == "Submitted"


def test_relaunches_are_counted_on_the_server_and_end(world1: World1, task: dict[str, Any]) -> None:
    run = task["startedBy"]
    for relaunch in range(2):
        newest = [t for t in world1.tasks() if t["startedBy"] == run]
        claim = claims(world1, run)[-1]
        (last,) = [t for t in newest if environment(t)["FARGATE_AGENT_CLAIM_ID"] == claim]
        world1.stopped(last, **NO_NETWORK)
        aws.moto("ecs").stop_task(cluster=last["clusterArn"], task=last["taskArn"])
        assert f"Relaunch {relaunch + 1} of 2." in world1.message(run)
        with world1.later(120):
            world1.poll()
            assert world1.deliver() == []
    claim = claims(world1, run)[-1]
    (last,) = [
        t
        for t in world1.tasks()
        if t["startedBy"] == run and environment(t)["FARGATE_AGENT_CLAIM_ID"] == claim
    ]

    world1.stopped(last, **NO_NETWORK)

    assert world1.state(run) == "Failed"
    assert len({*claims(world1, run)}) == 3


def test_an_interrupted_run_one_of_whose_tasks_runs_is_not_launched_again(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world1.server.set_state(run, "Running")
    task_run = world1.server.add_task_run(world1.server.run(run), due=datetime.now(UTC))
    with world1.server.lock:
        world1.server.put(task_run, {"type": "Running", "message": None})

    world1.stopped(task, **SPOT)

    assert world1.state(run) == "Failed"
    assert "interrupted" in world1.message(run)


# -- healed ----------------------------------------------------------------------------------------


def test_a_submitted_run_whose_message_was_lost_is_launched_after_all_and_once(
    world1: World1,
) -> None:
    run, (record,) = world1.enqueued(world1.flow())
    world1.aws_faults.lose("RunTask", after_effect=False)
    assert world1.dispatch([record]) == [run]
    queue = {"QueueUrl": world1.runs_queue, "ReceiptHandle": record["receiptHandle"]}
    aws.moto("sqs").delete_message(**queue)

    world1.heal(PATIENCE_SECONDS - 60)
    assert world1.unacknowledged() == 0
    world1.heal(LATER)
    world1.heal(LATER)
    assert world1.unacknowledged() == 1
    assert world1.deliver() == []

    assert world1.task_of(run)
    assert world1.state(run) == "Submitted"


@pytest.mark.parametrize("before", ["Submitted", "Running"])
@pytest.mark.parametrize("lives", [True, False])
def test_a_run_whose_task_died_unheard_is_told_and_one_whose_lives_is_left(
    world1: World1, task: dict[str, Any], before: str, lives: bool
) -> None:
    run = task["startedBy"]
    if before == "Running":
        world1.server.set_state(run, "Running")
    if not lives:
        die(task, "Host EC2 (instance i-1) terminated.")

    world1.heal(LATER)

    assert world1.state(run) == (before if lives else "Scheduled")


def test_a_running_run_without_a_task_may_wait_for_a_retry(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world1.server.set_state(run, "Running")
    due = datetime.now(UTC) + timedelta(hours=2)
    world1.server.add_task_run(world1.server.run(run), due=due)
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"])

    world1.heal(LATER)

    assert world1.state(run) == "Running"
