import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from fargate_agent.task_definitions import (
    HASH_TAG,
    REGISTRATION_ATTEMPTS,
    Revision,
    TaskDefinitions,
    content_hash,
)
from tests.support.aws import stubbed

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/etl"
DEFINITION: dict[str, Any] = {
    "family": "etl",
    "cpu": "1024",
    "containerDefinitions": [{"name": "prefect", "image": "etl:1"}],
    "tags": [{"key": "team", "value": "data"}],
}
HASH = {"key": HASH_TAG, "value": content_hash(DEFINITION)}
BUSY = "Too many concurrent attempts to create a new revision of the specified family."


def described(script: Stubber, revision: int, *tags: dict[str, str], status: str = "ACTIVE"):
    script.add_response(
        "describe_task_definition",
        {
            "taskDefinition": {"taskDefinitionArn": f"{ARN}:{revision}", "status": status},
            "tags": list(tags),
        },
        {"taskDefinition": "etl", "include": ["TAGS"]},
    )


def registered(script: Stubber, revision: int):
    script.add_response(
        "register_task_definition",
        {"taskDefinition": {"taskDefinitionArn": f"{ARN}:{revision}"}},
        {**DEFINITION, "tags": [*DEFINITION["tags"], HASH]},
    )


def refused(script: Stubber, method: str, code: str, message: str):
    script.add_client_error(method, code, message)


def test_a_revision_with_the_contents_hash_is_reused():
    with stubbed("ecs") as (ecs, script):
        described(script, 7, {"key": "team", "value": "data"}, HASH)

        revision = TaskDefinitions(ecs).ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}:7", how="reused")
    assert revision.name == "etl:7"


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        pytest.param([], "ACTIVE", id="not ours"),
        pytest.param([{"key": HASH_TAG, "value": "other"}], "ACTIVE", id="changed"),
        pytest.param([HASH], "INACTIVE", id="deregistered"),
    ],
)
def test_another_revision_is_registered_where_the_latest_will_not_do(tags: Any, status: str):
    with stubbed("ecs") as (ecs, script):
        described(script, 7, *tags, status=status)
        registered(script, 8)

        assert TaskDefinitions(ecs).ensure(DEFINITION) == Revision(arn=f"{ARN}:8", how="registered")


def test_the_first_revision_of_a_family_is_registered():
    with stubbed("ecs") as (ecs, script):
        refused(script, "describe_task_definition", "ClientException", "Unable to describe")
        registered(script, 1)

        assert TaskDefinitions(ecs).ensure(DEFINITION) == Revision(arn=f"{ARN}:1", how="registered")


def test_a_definition_without_tags_is_registered_with_its_hash():
    plain = {"family": "etl", "containerDefinitions": []}
    with stubbed("ecs") as (ecs, script):
        refused(script, "describe_task_definition", "ClientException", "Unable to describe")
        script.add_response(
            "register_task_definition",
            {"taskDefinition": {"taskDefinitionArn": f"{ARN}:1"}},
            {**plain, "tags": [{"key": HASH_TAG, "value": content_hash(plain)}]},
        )

        TaskDefinitions(ecs).ensure(plain)


def test_a_warm_function_asks_once():
    with stubbed("ecs") as (ecs, script):
        refused(script, "describe_task_definition", "ClientException", "Unable to describe")
        registered(script, 1)
        definitions = TaskDefinitions(ecs)
        definitions.ensure(DEFINITION)

        again = definitions.ensure(dict(reversed(DEFINITION.items())))

    assert again == Revision(arn=f"{ARN}:1", how="reused")


def test_threads_that_need_one_definition_register_it_once():
    threads = 8
    with stubbed("ecs") as (ecs, script), ThreadPoolExecutor(threads) as pool:
        refused(script, "describe_task_definition", "ClientException", "Unable to describe")
        registered(script, 1)
        definitions, start = TaskDefinitions(ecs), threading.Barrier(threads, timeout=30)

        def ensure(_: int) -> str:
            start.wait()
            return definitions.ensure(DEFINITION).how

        assert sorted(pool.map(ensure, range(threads))) == ["registered", *["reused"] * 7]


def test_a_forgotten_revision_is_looked_for_again():
    with stubbed("ecs") as (ecs, script):
        described(script, 7, HASH)
        described(script, 7, HASH, status="INACTIVE")
        registered(script, 8)
        definitions = TaskDefinitions(ecs)
        definitions.ensure(DEFINITION)

        definitions.forget(f"{ARN}:7")

        assert definitions.ensure(DEFINITION).arn == f"{ARN}:8"


def test_forgetting_one_revision_keeps_the_others():
    with stubbed("ecs") as (ecs, script):
        described(script, 7, HASH)
        definitions = TaskDefinitions(ecs)
        definitions.ensure(DEFINITION)

        definitions.forget(f"{ARN}:6")

        assert definitions.ensure(DEFINITION).arn == f"{ARN}:7"


def test_a_registration_under_way_elsewhere_is_awaited_and_its_revision_reused():
    slept: list[float] = []
    with stubbed("ecs") as (ecs, script):
        described(script, 7)
        refused(script, "register_task_definition", "ClientException", BUSY)
        described(script, 8, HASH)

        revision = TaskDefinitions(ecs, sleep=slept.append).ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}:8", how="reused")
    assert len(slept) == 1


def test_a_registration_of_other_content_elsewhere_is_followed_by_our_own():
    slept: list[float] = []
    with stubbed("ecs") as (ecs, script):
        described(script, 7)
        refused(script, "register_task_definition", "ClientException", BUSY)
        described(script, 8, {"key": HASH_TAG, "value": "other"})
        registered(script, 9)

        revision = TaskDefinitions(ecs, sleep=slept.append).ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}:9", how="registered")
    assert len(slept) == 1


def test_a_family_that_stays_busy_is_left_to_the_queue():
    slept: list[float] = []
    with stubbed("ecs") as (ecs, script):
        for _ in range(REGISTRATION_ATTEMPTS):
            described(script, 7)
            refused(script, "register_task_definition", "ClientException", BUSY)

        with pytest.raises(ClientError, match="Too many concurrent attempts"):
            TaskDefinitions(ecs, sleep=slept.append).ensure(DEFINITION)

    assert len(slept) == REGISTRATION_ATTEMPTS - 1


@pytest.mark.parametrize("method", ["describe_task_definition", "register_task_definition"])
def test_any_other_refusal_is_passed_on_at_once(method: str):
    with stubbed("ecs") as (ecs, script):
        if method == "register_task_definition":
            described(script, 7)
        refused(script, method, "ThrottlingException", "Rate exceeded")

        with pytest.raises(ClientError, match="Rate exceeded"):
            TaskDefinitions(ecs, sleep=pytest.fail).ensure(DEFINITION)
