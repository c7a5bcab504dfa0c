"""What ``poll`` finds, shows and sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import boto3
import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.runs import FlowRun, claim_id
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def test_a_missing_pool_is_made_from_the_servers_own_template(world: World) -> None:
    world.poll()

    pool = world.prefect.get(f"/work_pools/{world.pool}")
    view = world.prefect.get("/collections/views/aggregate-worker-metadata")
    assert pool["type"] == "ecs"
    expected = view["prefect-aws"]["ecs"]["default_base_job_configuration"]
    assert pool["base_job_template"]["job_configuration"] == expected["job_configuration"]


def test_the_pool_is_ready_and_its_worker_online(world: World) -> None:
    world.poll()

    assert world.prefect.get(f"/work_pools/{world.pool}")["status"] == "READY"
    (worker,) = world.prefect.post(f"/work_pools/{world.pool}/workers/filter", {})
    assert (worker["name"], worker["status"]) == ("fargate-agent", "ONLINE")
    assert worker["heartbeat_interval_seconds"] == 10


def test_a_pool_of_another_type_is_refused(world: World) -> None:
    deployment = world.deployment()
    world.prefect.send("DELETE", f"/work_pools/{world.pool}")
    world.prefect.post("/work_pools/", {"name": world.pool, "type": "process"})
    world.prefect.send("PATCH", f"/deployments/{deployment}", {"work_pool_name": world.pool})
    world.schedule(deployment)

    with pytest.raises(PermanentError, match=r"of type 'process'.*pools of type 'ecs'"):
        world.poll()


def test_runs_due_until_after_the_next_poll_are_enqueued(world: World) -> None:
    deployment = world.deployment()
    soon = world.schedule(deployment, ahead=timedelta(seconds=60))
    world.schedule(deployment, ahead=timedelta(seconds=120))

    assert world.poll() == 1

    (record,) = world.receive()
    run = FlowRun.from_message(record["body"])
    assert run.id == record["attributes"]["MessageGroupId"] == soon
    assert run.claim_id == claim_id(run.id, run.scheduled_time, world.claimant)
    assert run.claim_id == record["attributes"]["MessageDeduplicationId"]


def test_the_next_polls_repeats_are_dropped_by_the_queue(world: World) -> None:
    world.schedule(world.deployment())
    assert world.poll() == 1
    world.cold_start()  # a warm function remembers what it sent
    assert world.poll() == 1

    assert len(world.receive()) == 1


def test_no_variable_travels_in_a_message(world: World) -> None:
    deployment = world.deployment(env={"PASSWORD": "canary"})
    world.schedule(deployment, job_variables={"env": {"TOKEN": "canary"}})
    world.poll()

    (record,) = world.receive()
    assert "canary" not in record["body"]


def test_a_paused_pool_gives_nothing(world: World) -> None:
    world.schedule(world.deployment())
    world.prefect.send("PATCH", f"/work_pools/{world.pool}", {"is_paused": True})

    assert world.poll() == 0


def test_a_pools_concurrency_limit_holds_for_runs_that_come_due_one_after_the_other(
    world: World,
) -> None:
    deployment = world.deployment()
    world.prefect.send("PATCH", f"/work_pools/{world.pool}", {"concurrency_limit": 1})
    world.schedule(deployment, ahead=timedelta(seconds=15))
    world.poll()
    assert world.receive() == []  # it takes no slot until it is claimed, so it is left in Prefect
    now = world.schedule(deployment)
    world.poll()
    world.deliver()
    world.poll()

    assert [task["startedBy"] for task in world.tasks()] == [now]
    assert world.receive() == []


def test_only_the_named_queues_are_served(make_world: Callable[..., World]) -> None:
    world = make_world(prefect={"work_queues": ["fast"]})
    deployment = world.deployment()
    world.prefect.post(f"/work_pools/{world.pool}/queues", {"name": "fast"})
    fast = world.schedule(deployment, work_queue_name="fast")
    world.schedule(deployment)

    assert world.poll() == 1
    (record,) = world.receive()
    assert record["attributes"]["MessageGroupId"] == fast


def test_an_unknown_queue_is_named(make_world: Callable[..., World]) -> None:
    world = make_world(prefect={"work_queues": ["nowhere"]})

    with pytest.raises(PermanentError, match=r"prefect\.work_queues, \['nowhere'\]"):
        world.poll()


def test_the_schedule_sends_ticks_and_a_tick_sends_none(world: World) -> None:
    world.poll()
    assert len(sent_ticks(world)) == 5
    world.poll({"Records": [{"body": json.dumps({"tick": 10})}]})
    assert len(sent_ticks(world)) == 5


@pytest.mark.parametrize("interval", [60, 120])
def test_whole_minutes_need_no_ticks(make_world: Callable[..., World], interval: int) -> None:
    world = make_world(agent={"poll_interval_seconds": interval})
    world.poll()

    assert world.recorder.of("poll") == []
    assert "TICKS_QUEUE_URL" not in world.environment["poll"]


def test_a_rotated_key_is_read_again(make_world: Callable[..., World]) -> None:
    secrets = boto3.client("secretsmanager")
    arn = secrets.create_secret(Name="prefect", SecretString="pnu_1")["ARN"]
    world = make_world(prefect={"api_key_secret": arn})
    world.poll()
    world.poll()

    assert world.recorder.of("poll").count("GetSecretValue") == 1  # read once while warm


def sent_ticks(world: World) -> list[int]:
    return [
        entry["DelaySeconds"]
        for call in world.recorder.calls
        if call.operation == "SendMessageBatch"
        for entry in call.params["Entries"]
        if "DelaySeconds" in entry
    ]
