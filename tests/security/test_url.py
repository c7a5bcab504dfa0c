"""The function URL under attack: without the secret there is no poll, and nothing is repeated."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest

from fargate_agent import poll, url
from fargate_agent.observability import NO_METRICS
from tests.support.functions import CONTEXT

SECRET = "q7Zf3LwS9tXyB1mKc8Rd2NvH5pJ4gT6uWa0eQiYo"
CANARY = "canary-of-the-caller"
PATHS = ("/api/poke", "/api/health", "/", f"/{CANARY}", "/api/poke/../health", "//api//poke")

WRONG: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "the scheme alone": "Bearer",
    "the scheme and a space": "Bearer ",
    "the secret alone": SECRET,
    "another": "Bearer wrong",
    "one character less": f"Bearer {SECRET[:-1]}",
    "one character more": f"Bearer {SECRET}x",
    "the last character wrong": f"Bearer {SECRET[:-1]}x",
    "the first character wrong": f"Bearer x{SECRET[1:]}",
    "of another case": f"Bearer {SECRET.swapcase()}",
    "the scheme of another case": f"bearer {SECRET}",
    "a space before": f" Bearer {SECRET}",
    "a space behind": f"Bearer {SECRET} ",
    "two spaces": f"Bearer  {SECRET}",
    "a line end": f"Bearer {SECRET}\r\n",
    "twice": f"Bearer {SECRET}, Bearer {SECRET}",
    "NUL behind": f"Bearer {SECRET}\0",
    "as Basic": "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "in base64": "Bearer " + base64.b64encode(SECRET.encode()).decode(),
    "not ASCII": "Bearer Bär",
    "look-alikes": f"Bearer {SECRET[:-1]}\uff4f",
    "a turned line": f"Bearer \u202e{SECRET[::-1]}",
    "half a character": "Bearer \ud800",
    "a megabyte": "Bearer " + "x" * 1_000_000,
    "the secret a thousand times": f"Bearer {SECRET * 1000}",
}


class Secrets:
    """A Secrets Manager with the one secret."""

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        return {"SecretString": SECRET}


class Poller:
    """A poller that counts."""

    def __init__(self, enabled: bool = True) -> None:
        self.polls = 0
        self.settings = mock.Mock(enabled=enabled)
        self.metrics = NO_METRICS

    def poll(self) -> int:
        self.polls += 1
        return 3


def request(path: str, authorization: str | None, **changes: Any) -> dict[str, Any]:
    headers = {"host": "agent", "x-canary": CANARY, "content-type": "text/plain"}
    if authorization is not None:
        headers["authorization"] = authorization
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": f"token={CANARY}",
        "queryStringParameters": {"token": CANARY},
        "headers": headers,
        "body": CANARY,
        "isBase64Encoded": False,
        "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": CANARY}},
    }
    return {key: value for key, value in {**event, **changes}.items() if value is not ...}


@pytest.fixture
def poller(monkeypatch: pytest.MonkeyPatch) -> Poller:
    """The function with these alone; nothing else can be called."""
    made = Poller()
    secret = url.SharedSecret(Secrets, "arn", clock=lambda: 0.0)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(poll, "_poller", lambda: made)
    monkeypatch.setattr(poll, "_secret", lambda: secret)
    monkeypatch.setattr(poll, "_upkeep", mock.Mock)
    return made


def ask(event: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Invoke the function; nothing that the caller sent may be repeated anywhere."""
    answer = poll.handler(dict(event), CONTEXT)  # type: ignore[arg-type]
    said = capsys.readouterr()
    for text in (json.dumps(answer), said.out, said.err):
        assert CANARY not in text
        assert SECRET not in text
    return answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", WRONG)
def test_who_does_not_bring_the_secret_gets_one_answer_and_no_poll(
    poller: Poller, capsys: pytest.CaptureFixture[str], case: str, path: str
) -> None:
    refusal = {
        "statusCode": 401,
        "headers": {"Content-Type": "application/json"},
        "body": '{"error": "Authorization: Bearer <the agent\'s secret> is needed"}',
    }

    assert ask(request(path, WRONG[case]), capsys) == refusal
    assert poller.polls == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": ...},
        {"headers": None},
        {"headers": {}},
        {"headers": {"authorization": None}},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"x-authorization": f"Bearer {SECRET}"}},
        {"cookies": [f"authorization=Bearer {SECRET}"]},
        {"queryStringParameters": {"authorization": f"Bearer {SECRET}"}},
        {"body": json.dumps({"authorization": f"Bearer {SECRET}"})},
        {"body": base64.b64encode(SECRET.encode()).decode(), "isBase64Encoded": True},
        {"body": "\xff\xfe", "isBase64Encoded": True},
        {"body": ..., "rawPath": ...},
        {"rawPath": None},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused_like_any_other(
    poller: Poller, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    answer = poll.handler(request("/api/poke", None, **changes), CONTEXT)  # type: ignore[arg-type]

    assert answer["statusCode"] == 401
    assert poller.polls == 0
    assert SECRET not in json.dumps(answer) + capsys.readouterr().out


@pytest.mark.parametrize("path", [None, ..., "", "/", f"/{CANARY}", "/api/poke/x", "/API/POKE"])
def test_who_brings_the_secret_and_asks_for_nothing_known_gets_no_poll(
    poller: Poller, capsys: pytest.CaptureFixture[str], path: Any
) -> None:
    answer = ask(request("/", f"Bearer {SECRET}", rawPath=path), capsys)

    assert answer["statusCode"] == 404
    assert poller.polls == 0


@pytest.mark.parametrize("body", [CANARY, None, "\xff", "{", "x" * 6_000_000])
def test_a_body_is_never_read(
    poller: Poller, capsys: pytest.CaptureFixture[str], body: str | None
) -> None:
    for encoded in (False, True):
        event = request("/api/poke", f"Bearer {SECRET}", body=body, isBase64Encoded=encoded)
        assert ask(event, capsys)["body"] == '{"found": 3}'
    assert poller.polls == 2


def test_a_secret_is_compared_in_constant_time_with_all_that_was_sent(
    poller: Poller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = mock.Mock(wraps=hmac.compare_digest)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    given = ["", "Bearer wrong", f"Bearer {SECRET[:-1]}", f"Bearer {SECRET}"]

    statuses = [ask(request("/api/health", text), capsys)["statusCode"] for text in given]

    assert statuses == [401, 401, 401, 200]
    right = f"Bearer {SECRET}".encode()
    assert compare.call_args_list == [mock.call(text.encode(), right) for text in given]


def test_what_only_resembles_a_request_is_no_way_in(
    poller: Poller, capsys: pytest.CaptureFixture[str]
) -> None:
    event = request("/api/poke", None, requestContext={"http": None})

    assert ask(event, capsys)["statusCode"] == 401
    assert poller.polls == 0
