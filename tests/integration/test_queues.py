"""Queues of a work pool: which are served, in what order, and how many runs at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from fargate_agent import dispatch
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.runs import FlowRun
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

FIVE_SECONDS_AGO = timedelta(seconds=-5)


def enqueued(world: World) -> list[str]:
    """Return the runs that were sent to the queue, in order."""
    return [
        entry["MessageGroupId"]
        for asked in world.requests("SendMessageBatch")
        for entry in asked["Entries"]
        if "MessageGroupId" in entry
    ]


def test_several_named_queues_are_served(make_world: Callable[..., World]) -> None:
    world = make_world(prefect={"work_queues": ["fast", "slow"]})
    deployment = world.deployment()
    for name in ("fast", "slow", "other"):
        world.queue(name)
    fast, slow = (world.schedule(deployment, work_queue_name=n) for n in ("fast", "slow"))
    world.schedule(deployment, work_queue_name="other")
    world.schedule(deployment)

    assert world.poll() == 2
    assert sorted(enqueued(world)) == sorted([fast, slow])


def test_a_queue_of_higher_priority_comes_first(world: World) -> None:
    deployment = world.deployment()
    world.queue("second", priority=2)
    world.queue("first", priority=1)
    late = world.schedule(deployment, FIVE_SECONDS_AGO, work_queue_name="second")
    urgent = world.schedule(deployment, work_queue_name="first")

    world.poll()

    assert enqueued(world) == [urgent, late]


def test_in_one_queue_the_earliest_comes_first(world: World) -> None:
    deployment = world.deployment()
    later = world.schedule(deployment)
    earlier = world.schedule(deployment, FIVE_SECONDS_AGO)

    world.poll()

    assert enqueued(world) == [earlier, later]


def test_a_paused_queue_gives_nothing(world: World) -> None:
    deployment = world.deployment()
    world.queue("paused")
    world.schedule(deployment, work_queue_name="paused")
    going = world.schedule(deployment)
    change_queue(world, "paused", is_paused=True)

    world.poll()
    assert enqueued(world) == [going]

    change_queue(world, "paused", is_paused=False)
    assert world.poll() == 2


def test_a_resumed_pool_gives_what_waited(world: World) -> None:
    run = world.schedule(world.deployment())
    world.change_pool(is_paused=True)
    assert world.poll() == 0
    world.change_pool(is_paused=False)
    assert world.poll() == 1
    assert enqueued(world) == [run]


def test_a_full_pool_gives_the_next_run_when_one_has_ended(world: World) -> None:
    deployment = world.deployment()
    world.change_pool(concurrency_limit=1)
    world.schedule(deployment, FIVE_SECONDS_AGO)
    world.schedule(deployment)

    assert launches_one_at_a_time(world) == 2


def test_a_full_queue_gives_the_next_run_when_one_has_ended(world: World) -> None:
    deployment = world.deployment()
    world.queue("narrow", concurrency_limit=1)
    for due in (FIVE_SECONDS_AGO, timedelta(seconds=-1)):
        world.schedule(deployment, due, work_queue_name="narrow")

    assert launches_one_at_a_time(world) == 2


def test_a_full_queue_leaves_the_others_alone(world: World) -> None:
    deployment = world.deployment()
    world.queue("narrow", concurrency_limit=1)
    for due in (FIVE_SECONDS_AGO, timedelta(seconds=-1)):
        world.schedule(deployment, due, work_queue_name="narrow")
    wide = [world.schedule(deployment) for _ in range(2)]

    world.poll()

    assert len(enqueued(world)) == 3
    assert set(wide) < set(enqueued(world))


def launches_one_at_a_time(world: World) -> int:
    """Poll and launch until nothing is due; each run ends before the next poll."""
    launched: set[str] = set()
    while world.poll():
        assert world.deliver() == []
        (task,) = [task for task in world.tasks() if task["startedBy"] not in launched]
        assert world.poll() == 0
        launched.add(task["startedBy"])
        for state in ("RUNNING", "COMPLETED"):
            world.set_state(task["startedBy"], state)
    return len(launched)


def waiting(world: World, **options: Any) -> tuple[str, str]:
    """Launch one of two runs of a deployment that takes one at a time; the other waits."""
    deployment = world.deployment()
    world.change_deployment(deployment, concurrency_limit=1, **options)
    runs = [world.schedule(deployment, FIVE_SECONDS_AGO), world.schedule(deployment)]
    world.poll()
    assert world.deliver() == []
    (task,) = world.tasks()
    runs.remove(task["startedBy"])
    return task["startedBy"], runs[0]


@pytest.mark.prefect3
def test_a_run_that_waits_for_a_slot_comes_back_under_a_new_key_and_is_launched(
    world: World,
) -> None:
    first, second = waiting(world)
    sent = keys(world)
    assert world.run(second)["state_name"] == "AwaitingConcurrencySlot"
    assert world.unacknowledged() == 0
    for state in ("RUNNING", "COMPLETED"):
        world.set_state(first, state)

    assert world.poll() == 1
    (record,) = world.receive()
    assert record["attributes"]["MessageGroupId"] == second
    assert record["attributes"]["MessageDeduplicationId"] not in sent
    deliver_later(world, record, timedelta(minutes=2))

    assert world.task_of(second)
    assert world.run(second)["state_name"] == "Pending"


@pytest.mark.prefect3
def test_a_run_that_waits_for_a_slot_waits_on_while_there_is_none(world: World) -> None:
    _, second = waiting(world)
    world.poll()
    (record,) = world.receive()
    deliver_later(world, record, timedelta(minutes=2))

    assert len(world.tasks()) == 1
    assert world.run(second)["state_name"] == "AwaitingConcurrencySlot"


@pytest.mark.prefect3
def test_a_new_run_that_finds_no_slot_may_be_cancelled_by_its_deployment(world: World) -> None:
    _, second = waiting(world, concurrency_options={"collision_strategy": "CANCEL_NEW"})

    assert world.run(second)["state_type"] == "CANCELLED"
    assert world.unacknowledged() == 0


def keys(world: World) -> set[str]:
    """Return the deduplication ids of all that was sent."""
    return {
        entry["MessageDeduplicationId"]
        for asked in world.requests("SendMessageBatch")
        for entry in asked["Entries"]
        if "MessageGroupId" in entry
    }


def deliver_later(world: World, record: Mapping[str, Any], by: timedelta) -> None:
    """Deliver a record as if it were later."""
    with world.inside("dispatch"):
        deliveries = dispatch._deliveries()
        later = replace(deliveries, now=lambda: datetime.now(UTC) + by)
        run = FlowRun.from_message(record["body"])
        reads = Reads(deliveries.launcher.orchestrator, [run.id])
        later.deliver(SQSRecord(dict(record)), reads)


def change_queue(world: World, name: str, **fields: Any) -> None:
    world.prefect.send("PATCH", f"/work_pools/{world.pool}/queues/{name}", fields)
