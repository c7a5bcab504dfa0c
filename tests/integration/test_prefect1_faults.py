"""One run's path with one call failing, each in turn: never lost, never twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from fargate_agent.orchestrators.http import ApiError
from tests.support.functions import redelivered
from tests.support.prefect1_server import Prefect1Server
from tests.support.world1 import TRIES, World1, environment

AWS_CALLS = ("GetObject", "DescribeTaskDefinition", "RegisterTaskDefinition", "RunTask")
SERVER_CALLS = ("flow_run", "tenant", "register_agent", "set_flow_run_states", "write_run_logs")

WHEN = pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
LOCKING = pytest.mark.parametrize("locking", [True, False], ids=["version locking", "no locking"])
TIMES = pytest.mark.parametrize("times", [1, TRIES], ids=["once", "for long"])
COLD = pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])


def ready(world: World1, *, locking: bool) -> tuple[str, list[dict[str, Any]]]:
    """Bring a run to its dispatch: a new flow, with a kwargs file, and a cold function."""
    flow = world.flow(version_locking=locking)
    world.put_kwargs(flow, {"memory": "4096"})
    return world.enqueued(flow)


def deliver_until_gone(world: World1, records: list[dict[str, Any]], *, cold: bool = False) -> int:
    """Deliver as the queue does until the message is acknowledged; return how often it was."""
    for receives in range(1, 20):
        if not world.dispatch([redelivered(record, receives) for record in records]):
            return receives
        if cold:
            world.cold_start()
    raise AssertionError("it comes back for ever")


def assert_launched_once(world: World1, run: str) -> None:
    task = world.task_of(run)
    claim = environment(task)["FARGATE_AGENT_CLAIM_ID"]
    first, *others = world.server.history(run)
    assert first["state"] == "Scheduled"
    assert {row["state"] for row in others} == {"Submitted"}
    assert world.message(run) == f"Submitted for execution (claim {claim})"
    assert world.definition(task["taskDefinitionArn"])["memory"] == "4096"
    assert len(world.server.agents) == 1
    assert world.unacknowledged() == 0


@COLD
@WHEN
@pytest.mark.parametrize("operation", AWS_CALLS)
def test_a_call_of_aws_that_is_lost(
    world1: World1, operation: str, after_effect: bool, cold: bool
) -> None:
    run, records = ready(world1, locking=True)
    world1.aws_faults.lose(operation, after_effect=after_effect)

    assert deliver_until_gone(world1, records, cold=cold) == 2

    assert_launched_once(world1, run)


@WHEN
@pytest.mark.parametrize("operation", AWS_CALLS)
def test_a_function_that_is_killed_at_a_call_of_aws(
    world1: World1, operation: str, after_effect: bool
) -> None:
    run, records = ready(world1, locking=True)
    world1.aws_faults.kill(operation, after_effect=after_effect)
    with pytest.raises(KeyboardInterrupt):
        world1.dispatch(records)
    world1.cold_start()

    assert deliver_until_gone(world1, [redelivered(record) for record in records]) == 1

    assert_launched_once(world1, run)


@LOCKING
@TIMES
@WHEN
@pytest.mark.parametrize("operation", SERVER_CALLS)
def test_a_call_of_the_server_that_is_lost(
    world1: World1, operation: str, after_effect: bool, times: int, locking: bool
) -> None:
    run, records = ready(world1, locking=locking)
    world1.server.fail_next(operation, times, after_effect=after_effect)

    deliver_until_gone(world1, records)

    assert_launched_once(world1, run)


@WHEN
@pytest.mark.parametrize("operation", SERVER_CALLS)
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"error": "something went wrong"}], ids=["503", "error"]
)
def test_a_call_of_the_server_that_is_answered_with_an_error(
    world1: World1, operation: str, after_effect: bool, fault: dict[str, Any]
) -> None:
    run, records = ready(world1, locking=True)
    world1.server.fail_next(operation, TRIES, after_effect=after_effect, **fault)

    deliver_until_gone(world1, records, cold=True)

    assert_launched_once(world1, run)


@LOCKING
@TIMES
@WHEN
def test_the_claim_of_a_retry_that_is_lost(
    world1: World1, after_effect: bool, times: int, locking: bool
) -> None:
    run = world1.server.add_run(world1.flow(version_locking=locking), state="Running")
    due = datetime.now(UTC) - timedelta(seconds=10)
    task_runs = [world1.server.add_task_run(run, due=due) for _ in range(2)]
    world1.poll()
    records = world1.receive()
    world1.server.fail_next("set_task_run_states", times, after_effect=after_effect)

    deliver_until_gone(world1, records)

    claim = environment(world1.task_of(run["id"]))["FARGATE_AGENT_CLAIM_ID"]
    assert run["state"] == "Running"
    # The one container takes up every task run that is due, claimed or not.
    assert task_runs[0]["state"] == "Submitted"
    assert {one["state_message"] for one in task_runs if one["state"] == "Submitted"} == {
        f"Submitted for execution (claim {claim})"
    }


@WHEN
@TIMES
@pytest.mark.parametrize("operation", ["set_flow_run_states", "write_run_logs", "flow_run"])
def test_the_word_to_a_run_that_is_lost(
    world1: World1, operation: str, after_effect: bool, times: int
) -> None:
    run, records = ready(world1, locking=True)
    refused = "InvalidParameterException"
    world1.aws_faults.refuse("RunTask", refused, "No such subnet.", times=2)
    lose = partial(world1.server.fail_next, operation, times, after_effect=after_effect)
    world1.aws_faults.after("RegisterTaskDefinition", lose)

    assert deliver_until_gone(world1, records) <= 2

    assert world1.state(run) == "Failed"
    assert "No such subnet." in world1.message(run)
    assert world1.tasks() == []
    assert world1.unacknowledged() == 0


@WHEN
def test_a_poll_whose_question_is_lost_finds_the_run_next_time(
    world1: World1, after_effect: bool
) -> None:
    run = world1.schedule(world1.flow())
    world1.server.fail_next("get_runs_in_queue", TRIES, after_effect=after_effect)
    with pytest.raises(ApiError):
        world1.poll()

    assert world1.poll() == 1
    assert world1.deliver() == []
    assert world1.task_of(run)


@WHEN
def test_a_poll_whose_messages_are_lost_sends_them_again(
    make_world1: Callable[..., World1], after_effect: bool
) -> None:
    world = make_world1(agent={"poll_interval_seconds": 60})  # without ticks
    run = world.schedule(world.flow())
    world.aws_faults.lose("SendMessageBatch", after_effect=after_effect)
    with pytest.raises(ConnectionClosedError):
        world.poll()

    assert world.poll() == 1
    assert len(records := world.receive()) == 1
    assert world.dispatch(records) == []
    assert world.task_of(run)


def test_an_agent_that_cannot_be_registered_polls_all_the_same(world1: World1) -> None:
    run = world1.schedule(world1.flow())
    world1.server.fail_next("register_agent", TRIES, status=500)

    assert world1.poll() == 1
    assert world1.deliver() == []
    assert world1.task_of(run)


def test_a_server_that_is_down_is_waited_out(
    make_world1: Callable[..., World1], server: Prefect1Server
) -> None:
    world = make_world1()
    run, records = ready(world, locking=True)
    for operation in SERVER_CALLS:
        server.fail_next(operation, 3 * TRIES)

    assert deliver_until_gone(world, records) == 3 * len(SERVER_CALLS[:-1]) + 1

    assert_launched_once(world, run)
