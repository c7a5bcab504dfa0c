"""What becomes of a Prefect 1 run whose task stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.world1 import World1

KILLED = {
    "lastStatus": "STOPPED",
    "stoppedReason": "OutOfMemoryError: Container killed due to memory usage",
    "containers": [{"name": "flow", "exitCode": 137}],
}
ENDED_WELL = {
    "lastStatus": "STOPPED",
    "stoppedReason": "Essential container in task exited",
    "containers": [{"name": "flow", "exitCode": 0}],
}


@pytest.fixture
def task(world1: World1) -> dict[str, Any]:
    """Launch a run of a flow whose versions are locked."""
    return world1.launch(world1.flow(version_locking=True))


def retrying(world: World1, run: str, ahead: timedelta) -> dict[str, Any]:
    """Let a run go on until one of its tasks waits to be tried again."""
    world.server.set_state(run, "Running")
    return world.server.add_task_run(world.server.run(run), due=datetime.now(UTC) + ahead)


@pytest.mark.parametrize("before", ["Submitted", "Running"])
def test_a_run_whose_container_died_fails_with_cause_and_remedy(
    world1: World1, task: dict[str, Any], before: str
) -> None:
    run = task["startedBy"]
    if before == "Running":
        world1.server.set_state(run, "Running")

    world1.stopped(task, **KILLED)

    assert world1.state(run) == "Failed"
    message = world1.message(run)
    assert task["taskArn"] in message
    assert "OutOfMemoryError" in message
    assert "exited with code 137" in message
    assert "more memory" in message
    assert ("ERROR", message) in world1.logs(run)


def test_a_container_that_ended_well_without_ever_running_the_flow_is_told(
    world1: World1, task: dict[str, Any]
) -> None:
    world1.stopped(task, **ENDED_WELL)

    assert world1.state(task["startedBy"]) == "Failed"


@pytest.mark.parametrize("final", ["Success", "Failed", "Cancelled", "Skipped", "TimedOut"])
def test_a_finished_run_keeps_its_state(world1: World1, task: dict[str, Any], final: str) -> None:
    world1.server.set_state(task["startedBy"], final, "the flow's own words")

    world1.stopped(task, **KILLED)

    assert world1.state(task["startedBy"]) == final
    assert world1.message(task["startedBy"]) == "the flow's own words"


def test_a_clean_exit_while_tasks_wait_to_be_tried_again_leaves_the_run(
    world1: World1, task: dict[str, Any]
) -> None:
    task_run = retrying(world1, task["startedBy"], timedelta(hours=1))

    world1.stopped(task, **ENDED_WELL)

    assert world1.state(task["startedBy"]) == "Running"
    assert task_run["state"] == "Retrying"


def test_a_cancelling_run_is_cancelled(world1: World1, task: dict[str, Any]) -> None:
    world1.server.set_state(task["startedBy"], "Cancelling")

    world1.stopped(task, stoppedReason="Task stopped by user")

    assert world1.state(task["startedBy"]) == "Cancelled"


def test_the_late_event_of_an_old_task_harms_no_new_launch(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world1.server.set_state(run, "Failed")
    world1.server.set_state(run, "Scheduled")  # restarted by a person
    world1.poll()
    world1.deliver()
    assert world1.state(run) == "Submitted"

    world1.stopped(task, **KILLED)

    assert world1.state(run) == "Submitted"


def test_the_late_event_of_an_old_task_harms_no_retry_that_is_claimed(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    task_run = retrying(world1, run, timedelta(seconds=-10))
    world1.poll()
    world1.deliver()
    assert task_run["state"] == "Submitted"

    world1.stopped(task, **KILLED)

    assert world1.state(run) == "Running"


def test_the_late_event_of_an_old_task_harms_no_retry_that_runs(
    world1: World1, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    task_run = retrying(world1, run, timedelta(seconds=-10))
    world1.poll()
    world1.deliver()
    assert len(world1.tasks()) == 2
    with world1.server.lock:  # the new container has begun
        world1.server.put(task_run, {"type": "Running", "message": None})

    world1.stopped(task, **KILLED)

    assert world1.state(run) == "Running"


def test_a_task_that_died_before_a_retry_fails_the_run(world1: World1) -> None:
    run = world1.server.add_run(world1.flow(), state="Running")
    world1.server.add_task_run(run, due=datetime.now(UTC) - timedelta(seconds=10))
    world1.poll()
    world1.deliver()

    world1.stopped(world1.task_of(run["id"]), **KILLED)

    assert run["state"] == "Failed"


def test_a_task_of_another_program_is_left_alone(world1: World1, task: dict[str, Any]) -> None:
    world1.stopped({**task, "startedBy": "ecs-svc/123"}, **KILLED)
    world1.stopped({**task, "startedBy": "9b2d7a3e-0000-4000-8000-000000000000"}, **KILLED)

    assert world1.states(task["startedBy"]) == ["Scheduled", "Submitted"]


def test_a_container_that_hands_over_to_an_environments_own_task_is_done(world1: World1) -> None:
    environment = {"type": "FargateTaskEnvironment", "labels": [], "metadata": {}}
    task = world1.launch(world1.flow(environment=environment))

    world1.stopped(task, **ENDED_WELL)
    assert world1.state(task["startedBy"]) == "Submitted"

    world1.stopped(task, **KILLED)
    assert world1.state(task["startedBy"]) == "Failed"


def test_an_environments_own_task_that_ends_without_running_the_flow_is_told(
    world1: World1,
) -> None:
    flow = world1.task_environment({"family": "etl", "cpu": "256", "memory": "512"})
    task = world1.launch(flow)

    world1.stopped(
        task, **{**ENDED_WELL, "containers": [{"name": "flow-container", "exitCode": 0}]}
    )

    assert world1.state(task["startedBy"]) == "Failed"
