"""Calls of Prefect 1's API, and its errors told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fargate_agent.orchestrators.graphql import (
    ATTEMPTS,
    GraphQL,
    NoConcurrencySlot,
    QueryRefused,
    StateRefused,
)
from fargate_agent.orchestrators.http import ApiError, CredentialsExpired, JsonClient
from tests.support.scripted_server import Answer, ScriptedServer

QUERY = "query { hello }"


def data(**fields: Any) -> Answer:
    return Answer(200, json.dumps({"data": fields}))


def errors(*messages: str, code: str | None = None, status: int = 200) -> Answer:
    extensions = {"extensions": {"code": code}} if code else {}
    listed = [{"message": message, **extensions} for message in messages]
    return Answer(status, json.dumps({"errors": listed, "data": None}))


@contextmanager
def api(
    *answers: Answer, path: str = "/", slept: list[float] | None = None
) -> Iterator[tuple[GraphQL, ScriptedServer]]:
    kept = [] if slept is None else slept
    with ScriptedServer(*answers) as server:
        client = JsonClient(server.url, lambda _: "Bearer key")
        yield GraphQL(client, path, sleep=kept.append), server


def test_a_query_is_posted_with_its_variables_as_json_text():
    with api(data(hello="hi")) as (graphql, server):
        assert graphql(QUERY, {"input": {"a": [1, None]}}) == {"hello": "hi"}

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/")
    body = json.loads(request.body)
    assert body.keys() == {"query", "variables"}
    assert body["query"] == QUERY
    assert body["variables"] == '{"input": {"a": [1, null]}}'


def test_without_variables_their_text_is_null():
    with api(data(hello="hi")) as (graphql, server):
        graphql(QUERY)

    assert json.loads(server.requests[0].body)["variables"] == "null"


@pytest.mark.parametrize("path", ["", "/", "/graphql"])
def test_the_path_follows_the_address(path: str):
    with api(data(hello="hi"), path=path) as (graphql, server):
        graphql(QUERY)

    assert server.requests[0].path == (path or "/")


def test_an_empty_list_of_errors_is_no_error():
    with api(Answer(200, '{"errors": [], "data": {"hello": "hi"}}')) as (graphql, _):
        assert graphql(QUERY) == {"hello": "hi"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (errors("State update failed for flow run ID 1"), StateRefused),
        (errors("anything", code="VERSION_LOCKING_ERROR"), StateRefused),
        (errors("Unable to get flow run concurrency slot. Aborting."), NoConcurrencySlot),
        (errors("AuthenticationError: Forbidden", code="UNAUTHENTICATED"), CredentialsExpired),
        (errors("Malformed Authorization header"), CredentialsExpired),
        (errors("no", code="UNAUTHENTICATED", status=401), CredentialsExpired),
        (errors("Something broke", code="INTERNAL_SERVER_ERROR"), ApiError),
        (errors("Something broke"), ApiError),
        (
            errors('Cannot query field "x"', code="GRAPHQL_VALIDATION_FAILED", status=400),
            QueryRefused,
        ),
    ],
)
def test_errors_are_told_apart(answer: Answer, kind: type[Exception]):
    with api(answer, answer) as (graphql, _), pytest.raises(kind) as failure:
        graphql(QUERY)

    assert type(failure.value) is kind


def test_refused_credentials_are_worth_another_try_and_the_secret_is_named():
    refused = errors("Forbidden", code="UNAUTHENTICATED")
    with (
        api(refused, refused) as (graphql, _),
        pytest.raises(ApiError, match=r"prefect\.api_key_secret") as failure,
    ):
        graphql(QUERY)

    assert failure.value.status == 401


def test_an_error_names_the_call_and_all_the_servers_words():
    query = "mutation($input: x!) {\n  write_run_logs(input: $input)\n { success } }"
    with api(errors("one", "two")) as (graphql, _), pytest.raises(ApiError) as failure:
        graphql(query)

    assert "mutation($input: x!) { write_run_logs(input: $input)" in str(failure.value)
    assert str(failure.value).endswith("one; two")


def test_one_refusal_among_several_errors_is_a_refusal():
    answer = errors("Something else", "State update failed for flow run ID 1")

    with api(answer) as (graphql, _), pytest.raises(StateRefused, match="Something else; State"):
        graphql(QUERY)


@pytest.mark.parametrize("error", [{}, {"extensions": None}, {"message": None, "extensions": {}}])
def test_an_error_that_says_nothing_is_an_error(error: dict[str, Any]):
    with (
        api(Answer(200, json.dumps({"errors": [error], "data": None}))) as (graphql, _),
        pytest.raises(ApiError),
    ):
        graphql(QUERY)


def test_an_api_error_is_asked_for_again_after_growing_waits():
    slept: list[float] = []
    busy = errors("Operation timed out", code="API_ERROR")

    with api(*[busy] * (ATTEMPTS - 1), data(hello="hi"), slept=slept) as (graphql, server):
        assert graphql(QUERY) == {"hello": "hi"}

        assert len(server.requests) == ATTEMPTS
    assert slept == sorted(slept)
    assert len({*slept}) == ATTEMPTS - 1


def test_an_api_error_that_stays_is_given_up():
    slept: list[float] = []
    busy = errors("Operation timed out", code="API_ERROR")

    with api(*[busy] * ATTEMPTS, slept=slept) as (graphql, server):
        with pytest.raises(ApiError, match="Operation timed out"):
            graphql(QUERY)

        assert len(server.requests) == ATTEMPTS
    assert len(slept) == ATTEMPTS - 1


def test_no_other_error_is_asked_for_again():
    with api(errors("no")) as (graphql, server), pytest.raises(ApiError):
        graphql(QUERY)

    assert len(server.requests) == 1


@pytest.mark.parametrize("body", ["", "null", "{}", '{"data": null}', "[]", '"text"', "5"])
def test_an_answer_that_says_nothing_is_an_error_worth_another_try(body: str):
    with api(Answer(200, body)) as (graphql, _), pytest.raises(ApiError):
        graphql(QUERY)


def test_a_rotated_key_is_read_again_though_the_server_answers_200():
    keys = {False: "Bearer old", True: "Bearer new"}
    refused = errors("Forbidden", code="UNAUTHENTICATED")
    with ScriptedServer(refused, data(hello="hi")) as server:
        graphql = GraphQL(JsonClient(server.url, lambda refresh: keys[refresh]), "/")

        assert graphql(QUERY) == {"hello": "hi"}

    assert [r.headers["Authorization"] for r in server.requests] == ["Bearer old", "Bearer new"]
