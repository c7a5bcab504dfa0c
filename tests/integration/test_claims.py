"""Never twice, never lost: who launches a run when several could."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from fargate_agent import launcher
from fargate_agent.dispatch import _deliveries
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.reads import Reads
from tests.support.functions import older, redelivered
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def enqueued(world: World, **variables: Any) -> tuple[str, str, list[dict[str, Any]]]:
    """Schedule a run, poll, and receive its message: deployment, run, records."""
    deployment = world.deployment(**variables)
    run = world.schedule(deployment)
    world.poll()
    return deployment, run, world.receive()


def test_two_dispatches_of_one_message_one_after_the_other_start_one_task(world: World) -> None:
    _, run, records = enqueued(world)

    assert world.dispatch(records) == []
    world.cold_start()
    assert world.dispatch(records) == []

    (task,) = world.tasks()
    assert task["startedBy"] == run


def test_two_dispatches_of_one_message_at_once_start_one_task(world: World) -> None:
    _, run, records = enqueued(world)
    with world.inside("dispatch"):
        deliveries = _deliveries()
        reads = Reads(deliveries.launcher.orchestrator, [run])
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: deliveries.deliver(SQSRecord(records[0]), reads), range(8)))

    (task,) = world.tasks()
    assert task["startedBy"] == run
    assert world.run(run)["infrastructure_pid"].endswith(task["taskArn"])


def test_a_redelivery_after_a_crash_between_claim_and_launch_launches(world: World) -> None:
    _, run, records = enqueued(world)
    die_at("_start", world, records)
    assert world.run(run)["state_type"] == "PENDING"
    assert world.tasks() == []

    world.cold_start()
    assert world.dispatch([redelivered(record) for record in records]) == []

    (task,) = world.tasks()
    assert task["startedBy"] == run
    assert world.run(run)["infrastructure_pid"].endswith(task["taskArn"])


def test_a_redelivery_after_a_crash_between_launch_and_report_reports(world: World) -> None:
    _, run, records = enqueued(world)
    die_at("launched", world, records)
    (task,) = world.tasks()
    assert world.run(run)["infrastructure_pid"] is None

    world.cold_start()
    assert world.dispatch([redelivered(record) for record in records]) == []

    assert [t["taskArn"] for t in world.tasks()] == [task["taskArn"]]
    assert world.run(run)["infrastructure_pid"].endswith(task["taskArn"])


def test_a_redelivery_with_other_parameters_finds_the_first_task(world: World) -> None:
    deployment, run, records = enqueued(world)
    die_at("launched", world, records)
    (task,) = world.tasks()

    world.put_kwargs(deployment, {"memory": 4096})
    assert world.dispatch([redelivered(record) for record in records]) == []

    assert [t["taskArn"] for t in world.tasks()] == [task["taskArn"]]
    assert world.run(run)["infrastructure_pid"] == f"{world.cluster}::{task['taskArn']}"


def test_a_run_that_another_agent_claimed_is_dropped(world: World) -> None:
    _, run, records = enqueued(world)
    world.set_state(run, "PENDING", state_details={"transition_id": str(uuid.uuid4())})

    assert world.dispatch(records) == []

    assert world.tasks() == []
    assert world.run(run)["state_type"] == "PENDING"


@pytest.mark.parametrize("final", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_stale_message_does_not_run_a_finished_run_again(world: World, final: str) -> None:
    _, run, records = enqueued(world)
    for state in ("PENDING", "RUNNING", final):
        world.set_state(run, state)

    for record in records:
        older(record)
    assert world.dispatch(records) == []

    assert world.tasks() == []
    assert world.run(run)["state_type"] == final


def test_a_run_moved_to_tomorrow_is_not_started_today(world: World) -> None:
    _, run, records = enqueued(world)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    world.set_state(run, "SCHEDULED", state_details={"scheduled_time": tomorrow})

    for record in records:
        older(record)
    assert world.dispatch(records) == []

    assert world.tasks() == []
    assert world.run(run)["state_type"] == "SCHEDULED"


def test_a_deleted_run_is_dropped(world: World) -> None:
    _, run, records = enqueued(world)
    world.prefect.send("DELETE", f"/flow_runs/{run}")

    assert world.dispatch(records) == []
    assert world.dispatch([redelivered(record) for record in records]) == []
    assert world.tasks() == []


def test_a_retried_run_is_a_new_launch(world: World) -> None:
    _, run, records = enqueued(world)
    world.dispatch(records)
    for state in ("RUNNING", "FAILED"):
        world.set_state(run, state)
    world.set_state(run, "SCHEDULED", name="AwaitingRetry", state_details={"scheduled_time": now()})

    assert world.poll() == 1
    assert world.deliver() == []

    assert [task["startedBy"] for task in world.tasks()] == [run, run]


@pytest.mark.prefect3
def test_a_full_concurrency_limit_postpones_the_run(world: World) -> None:
    deployment = world.deployment()
    world.prefect.send("PATCH", f"/deployments/{deployment}", {"concurrency_limit": 1})
    first, second = world.schedule(deployment), world.schedule(deployment)
    world.poll()
    assert world.deliver() == []

    assert len(world.tasks()) == 1
    states = {world.run(run)["state_name"] for run in (first, second)}
    assert states == {"Pending", "AwaitingConcurrencySlot"}


def now() -> str:
    return datetime.now(UTC).isoformat()


def die_at(step: str, world: World, records: list[dict[str, Any]]) -> None:
    """Deliver a batch to a function that is killed when it comes to a step of the launch."""
    # A killed function handles no exception: this one passes every "except Exception".
    with (
        mock.patch.object(
            Prefect3 if step == "launched" else launcher.Launcher,
            step,
            side_effect=KeyboardInterrupt,
        ),
        pytest.raises(KeyboardInterrupt),
    ):
        world.dispatch(records)
