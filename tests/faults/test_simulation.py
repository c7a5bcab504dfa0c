"""The simulation is what it stands for, and would see a run that is lost, doubled or stuck."""

from __future__ import annotations

import pytest

from infra import fargate_agent as stack
from tests.faults.profiles import PROFILES, world_of
from tests.support.simulated_ecs import cluster_arn
from tests.support.simulated_findings import findings
from tests.support.simulated_functions import MAX_RECEIVES, TIMEOUTS, VISIBILITY
from tests.support.simulated_tasks import KILLED_LATE


def test_functions_and_queues_have_the_stack_s_limits() -> None:
    timeouts = {name: timeout.to_seconds() for name, timeout in stack.TIMEOUTS.items()}
    assert timeouts == TIMEOUTS
    assert stack.REDELIVERY.to_seconds() == VISIBILITY
    assert stack.MAX_RECEIVES == MAX_RECEIVES


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", PROFILES)
def test_a_second_task_of_a_run_is_seen(profile: str) -> None:
    world = world_of(profile)
    run = world.schedule(0)
    world.run_for(5)
    (task,) = world.ecs.tasks.values()
    asked = {"cluster": cluster_arn("flows"), "taskDefinition": task["taskDefinitionArn"]}
    world.ecs.call("RunTask", {**asked, "startedBy": run, "overrides": task["overrides"]})
    world.settle()
    told = " ".join(findings(world).doubled)
    assert "2 tasks" in told
    assert "executed 2 times" in told


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", PROFILES)
def test_a_run_that_nobody_launches_or_ends_is_seen(profile: str) -> None:
    world = world_of(profile)
    run = world.schedule(0)
    world.outage("sqs", hours=9)
    world.settle(hours=1)
    assert findings(world).stuck == [f"{run}: SCHEDULED"]

    world = world_of(profile)
    world.schedule(0)
    world.fargate.fates.append(KILLED_LATE)
    world.settle()
    (lost,) = findings(world).lost
    assert lost.endswith("CRASHED")
