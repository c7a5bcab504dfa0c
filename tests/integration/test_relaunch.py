"""A run whose task was lost by no fault of its flow is launched again, under a new key, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fargate_agent.conclusion import SOON_SECONDS
from tests.support.world import World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

SPOT: dict[str, Any] = {
    "stopCode": "SpotInterruption",
    "stoppedReason": "Your Spot Task was interrupted.",
    "containers": [{"name": "prefect", "exitCode": 137}],
}
NO_NETWORK: dict[str, Any] = {
    "stopCode": "TaskFailedToStart",
    "stoppedReason": "Timeout waiting for network interface provisioning to complete.",
    "containers": [{"name": "prefect"}],
}
FAILED: dict[str, Any] = {
    "stopCode": "EssentialContainerExited",
    "stoppedReason": "Essential container in task exited",
    "containers": [{"name": "prefect", "exitCode": 1}],
}


def claims(world: World, run: str) -> list[str]:
    """Return the claims that tasks of a run were started for, in order."""
    asked = [a for a in world.requests("RunTask") if a["startedBy"] == run]
    return [environment(request)["FARGATE_AGENT_CLAIM_ID"] for request in asked]


def taken_up(world: World, run: str) -> dict[str, Any]:
    """Poll and deliver when the relaunch is due; return the run's newest task."""
    with world.later(SOON_SECONDS + 1):
        world.poll()
        assert world.deliver() == []
    tasks = [task for task in world.tasks() if task["startedBy"] == run]
    newest = claims(world, run)[-1]
    return next(t for t in tasks if environment(t)["FARGATE_AGENT_CLAIM_ID"] == newest)


@pytest.mark.parametrize(
    ("before", "how"), [("PENDING", NO_NETWORK), ("PENDING", SPOT), ("RUNNING", SPOT)]
)
def test_a_lost_run_is_launched_again_once_however_often_its_end_is_told(
    world: World, before: str, how: dict[str, Any]
) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    if before == "RUNNING":
        world.set_state(run, "RUNNING", name="Running")

    for _ in range(3):
        world.stopped(task, **how)

    assert world.state(run) == "SCHEDULED"
    assert world.states(run).count("AwaitingRelaunch") == 1
    assert world.run(run)["infrastructure_pid"] is None
    assert how["stoppedReason"] in world.message(run)
    assert world.message(run).endswith("Relaunch 1 of 2.")
    again = taken_up(world, run)
    world.stopped(task, **how)  # and once more, late
    first, second = claims(world, run)
    assert first != second
    assert world.state(run) == "PENDING"
    assert world.run(run)["infrastructure_pid"].endswith(again["taskArn"])


def test_a_run_that_was_retried_in_its_container_before_is_seen_by_polls_again(
    world: World,
) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    policy = {**world.run(run)["empirical_policy"], "retries": 3, "retry_delay": 0}
    world.prefect.send("PATCH", f"/flow_runs/{run}", {"empirical_policy": policy})
    world.set_state(run, "RUNNING", name="Running")
    world.set_state(run, "FAILED", name="Failed")
    assert world.run(run)["empirical_policy"]["retry_type"] == "in_process"
    assert world.states(run)[-1] == "AwaitingRetry"
    world.set_state(run, "RUNNING", name="Retrying")

    world.stopped(task, **SPOT)

    taken_up(world, run)
    assert len(claims(world, run)) == 2


def test_a_container_that_is_interrupted_while_it_waits_for_a_retry_is_replaced(
    world: World,
) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    policy = {**world.run(run)["empirical_policy"], "retries": 3, "retry_delay": 600}
    world.prefect.send("PATCH", f"/flow_runs/{run}", {"empirical_policy": policy})
    world.set_state(run, "RUNNING", name="Running")
    world.set_state(run, "FAILED", name="Failed")

    world.stopped(task, **SPOT)

    assert world.states(run)[-1] == "AwaitingRelaunch"
    taken_up(world, run)
    assert len(claims(world, run)) == 2


def test_relaunches_are_counted_on_the_server_and_end(make_world: Callable[..., World]) -> None:
    world = make_world(ecs={"relaunch_attempts": 1})
    task = world.launched(world.deployment())
    run = task["startedBy"]
    world.stopped(task, **NO_NETWORK)
    world.cold_start()
    second = taken_up(world, run)

    world.stopped(second, **NO_NETWORK)

    assert world.state(run) == "CRASHED"
    assert len(claims(world, run)) == 2


def test_a_run_that_was_started_anew_by_a_person_may_be_relaunched_as_often_again(
    make_world: Callable[..., World],
) -> None:
    world = make_world(ecs={"relaunch_attempts": 1})
    task = world.launched(world.deployment())
    run = task["startedBy"]
    world.stopped(task, **NO_NETWORK)
    world.stopped(taken_up(world, run), **FAILED)
    assert world.state(run) == "CRASHED"
    world.set_state(run, "SCHEDULED", name="Scheduled")

    world.stopped(taken_up(world, run), **NO_NETWORK)

    assert world.states(run)[-1] == "AwaitingRelaunch"


def test_without_attempts_a_lost_run_crashes(make_world: Callable[..., World]) -> None:
    world = make_world(ecs={"relaunch_attempts": 0})
    task = world.launched(world.deployment())

    world.stopped(task, **SPOT)

    assert world.state(task["startedBy"]) == "CRASHED"


def test_a_paused_run_is_not_launched_again(world: World) -> None:
    task = world.launched(world.deployment())
    run = task["startedBy"]
    world.set_state(run, "RUNNING", name="Running")
    world.set_state(run, "PAUSED", name="Suspended", state_details={"pause_reschedule": True})

    world.stopped(task, **SPOT)

    assert world.state(run) == "PAUSED"
