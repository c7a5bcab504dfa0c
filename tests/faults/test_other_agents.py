"""Two agents, or an agent and Prefect's own ECS worker, serve the same runs."""

from __future__ import annotations

import uuid

import pytest

from tests.faults.profiles import (
    LOCKING,
    PROFILES,
    WORK_POOLS,
    thorough,
    world_of,
    world_without_agent,
)
from tests.faults.tally import judge
from tests.support.simulated_ecs import cluster_arn
from tests.support.simulated_faults import Event
from tests.support.simulated_prefect3 import Prefect3Side
from tests.support.simulated_tasks import SPOT_EARLY, SPOT_LATE, Fate
from tests.support.simulated_world import World

CALLS = 30


def two_agents(profile: str, clusters: tuple[str, str]) -> World:
    world = world_without_agent(profile, clusters=set(clusters))
    for name, cluster in zip(("one", "two"), clusters, strict=True):
        world.add_agent(name, cluster=cluster)
    return world


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    ("profile", "clusters"),
    [
        *((profile, ("flows", "flows")) for profile in PROFILES),
        *((profile, ("flows", "others")) for profile in LOCKING),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_another_agent_takes_a_turn_at_each_call(profile: str, clusters: tuple[str, str]) -> None:
    for number in range(0, CALLS, 1 if thorough(profile) else 3):
        world = two_agents(profile, clusters)
        world.schedule(0)
        one, two = world.agents
        two.next_poll = world.clock.now().replace(second=30)

        def take_turn(world: World = world) -> None:
            two = world.agents[1]
            two.poll()
            two.receive()

        world.calls.plan[number] = Event(do=take_turn)
        world.settle()
        judge(world, f"at call {number}")
        assert one.settings.claimant != two.settings.claimant or world.side.kind == 1


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", [SPOT_EARLY, SPOT_LATE], ids=lambda fate: fate.name)
@pytest.mark.parametrize(
    ("profile", "clusters"),
    [
        *((profile, ("flows", "flows")) for profile in PROFILES),
        *((profile, ("flows", "others")) for profile in LOCKING),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_two_agents_are_told_of_the_same_dead_container(
    profile: str, clusters: tuple[str, str], fate: Fate
) -> None:
    world = two_agents(profile, clusters)
    world.schedule(0)
    world.fargate.fates.append(fate)
    world.settle()
    judge(world)
    assert len(world.ecs.tasks) == 2


class EcsWorker:
    """Prefect's ECS worker, by its protocol: a random transition id, and no client token."""

    def __init__(self, world: World) -> None:
        self.world = world

    def work(self) -> None:
        """Submit what is due."""
        side = self.world.side
        assert isinstance(side, Prefect3Side)
        for run in list(self.world.expected):
            if side.state_of(run) == "SCHEDULED" and side.due_in(run) <= 10:
                self._submit(side, run)

    def _submit(self, side: Prefect3Side, run: str) -> None:
        id = str(uuid.uuid4())
        if side.propose(run, "PENDING", name="Pending", transition_id=id)["status"] != "ACCEPT":
            return
        ecs, cluster = self.world.ecs, cluster_arn("flows")
        container = {"name": "prefect", "image": "example/flows:1"}
        definition = ecs.call(
            "RegisterTaskDefinition", {"family": "worker", "containerDefinitions": [container]}
        )
        arn = definition["taskDefinition"]["taskDefinitionArn"]
        answer = ecs.call("RunTask", {"cluster": cluster, "taskDefinition": arn, "startedBy": run})
        task = answer["tasks"][0]["taskArn"]
        side.run(run)["infrastructure_pid"] = f"{cluster}::{task}"


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", WORK_POOLS)
def test_an_ecs_worker_takes_a_turn_at_each_call(profile: str) -> None:
    for number in range(CALLS):
        world = world_of(profile)
        world.schedule(5)
        world.schedule(5)
        worker = EcsWorker(world)
        world.calls.plan[number] = Event(do=worker.work)
        world.settle()
        judge(world, f"at call {number}")
        assert len(world.ecs.tasks) == 2
