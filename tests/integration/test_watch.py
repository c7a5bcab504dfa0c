"""What becomes of a run whose task stopped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

OUT_OF_MEMORY = {
    "lastStatus": "STOPPED",
    "stoppedReason": "OutOfMemoryError: Container killed due to memory usage",
    "containers": [{"name": "prefect", "exitCode": 137}],
}


@pytest.fixture
def launched(world: World) -> tuple[str, dict[str, Any]]:
    """Launch a run: its id and its task."""
    run = world.schedule(world.deployment())
    world.poll()
    world.deliver()
    (task,) = world.tasks()
    return run, task


@pytest.mark.parametrize("before", ["PENDING", "RUNNING"])
def test_a_run_whose_task_died_is_crashed_with_cause_and_remedy(
    world: World, launched: tuple[str, dict[str, Any]], before: str
) -> None:
    run, task = launched
    if before == "RUNNING":
        world.set_state(run, "RUNNING")

    world.stopped(task, **OUT_OF_MEMORY)

    state = world.run(run)["state"]
    assert state["type"] == "CRASHED"
    assert task["taskArn"] in state["message"]
    assert "OutOfMemoryError" in state["message"]
    assert "exited with code 137" in state["message"]
    assert "more memory" in state["message"]
    assert state["message"] in world.logs(run)


@pytest.mark.parametrize("final", ["COMPLETED", "FAILED", "CANCELLED"])
def test_a_finished_run_keeps_its_state(
    world: World, launched: tuple[str, dict[str, Any]], final: str
) -> None:
    run, task = launched
    world.set_state(run, "RUNNING")
    world.set_state(run, final)

    world.stopped(task, **OUT_OF_MEMORY)

    assert world.run(run)["state_type"] == final


def test_a_cancelling_run_is_cancelled(world: World, launched: tuple[str, dict[str, Any]]) -> None:
    run, task = launched
    world.set_state(run, "RUNNING")
    world.set_state(run, "CANCELLING")

    world.stopped(task, stoppedReason="Task stopped by user")

    assert world.run(run)["state_type"] == "CANCELLED"


def test_the_late_event_of_an_old_task_harms_no_new_launch(
    world: World, launched: tuple[str, dict[str, Any]]
) -> None:
    run, old = launched
    for state in ("RUNNING", "FAILED", "SCHEDULED"):
        world.set_state(run, state)
    world.poll()
    world.deliver()
    assert world.run(run)["state_type"] == "PENDING"

    world.stopped(old, **OUT_OF_MEMORY)
    assert world.run(run)["state_type"] == "PENDING"
    world.set_state(run, "RUNNING")
    world.stopped(old, **OUT_OF_MEMORY)
    assert world.run(run)["state_type"] == "RUNNING"


def test_a_task_of_another_program_is_left_alone(
    world: World, launched: tuple[str, dict[str, Any]]
) -> None:
    _, task = launched
    world.stopped({**task, "startedBy": "ecs-svc/123"}, **OUT_OF_MEMORY)
    world.stopped({**task, "startedBy": "9b2d7a3e-0000-4000-8000-000000000000"}, **OUT_OF_MEMORY)

    assert [path for method, path in world.prefect_calls if path.endswith("set_state")][1:] == []
