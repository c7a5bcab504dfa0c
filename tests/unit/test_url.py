"""The function URL: who may ask, and what for."""

import json
from typing import Any

import pytest

from fargate_agent import url
from tests.support.aws import stubbed

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:url-AbCdEf"


def request(path: str, authorization: str | None = "Bearer right") -> dict[str, Any]:
    headers = {} if authorization is None else {"authorization": authorization}
    return {"rawPath": path, "headers": headers, "requestContext": {"http": {"method": "GET"}}}


class Known:
    """A secret that is read as it was told, and how often it was."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.reads, self.time = list(texts), 0, 0.0
        self.secret = url.SharedSecret(lambda: self, ARN, clock=lambda: self.time)  # type: ignore[arg-type,return-value]

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        assert SecretId == ARN
        self.reads += 1
        return {"SecretString": self.texts[min(self.reads, len(self.texts)) - 1]}


def respond(event: dict[str, Any], found: int | None = 3) -> tuple[int, Any, int]:
    """Return the status, the body, and how often the agent polled."""
    polls: list[int] = []
    poke = None if found is None else lambda: polls.append(1) or found
    answer = url.respond(event, Known("right").secret, poke)  # type: ignore[arg-type]
    return answer["statusCode"], json.loads(answer["body"]), len(polls)


@pytest.mark.parametrize("path", ["/api/health", "/api/health/"])
def test_health_answers_without_a_poll(path: str):
    assert respond(request(path)) == (200, {}, 0)


def test_a_poke_polls_once_and_tells_what_it_found():
    assert respond(request("/api/poke")) == (200, {"found": 3}, 1)


def test_a_poke_of_a_disabled_agent_is_refused():
    assert respond(request("/api/poke"), found=None) == (
        409,
        {"error": "agent.enabled is false"},
        0,
    )


def test_any_other_path_is_none():
    status, body, polls = respond(request("/"))
    assert (status, polls) == (404, 0)
    assert "/api/poke" in body["error"]


@pytest.mark.parametrize("path", ["/api/health", "/api/poke", "/secret"])
@pytest.mark.parametrize(
    "given", [None, "", "right", "Bearer ", "Bearer wrong", "Bearer rightt", "bearer right", "Bär"]
)
def test_who_does_not_bring_the_secret_learns_nothing(path: str, given: str | None):
    status, body, polls = respond(request(path, given))
    assert (status, polls) == (401, 0)
    assert "right" not in json.dumps(body)


def test_a_request_without_headers_is_refused():
    assert respond({"rawPath": "/api/poke", "requestContext": {"http": {}}})[0] == 401


def test_the_secret_is_read_once():
    known = Known("right")
    assert known.secret.matches("Bearer right")
    assert known.secret.matches("Bearer right")
    assert known.reads == 1


def test_a_rotated_secret_is_read_again_but_not_at_every_wrong_guess():
    known = Known("old", "new")
    assert known.secret.matches("Bearer old")
    assert not known.secret.matches("Bearer new")
    assert known.reads == 1
    known.time = url.REREAD_SECONDS
    assert not known.secret.matches("Bearer old")
    assert known.secret.matches("Bearer new")
    assert known.reads == 2


def test_the_secret_comes_from_secrets_manager():
    with stubbed("secretsmanager") as (client, script):
        script.add_response("get_secret_value", {"SecretString": "right"}, {"SecretId": ARN})
        assert url.SharedSecret(lambda: client, ARN).matches("Bearer right")


@pytest.mark.parametrize(
    ("event", "is_one"),
    [
        (request("/api/health"), True),
        ({}, False),
        ({"Records": []}, False),
        ({"requestContext": None}, False),
    ],
)
def test_a_request_is_told_from_the_schedule_and_the_ticks(event: dict[str, Any], is_one: bool):
    assert url.is_request(event) is is_one
