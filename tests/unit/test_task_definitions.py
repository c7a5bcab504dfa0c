import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fargate_agent.task_definitions import (
    HASH_TAG,
    REGISTRATION_ATTEMPTS,
    Revision,
    content_hash,
)
from tests.support.revisions import ARN, Revisions, revisions

DEFINITION: dict[str, Any] = {
    "family": "etl",
    "cpu": "1024",
    "containerDefinitions": [{"name": "prefect", "image": "etl:1"}],
    "tags": [{"key": "team", "value": "data"}],
}
HASH = {HASH_TAG: content_hash(DEFINITION)}
TAGS = {"team": "data", **HASH}
BUSY = "Too many concurrent attempts to create a new revision of the specified family."


def search_finds_nothing(aws: Revisions) -> None:
    aws.searches(HASH_TAG, HASH[HASH_TAG])


def test_a_revision_with_the_contents_hash_is_reused():
    with revisions() as aws:
        aws.describes("etl:7", TAGS)

        revision = aws.definitions().ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}etl:7", how="reused")
    assert revision.name == "etl:7"


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        pytest.param({}, "ACTIVE", id="not ours"),
        pytest.param({HASH_TAG: "other"}, "ACTIVE", id="changed"),
        pytest.param(HASH, "INACTIVE", id="deregistered"),
    ],
)
def test_another_revision_is_registered_where_the_latest_will_not_do(tags: Any, status: str):
    with revisions() as aws:
        aws.describes("etl:7", tags, status=status)
        search_finds_nothing(aws)
        aws.registers("etl:8", DEFINITION, TAGS)

        revision = aws.definitions().ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}etl:8", how="registered")


def test_the_first_revision_of_a_family_is_registered():
    with revisions() as aws:
        aws.knows_no_family()
        aws.registers("etl:1", DEFINITION, TAGS)

        revision = aws.definitions().ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}etl:1", how="registered")


def test_a_definition_without_tags_is_registered_with_its_hash():
    plain = {"family": "etl", "containerDefinitions": []}
    with revisions() as aws:
        aws.knows_no_family()
        aws.registers("etl:1", plain, {HASH_TAG: content_hash(plain)})

        aws.definitions().ensure(plain)


def test_a_warm_function_asks_once():
    with revisions() as aws:
        aws.knows_no_family()
        aws.registers("etl:1", DEFINITION, TAGS)
        definitions = aws.definitions()
        definitions.ensure(DEFINITION)

        again = definitions.ensure(dict(reversed(DEFINITION.items())))

    assert again == Revision(arn=f"{ARN}etl:1", how="reused")


def test_threads_that_need_one_definition_register_it_once():
    threads = 8
    with revisions() as aws, ThreadPoolExecutor(threads) as pool:
        aws.knows_no_family()
        aws.registers("etl:1", DEFINITION, TAGS)
        definitions, start = aws.definitions(), threading.Barrier(threads, timeout=30)

        def ensure(_: int) -> str:
            start.wait()
            return definitions.ensure(DEFINITION).how

        assert sorted(pool.map(ensure, range(threads))) == ["registered", *["reused"] * 7]


def test_a_forgotten_revision_is_looked_for_again():
    with revisions() as aws:
        aws.describes("etl:7", HASH)
        aws.describes("etl:7", HASH, status="INACTIVE")
        search_finds_nothing(aws)
        aws.registers("etl:8", DEFINITION, TAGS)
        definitions = aws.definitions()
        definitions.ensure(DEFINITION)

        definitions.forget(f"{ARN}etl:7")

        assert definitions.ensure(DEFINITION).name == "etl:8"


def test_forgetting_one_revision_keeps_the_others():
    with revisions() as aws:
        aws.describes("etl:7", HASH)
        definitions = aws.definitions()
        definitions.ensure(DEFINITION)

        definitions.forget(f"{ARN}etl:6")

        assert definitions.ensure(DEFINITION).name == "etl:7"


def test_a_registration_under_way_elsewhere_is_awaited_and_its_revision_reused():
    slept: list[float] = []
    with revisions() as aws:
        aws.knows_no_family()
        aws.refuses("register_task_definition", "ClientException", BUSY)
        aws.describes("etl:8", HASH)

        revision = aws.definitions(sleep=slept.append).ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}etl:8", how="reused")
    assert len(slept) == 1


def test_a_registration_of_other_content_elsewhere_is_followed_by_our_own():
    slept: list[float] = []
    with revisions() as aws:
        aws.knows_no_family()
        aws.refuses("register_task_definition", "ClientException", BUSY)
        aws.describes("etl:8", {HASH_TAG: "other"})
        search_finds_nothing(aws)
        aws.registers("etl:9", DEFINITION, TAGS)

        revision = aws.definitions(sleep=slept.append).ensure(DEFINITION)

    assert revision == Revision(arn=f"{ARN}etl:9", how="registered")
    assert len(slept) == 1


def test_a_family_that_stays_busy_is_left_to_the_queue():
    slept: list[float] = []
    with revisions() as aws:
        for _ in range(REGISTRATION_ATTEMPTS):
            aws.knows_no_family()
            aws.refuses("register_task_definition", "ClientException", BUSY)

        with pytest.raises(ClientError, match="Too many concurrent attempts"):
            aws.definitions(sleep=slept.append).ensure(DEFINITION)

    assert len(slept) == REGISTRATION_ATTEMPTS - 1


@pytest.mark.parametrize("method", ["describe_task_definition", "register_task_definition"])
def test_any_other_refusal_is_passed_on_at_once(method: str):
    with revisions() as aws:
        if method == "register_task_definition":
            aws.knows_no_family()
        aws.refuses(method, "ThrottlingException", "Rate exceeded")

        with pytest.raises(ClientError, match="Rate exceeded"):
            aws.definitions(sleep=pytest.fail).ensure(DEFINITION)
