"""What fails for good is told to its run; what may pass goes back to the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from fargate_agent import launcher
from fargate_agent.orchestrators.http import JsonClient
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def refuse(code: str, message: str = "no") -> Callable[..., None]:
    def run_task(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "RunTask")

    return run_task


def enqueued(world: World) -> str:
    run = world.schedule(world.deployment())
    world.poll()
    return run


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ThrottlingException", "Rate exceeded"),
        ("ServerException", "internal"),
        ("ExpiredTokenException", "expired"),
        ("InvalidParameterException", "You've reached the limit on the number of tasks"),
    ],
)
def test_what_may_pass_goes_back_to_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    run = enqueued(world)
    monkeypatch.setattr(launcher, "run_task", refuse(code, message))

    assert world.deliver() == [run]

    assert world.run(run)["state_type"] == "PENDING"
    assert world.receive() == []  # hidden for a while
    assert world.recorder.calls[-1].operation == "ChangeMessageVisibility"
    assert world.recorder.calls[-1].params["VisibilityTimeout"] in (1, 2)


def test_the_last_receive_tells_the_run_before_the_message_is_a_dead_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = enqueued(world)
    monkeypatch.setattr(launcher, "run_task", refuse("ThrottlingException", "Rate exceeded"))

    def last(record: dict[str, Any]) -> None:
        record["attributes"]["ApproximateReceiveCount"] = str(world.max_receives)

    assert world.deliver(last) == [run]

    state = world.run(run)["state"]
    assert state["type"] == "CRASHED"
    assert f"Gave up after {world.max_receives} tries" in state["message"]
    assert "Rate exceeded" in state["message"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDeniedException", "ecs.allowed_roles"),
        ("ClusterNotFoundException", "create the cluster"),
        ("InvalidParameterException", "Correct the value"),
    ],
)
def test_what_cannot_pass_is_told_to_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, remedy: str
) -> None:
    run = enqueued(world)
    monkeypatch.setattr(launcher, "run_task", refuse(code, "the reason"))

    assert world.deliver() == []

    state = world.run(run)["state"]
    assert state["type"] == "CRASHED"
    assert f"RunTask: {code}: the reason" in state["message"]
    assert remedy in state["message"]
    assert world.logs(run) == [state["message"]]


def test_an_unknown_cluster_is_told_to_the_run(make_world: Callable[..., World]) -> None:
    world = make_world(ecs={"allowed_clusters": [cluster("gone")]})
    run = world.schedule(world.deployment(cluster=cluster("gone")))
    world.poll()
    assert world.deliver() == []

    assert "ClusterNotFoundException" in world.run(run)["state"]["message"]


def test_one_failing_run_does_not_hold_up_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = world.deployment("bad", command="fail"), world.deployment("good")
    bad_run, good_run = world.schedule(bad), world.schedule(good)
    world.poll()
    original = launcher.run_task

    def run_task(ecs: Any, request: Any, **options: Any) -> Any:
        if request["overrides"]["containerOverrides"][0]["command"] == ["fail"]:
            refuse("ServerException")()
        return original(ecs, request, **options)

    monkeypatch.setattr(launcher, "run_task", run_task)

    assert world.deliver() == [bad_run]
    assert [task["startedBy"] for task in world.tasks()] == [good_run]


def test_a_poison_message_blocks_nobody(world: World) -> None:
    run = enqueued(world)
    boto3.client("sqs").send_message(
        QueueUrl=world.runs_queue,
        MessageBody="{}",
        MessageGroupId="poison",
        MessageDeduplicationId="poison",
    )

    assert world.deliver() == ["poison"]
    assert [task["startedBy"] for task in world.tasks()] == [run]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"command": "python -c 'unclosed"}, "No closing quotation"),
        ({"cpu": "plenty"}, "The size 'cpu' of a container is no number"),
    ],
)
def test_variables_that_make_no_task_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    run = enqueued(world)
    # The server's own schema refuses some of these; a customised template may not.
    monkeypatch.setattr(
        "fargate_agent.orchestrators.prefect3.Prefect3.deployment",
        lambda *_: {"job_variables": variables},
    )
    assert world.deliver() == []

    state = world.run(run)["state"]
    assert state["type"] == "CRASHED"
    assert words in state["message"]


def test_a_lost_log_line_harms_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = enqueued(world)
    post = JsonClient.post

    def broken(client: JsonClient, path: str, body: Any) -> Any:
        if path == "/logs/":
            raise OSError("no logs today")
        return post(client, path, body)

    monkeypatch.setattr(JsonClient, "post", broken)
    assert world.deliver() == []

    assert [task["startedBy"] for task in world.tasks()] == [run]
    assert world.run(run)["state_type"] == "PENDING"


def cluster(name: str) -> str:
    return f"arn:aws:ecs:us-east-1:123456789012:cluster/{name}"
