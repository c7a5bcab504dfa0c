import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import pytest
from urllib3.util import retry

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.http import (
    RETRIES,
    ApiError,
    CredentialsExpired,
    CredentialsRefused,
    CsrfToken,
    JsonClient,
)
from tests.support.scripted_server import Answer, ScriptedServer

CSRF_REFUSAL = Answer(403, '{"detail": "CSRF token is required"}')
OK = Answer(200, '{"ok": true}')
RETRIED = int(RETRIES.total or 0)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep how long urllib3 would wait before each retry, and do not wait."""
    kept: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(sleep=kept.append, time=time.time))
    return kept


@contextmanager
def api(
    *answers: Answer, keys: tuple[str, ...] = ()
) -> Iterator[tuple[JsonClient, ScriptedServer]]:
    """Give a client whose key is read anew, the next of ``keys``, when it is refused."""
    held = list(keys)

    def authorization(refresh: bool) -> str | None:
        if refresh and held:
            held.pop(0)
        return held[0] if held else None

    with ScriptedServer(*answers) as server:
        headers = {"X-PREFECT-API-VERSION": "0.8.4"}
        yield JsonClient(f"{server.url}/api/", authorization, headers=headers), server


def token(value: str) -> Answer:
    return Answer(200, json.dumps({"token": value}))


def test_a_call_sends_json_and_returns_what_is_answered():
    with api(Answer(201, '{"id": [1]}'), keys=("Bearer k",)) as (client, server):
        assert client.post("/flow_runs/filter", {"limit": 5}) == {"id": [1]}

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/flow_runs/filter")
    assert json.loads(request.body) == {"limit": 5}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-PREFECT-API-VERSION"] == "0.8.4"
    assert request.headers["Authorization"] == "Bearer k"
    assert request.headers["Prefect-Csrf-Token"] is None


def test_a_server_without_authentication_gets_no_credentials():
    with api(OK) as (client, server):
        client.get("/health")

    assert server.requests[0].headers["Authorization"] is None
    assert server.requests[0].body == b""


def test_an_empty_answer_is_none():
    with api(Answer(204)) as (client, server):
        assert client.send("PATCH", "/flow_runs/1", {"infrastructure_pid": "x"}) is None

    assert server.requests[0].method == "PATCH"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int):
    with api(Answer(status), Answer(status), OK) as (client, server):
        assert client.post("/x", {"a": 1}) == {"ok": True}

    assert [request.body for request in server.requests] == [b'{"a": 1}'] * 3


def test_a_reset_connection_is_tried_again():
    with api(Answer(reset=True), OK) as (client, server):
        assert client.post("/x", {"a": 1}) == {"ok": True}

    assert [request.body for request in server.requests] == [b'{"a": 1}'] * 2


def test_retry_after_is_honoured(waits: list[float]):
    with api(Answer(429, headers={"Retry-After": "3"}), OK) as (client, _):
        assert client.get("/x") == {"ok": True}

    assert waits == [3]


def test_a_retry_after_of_nothing_is_followed_at_once(waits: list[float]):
    with api(Answer(503, headers={"Retry-After": "0"}), OK) as (client, _):
        assert client.get("/x") == {"ok": True}

    assert waits == []


def test_a_long_retry_after_is_left_to_the_queue(waits: list[float]):
    with api(Answer(429, headers={"Retry-After": "600"})) as (client, server):
        with pytest.raises(ApiError) as failure:
            client.get("/x")

        assert len(server.requests) == 1
    assert failure.value.retry_after == 600
    assert waits == []


def test_the_waits_between_retries_grow(waits: list[float]):
    with api(*[Answer(503)] * RETRIED, OK) as (client, _):
        client.get("/x")

    assert len(waits) == RETRIED - 1  # the first retry is made at once
    assert all(later > earlier for earlier, later in pairwise(waits))
    assert waits[-1] <= 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_given_up_with_its_last_words(status: int):
    with api(*[Answer(status, "database is locked")] * (RETRIED + 1)) as (client, server):
        with pytest.raises(ApiError) as failure:
            client.get("/x")

        assert len(server.requests) == RETRIED + 1
    assert failure.value.status == status
    assert str(failure.value) == f"GET /x: {status}: database is locked"


def test_a_server_that_never_answers_is_given_up_without_a_status():
    with api(*[Answer(reset=True)] * (RETRIED + 1)) as (client, server):
        with pytest.raises(ApiError) as failure:
            client.get("/x")

        assert len(server.requests) == RETRIED + 1
    assert failure.value.status is None
    assert str(failure.value).startswith("GET /x: no answer: ")


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_a_refusal_is_an_error_at_once(status: int):
    with api(Answer(status, '{"detail": "no"}')) as (client, server):
        with pytest.raises(ApiError) as failure:
            client.post("/x", {})

        assert len(server.requests) == 1
    assert failure.value.status == status
    assert str(failure.value) == f'POST /x: {status}: {{"detail": "no"}}'


def test_a_refused_key_is_read_again_once():
    with api(Answer(401), OK, OK, keys=("Bearer old", "Bearer new")) as (client, server):
        assert client.get("/x") == {"ok": True}
        assert client.get("/y") == {"ok": True}

    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer old", "Bearer new", "Bearer new"]


def test_a_key_that_is_refused_twice_is_no_runs_fault_and_the_secret_is_named():
    with api(Answer(401), Answer(401), keys=("Bearer old", "Bearer new")) as (client, server):
        with pytest.raises(CredentialsExpired) as refusal:
            client.get("/x")

        assert len(server.requests) == 2
    assert refusal.value.status == 401
    message = str(refusal.value)
    assert message.startswith("GET /x: 401: Prefect refused the agent's credentials (401).")
    assert "prefect.api_key_secret or prefect.auth_string_secret" in message


def test_a_key_that_is_not_known_is_worth_another_try_and_one_that_may_not_is_not():
    assert issubclass(CredentialsExpired, ApiError)
    assert not issubclass(CredentialsExpired, PermanentError)
    assert issubclass(CredentialsRefused, PermanentError)


def test_a_csrf_refusal_fetches_a_token_and_tries_again_and_the_token_is_kept():
    with api(CSRF_REFUSAL, token("t1"), OK, OK) as (client, server):
        assert client.post("/a", {}) == {"ok": True}
        assert client.post("/b", {}) == {"ok": True}

    refused, fetched, retried, later = server.requests
    assert refused.headers["Prefect-Csrf-Token"] is None
    assert (fetched.method, fetched.path.partition("=")[0]) == ("GET", "/api/csrf-token?client")
    client_id = fetched.path.partition("=")[2]
    for request, path in ((retried, "/api/a"), (later, "/api/b")):
        assert request.path == path
        assert request.headers["Prefect-Csrf-Token"] == "t1"
        assert request.headers["Prefect-Csrf-Client"] == client_id


def test_an_expired_csrf_token_is_fetched_again_for_the_same_client_id():
    with api(CSRF_REFUSAL, token("t1"), OK, CSRF_REFUSAL, token("t2"), OK) as (client, server):
        client.post("/a", {})
        client.post("/b", {})

    fetched = [request.path for request in server.requests if "csrf" in request.path]
    assert len(fetched) == 2
    assert len(set(fetched)) == 1
    assert server.requests[-1].headers["Prefect-Csrf-Token"] == "t2"


def test_two_clients_have_two_csrf_client_ids():
    with (
        api(CSRF_REFUSAL, token("t"), OK) as (one, first),
        api(CSRF_REFUSAL, token("t"), OK) as (other, second),
    ):
        one.post("/a", {})
        other.post("/a", {})

    assert first.requests[1].path != second.requests[1].path


def test_a_server_that_refuses_the_csrf_token_too_is_an_error():
    with api(CSRF_REFUSAL, token("t1"), CSRF_REFUSAL) as (client, server):
        with pytest.raises(ApiError) as failure:
            client.post("/a", {})

        assert len(server.requests) == 3
    assert failure.value.status == 403


def test_an_errors_detail_is_cut_where_it_is_long():
    with api(Answer(404, "x" * 10_000)) as (client, _), pytest.raises(ApiError) as failure:
        client.get("/x")

    assert str(failure.value) == "GET /x: 404: " + "x" * 500


def test_a_refused_key_and_a_missing_csrf_token_are_mended_in_one_call():
    refusal = Answer(401, "{}")
    with api(refusal, CSRF_REFUSAL, token("t1"), OK, keys=("old", "new")) as (client, server):
        assert client.post("/a", {}) == {"ok": True}

    assert server.requests[-1].headers["Authorization"] == "new"
    assert server.requests[-1].headers["Prefect-Csrf-Token"] == "t1"


def test_threads_that_were_refused_together_share_one_csrf_token():
    fetched = []

    def request(*_: object) -> SimpleNamespace:
        fetched.append(1)
        return SimpleNamespace(status=200, data=b'{"token": "t1"}')

    csrf = CsrfToken()
    refused = csrf.headers
    assert csrf.fetch(request, refused=refused) == csrf.fetch(request, refused=refused)
    assert len(fetched) == 1


def test_a_forbidden_call_is_the_users_to_mend():
    with (
        api(Answer(403, '{"detail": "Forbidden"}')) as (client, _),
        pytest.raises(CredentialsRefused, match=r"\(403\).*may use the workspace"),
    ):
        client.get("/x")


def test_an_answer_that_is_no_json_is_an_error():
    with api(Answer(200, "<html>")) as (client, _), pytest.raises(ApiError, match="not JSON"):
        client.get("/x")
