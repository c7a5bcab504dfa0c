"""A cancelled run's task is stopped and the run Cancelled, whenever the cancellation comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fargate_agent.cancellation import GRACE_SECONDS, REASON, SETTLED_SECONDS
from tests.support import aws
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def stops(world: World, function: str = "poll") -> list[tuple[str, str]]:
    """Return task and reason of each StopTask that a function called."""
    calls = [c for c in world.recorder.calls if c.operation == "StopTask"]
    return [(c.params["task"], c.params["reason"]) for c in calls if c.function == function]


def end(world: World, task: dict[str, Any]) -> None:
    """Let ECS tell that a task has stopped which it was asked to stop."""
    world.stopped(task, stopCode="UserInitiated", stoppedReason=REASON)


@pytest.fixture
def task(world: World) -> dict[str, Any]:
    """Launch a run whose flow has not started yet."""
    return world.launched(world.deployment())


def test_the_task_of_a_run_that_is_pending_is_stopped_and_the_run_cancelled_with_it(
    world: World, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    assert world.cancel(run) == "CANCELLING"

    world.poll()
    assert stops(world) == [(task["taskArn"], REASON)]
    assert world.state(run) == "CANCELLING"
    end(world, task)

    assert world.states(run) == ["Scheduled", "Pending", "Cancelling", "Cancelled"]


def test_a_flow_that_runs_may_end_itself_before_its_task_is_stopped(
    world: World, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world.set_state(run, "RUNNING")
    world.cancel(run)

    with world.later(GRACE_SECONDS - 10):
        world.poll()
    assert stops(world) == []
    with world.later(GRACE_SECONDS + 1):
        world.poll()
    assert stops(world) == [(task["taskArn"], REASON)]
    end(world, task)

    assert world.state(run) == "CANCELLED"


def test_a_task_that_the_run_was_never_told_of_is_found_and_stopped(
    world: World, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world.set_state(run, "RUNNING")
    world.cancel(run)
    world.prefect.send("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": None})

    with world.later(GRACE_SECONDS + 1):
        world.poll()
    assert stops(world) == [(task["taskArn"], REASON)]
    end(world, task)

    assert world.state(run) == "CANCELLED"


def test_a_poke_stops_it_at_once(make_world: Callable[..., World]) -> None:
    world = make_world(agent={"url": True})
    name = world.environment["poll"]["URL_SECRET"]
    aws.moto("secretsmanager").create_secret(Name=name, SecretString="knock")
    task = world.launched(world.deployment())
    world.cancel(task["startedBy"])

    assert world.poke("knock")["statusCode"] == 200

    assert stops(world) == [(task["taskArn"], REASON)]


def test_a_tick_polls_and_no_more(world: World, task: dict[str, Any]) -> None:
    world.cancel(task["startedBy"])

    world.poll({"Records": [{"body": "{}"}]})

    assert stops(world) == []


def test_a_run_whose_tasks_end_was_never_heard_of_is_cancelled(
    world: World, task: dict[str, Any]
) -> None:
    run = task["startedBy"]
    world.cancel(run)
    aws.moto("ecs").stop_task(cluster=task["clusterArn"], task=task["taskArn"])

    world.poll()

    assert (world.state(run), stops(world)) == ("CANCELLED", [])


def test_a_run_cancelled_between_its_launch_and_its_report_has_its_task_stopped(
    world: World,
) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    world.aws_faults.after("RunTask", lambda: world.cancel(run))

    assert world.deliver() == []

    task = world.task_of(run)
    ((arn, reason),) = stops(world, "dispatch")
    assert arn == task["taskArn"]
    assert reason.startswith("The flow run is Cancel")
    world.poll()
    end(world, task)
    assert world.state(run) == "CANCELLED"


def test_a_run_deleted_between_its_claim_and_its_launch_has_its_task_stopped(world: World) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    world.aws_faults.after(
        "RegisterTaskDefinition", lambda: world.prefect.send("DELETE", f"/flow_runs/{run}")
    )

    assert world.deliver() == []

    assert stops(world, "dispatch") == [
        (world.task_of(run)["taskArn"], "The flow run is Deleted in Prefect.")
    ]
    assert world.unacknowledged() == 0


def test_a_run_that_is_cancelled_before_it_is_delivered_is_not_launched(world: World) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    assert world.cancel(run) == "CANCELLED"

    assert world.deliver() == []

    assert world.tasks() == []
    assert world.unacknowledged() == 0


def test_a_claimed_run_without_a_task_is_cancelled_once_no_launch_can_be_under_way(
    world: World,
) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    world.aws_faults.lose("RunTask", after_effect=False)
    assert world.deliver() == [run]
    # A server cancels a run without infrastructure by itself: this one was told of another's.
    fields = {"infrastructure_pid": "host:1234"}
    world.prefect.send("PATCH", f"/flow_runs/{run}", fields)
    assert world.cancel(run) == "CANCELLING"

    with world.later(SETTLED_SECONDS - 10):
        world.poll()
    assert world.state(run) == "CANCELLING"
    with world.later(SETTLED_SECONDS + 1):
        world.poll()
    assert world.state(run) == "CANCELLED"


@pytest.mark.parametrize("infrastructure", ["host:1234", None])
def test_what_another_launched_is_left_to_it(world: World, infrastructure: str | None) -> None:
    run = world.schedule(world.deployment())
    world.set_state(run, "PENDING", name="Pending")
    world.set_state(run, "RUNNING", name="Running")
    fields = {"infrastructure_pid": infrastructure}
    world.prefect.send("PATCH", f"/flow_runs/{run}", fields)
    assert world.cancel(run) == "CANCELLING"

    with world.later(3600):
        world.poll()

    assert (world.state(run), stops(world)) == ("CANCELLING", [])


def test_the_runs_of_another_pool_are_left(make_world: Callable[..., World]) -> None:
    theirs = make_world()
    task = theirs.launched(theirs.deployment())
    theirs.cancel(task["startedBy"])
    ours = make_world()
    ours.make_pool()

    ours.poll()

    assert stops(ours) == []
    assert theirs.state(task["startedBy"]) == "CANCELLING"
