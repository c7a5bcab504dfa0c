"""Blocks and variables of a Prefect server, read once for each version of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.orchestrators.references import References
from fargate_agent.templating import MISSING
from tests.support.scripted_server import Answer, ScriptedServer

ID = "b1d2f3a4-0000-4000-8000-000000000001"
OLD, NEW, NEWER = (f"2026-03-0{day}T00:00:00Z" for day in (1, 2, 3))
GONE = Answer(404, '{"detail": "Not found"}')


def held(updated: str, **fields: Any) -> Answer:
    return Answer(200, json.dumps({"updated": updated, **fields}))


def found(*items: Any) -> Answer:
    return Answer(200, json.dumps(items))


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[References, ScriptedServer]]:
    with ScriptedServer(*answers) as scripted:
        api = JsonClient(f"{scripted.url}/api", lambda _: None)
        yield References(api), scripted


def paths(scripted: ScriptedServer) -> list[str]:
    return [
        f"{request.method} {request.path.removeprefix('/api')}" for request in scripted.requests
    ]


# -- what dispatch reads ---------------------------------------------------------------------------


def test_each_kind_is_read_by_its_name_with_its_secrets():
    answers = (
        held(NEW, data={"value": "s3cret"}),
        held(NEW, data={"region_name": "x"}),
        held(NEW, value=[1]),
    )
    with server(*answers) as (references, scripted):
        at = references.at({})

        assert at.block("secret", "my token/é") == {"value": "s3cret"}
        assert at.block_document("id-1") == {"region_name": "x"}
        assert at.variable("region") == [1]

    named = "/block_types/slug/secret/block_documents/name/my%20token%2F%C3%A9"
    assert paths(scripted) == [
        f"GET {named}?include_secrets=true",
        "GET /block_documents/id-1?include_secrets=true",
        "GET /variables/name/region",
    ]


@pytest.mark.parametrize("seen", [OLD, NEW])
def test_what_is_of_the_polls_version_or_a_later_one_is_read_once(seen: str):
    with server(held(NEW, value=1)) as (references, scripted):
        values = [references.at({"variables.x": seen}).variable("x") for _ in range(3)]

    assert values == [1, 1, 1]
    assert len(scripted.requests) == 1


def test_what_was_changed_since_is_read_again():
    with server(held(NEW, value=1), held(NEWER, value=2)) as (references, _):
        assert references.at({"variables.x": NEW}).variable("x") == 1
        assert references.at({"variables.x": NEWER}).variable("x") == 2
        assert references.at({"variables.x": NEW}).variable("x") == 2


def test_versions_are_compared_as_times():
    with server(held("2026-03-02T01:00:00+01:00", value=1)) as (references, scripted):
        for _ in range(2):
            assert references.at({"variables.x": NEW}).variable("x") == 1

    assert len(scripted.requests) == 1


def test_what_the_poll_told_no_version_of_is_read_every_time():
    with server(held(NEW, value=1), held(NEW, value=2)) as (references, _):
        assert [references.at({}).variable("x") for _ in range(2)] == [1, 2]


def test_a_block_and_a_variable_of_one_name_are_two():
    with server(held(NEW, value=1), held(NEW, data={"value": 2})) as (references, _):
        at = references.at({"variables.secret.x": NEW, "blocks.secret.x": NEW})

        assert (at.variable("secret.x"), at.block("secret", "x")) == (1, {"value": 2})


@pytest.mark.parametrize("value", [None, False, "", 0, [], {}])
def test_a_variable_may_hold_what_is_empty(value: Any):
    with server(held(NEW, value=value)) as (references, _):
        assert references.at({}).variable("x") == value


def test_a_variable_that_does_not_exist_is_missing():
    with server(GONE) as (references, _):
        assert references.at({}).variable("x") is MISSING


def test_a_block_that_does_not_exist_is_named():
    with server(GONE, GONE) as (references, _):
        with pytest.raises(PermanentError, match="The block 'token' of type 'secret', which"):
            references.at({}).block("secret", "token")
        with pytest.raises(PermanentError, match="The block of the id id-1, which the work pool"):
            references.at({}).block_document("id-1")


def test_what_was_deleted_and_made_again_is_read_again():
    answers = (held(NEW, value=1), GONE, held(NEW, value=2))
    with server(*answers) as (references, _):
        assert references.at({}).variable("x") == 1
        assert references.at({}).variable("x") is MISSING
        assert references.at({"variables.x": OLD}).variable("x") == 2


def test_a_server_in_trouble_is_worth_another_try():
    with server(Answer(400, "{}")) as (references, _), pytest.raises(ApiError):
        references.at({}).block("secret", "token")


# -- what poll asks --------------------------------------------------------------------------------


def body(scripted: ScriptedServer, number: int = 0) -> Any:
    return json.loads(scripted.requests[number].body)


def test_of_nothing_nothing_is_asked():
    with server() as (references, scripted):
        assert references.versions([]) == {}

    assert scripted.requests == []


def test_versions_of_all_kinds_are_asked_for_in_three_calls():
    answers = (
        found(
            {"block_type": {"slug": "secret"}, "name": "a", "updated": OLD},
            {"block_type": {"slug": "json"}, "name": "b", "updated": NEW},
        ),
        found({"id": ID, "updated": NEW}),
        found({"name": "x", "updated": NEWER}, {"name": "y", "updated": OLD}),
    )
    names = {"blocks.secret.a", "blocks.json.b", f"block_documents.{ID}"}
    with server(*answers) as (references, scripted):
        versions = references.versions({*names, "variables.x", "variables.y"})

    assert versions == {
        "blocks.secret.a": OLD,
        "blocks.json.b": NEW,
        f"block_documents.{ID}": NEW,
        "variables.x": NEWER,
        "variables.y": OLD,
    }
    assert paths(scripted) == [
        "POST /block_documents/filter",
        "POST /block_documents/filter",
        "POST /variables/filter",
    ]


def test_what_only_shares_a_name_and_a_type_with_others_is_not_taken_for_one():
    answer = found({"block_type": {"slug": "secret"}, "name": "b", "updated": OLD})
    with server(answer) as (references, _):
        assert references.versions(["blocks.secret.a", "blocks.json.b"]) == {}


def test_what_is_gone_has_no_version():
    with server(found()) as (references, _):
        assert references.versions(["variables.x"]) == {}


def test_an_anonymous_block_has_a_version_too():
    with server(found({"id": ID, "updated": NEW})) as (references, scripted):
        assert references.versions([f"block_documents.{ID}"]) == {f"block_documents.{ID}": NEW}

    assert body(scripted)["block_documents"]["is_anonymous"] is None


def test_names_are_asked_for_by_name():
    with server(found()) as (references, scripted):
        references.versions(["variables.b", "variables.a.c"])

    assert body(scripted)["variables"] == {"name": {"any_": ["a.c", "b"]}}


def test_an_id_that_is_none_is_asked_for_nowhere():
    with server(found({"id": ID, "updated": NEW})) as (references, scripted):
        references.versions([f"block_documents.{ID}", "block_documents.prod"])

    assert body(scripted)["block_documents"]["id"] == {"any_": [ID]}
