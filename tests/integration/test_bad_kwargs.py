"""A bad kwargs file: its run is told, and nothing else is affected."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

ONE = {"image": "a"}
BAD_FILES: dict[str, tuple[Any, str]] = {
    "not JSON": (
        b'{"cpu": "1024",\n "memory" "2048"}',
        "line 2, column 11: is not JSON: Expecting ':' delimiter.",
    ),
    "not UTF-8": (b'{"cpu": "\xff"}', "is not UTF-8 text (byte 9)."),
    "not an object": ([{"cpu": "1024"}], "holds a JSON list; it must hold an object"),
    "empty": (b"", "line 1, column 1: is not JSON"),
    "nested too deeply": (b"[" * 100_000, "is nested too deeply"),
    "too large": (b" " * (1024 * 1024 + 1), "is 1,048,577 bytes; a kwargs file may have 1,048,576"),
    "a key twice": (b'{"cpu": "1", "cpu": "2"}', "the key 'cpu' is written twice"),
    "unknown key": (
        {"memmory": "2048"},
        "memmory: not a parameter of register_task_definition or run_task. Did you mean 'memory'?",
    ),
    "unknown key inside": (
        {"containerDefinitions": [{"enviroment": []}]},
        'Unknown parameter in containerDefinitions[0]: "enviroment", must be one of',
    ),
    "wrong type": (
        {"networkConfiguration": "private"},
        "networkConfiguration: Invalid type for parameter networkConfiguration, "
        "type: <class 'str'>, valid types: <class 'dict'>",
    ),
    "wrong type inside": (
        {"containerDefinitions": [{"environment": [{"name": "A", "value": 5}]}]},
        "Invalid type for parameter containerDefinitions[0].environment[0].value, "
        "type: <class 'int'>, valid types: <class 'str'>",
    ),
    "more than one container": (
        {"containerDefinitions": [ONE, ONE]},
        "containerDefinitions: holds 2 definitions; it must hold exactly one",
    ),
    "no container": ({"containerDefinitions": []}, "containerDefinitions: holds 0 definitions"),
    "the agent's own key": ({"clientToken": "mine"}, "clientToken: the agent sets this itself"),
    "many tasks": ({"count": 3}, "count: the agent sets this itself"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_the_run_is_told_the_file_the_place_and_the_remedy(world: World, case: str) -> None:
    content, words = BAD_FILES[case]
    bad, good = world.deployment("bad"), world.deployment("good")
    url = world.put_kwargs(bad, content, flow="bad")
    bad_run, good_run = world.schedule(bad), world.schedule(good)
    world.poll()

    assert world.deliver() == []

    state = world.run(bad_run)["state"]
    assert state["type"] == "CRASHED"
    assert state["message"].startswith(f"{url}: ")
    assert words in state["message"]
    assert world.logs(bad_run) == [state["message"]]
    (task,) = world.tasks()
    assert task["startedBy"] == good_run
    assert world.run(good_run)["state_type"] == "PENDING"


def test_a_forbidden_file_is_not_a_missing_one(
    world: World,
) -> None:
    run = world.schedule(world.deployment())
    world.poll()

    def forbid(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        error = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
        return AWSResponse("", 403, {}, None), error

    assert boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION.events.register("before-call.s3.GetObject", forbid)
    try:
        assert world.deliver() == []
    finally:
        boto3.DEFAULT_SESSION.events.unregister("before-call.s3.GetObject", forbid)

    state = world.run(run)["state"]
    assert state["type"] == "CRASHED"
    assert "cannot be read: AccessDenied" in state["message"]
    assert "s3:GetObject and s3:ListBucket" in state["message"]
    assert world.tasks() == []


def test_a_missing_file_means_no_overrides(world: World) -> None:
    run = world.schedule(world.deployment())
    world.poll()
    world.deliver()

    (task,) = world.tasks()
    assert task["startedBy"] == run


def test_a_missing_bucket_is_told(world: World) -> None:
    boto3.client("s3").delete_bucket(Bucket=str(world.bucket))
    run = world.schedule(world.deployment())
    world.poll()
    assert world.deliver() == []

    assert "cannot be read: NoSuchBucket" in world.run(run)["state"]["message"]


def test_a_secret_in_a_bad_value_is_not_repeated(world: World) -> None:
    deployment = world.deployment()
    world.put_kwargs(deployment, {"containerDefinitions": [{"environment": ["PASSWORD=canary"]}]})
    run = world.schedule(deployment)
    world.poll()
    world.deliver()

    message = world.run(run)["state"]["message"]
    assert "containerDefinitions[0].environment[0]" in message
    assert "canary" not in message
