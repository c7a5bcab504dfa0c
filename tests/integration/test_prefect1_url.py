"""The function URL: ``/api/health`` and ``/api/poke``, each call with the shared secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from tests.support.world1 import World1

SECRET = "url-secret-canary"
BEARER = f"Bearer {SECRET}"


@pytest.fixture
def make_reachable(make_world1: Callable[..., World1]) -> Callable[..., World1]:
    """Make a world with a function URL, whose secret is known."""

    def make(**agent: Any) -> World1:
        world = make_world1(agent={"url": True, **agent})
        keep_secret(world)
        return world

    return make


def keep_secret(world: World1, text: str = SECRET) -> None:
    secrets, name = boto3.client("secretsmanager"), world.environment["poll"]["URL_SECRET"]
    if any(secret["Name"] == name for secret in secrets.list_secrets()["SecretList"]):
        secrets.put_secret_value(SecretId=name, SecretString=text)
    else:
        secrets.create_secret(Name=name, SecretString=text)


def test_health_answers_whoever_knows_the_secret(make_reachable: Callable[..., World1]) -> None:
    world = make_reachable()

    assert world.request("/api/health", BEARER)["statusCode"] == 200
    assert world.server.calls == []


@pytest.mark.parametrize("path", ["/api/health", "/api/poke", "/elsewhere"])
@pytest.mark.parametrize("authorization", [None, "", SECRET, "Bearer wrong", "Bearer "])
def test_nobody_else_is_answered(
    make_reachable: Callable[..., World1], path: str, authorization: str | None
) -> None:
    world = make_reachable()
    world.schedule(world.flow())

    answer = world.request(path, authorization)

    assert answer["statusCode"] == 401
    assert SECRET not in answer["body"]
    assert world.server.calls == []


def test_a_poke_polls_at_once_and_sends_no_ticks(make_reachable: Callable[..., World1]) -> None:
    world = make_reachable()
    run = world.schedule(world.flow())

    answer = world.request("/api/poke", BEARER)

    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"found": 1})
    assert world.recorder.of("poll") == ["GetSecretValue", "SendMessageBatch"]
    assert world.deliver() == []
    assert world.task_of(run)


def test_a_poke_of_a_disabled_agent_is_refused(make_reachable: Callable[..., World1]) -> None:
    world = make_reachable(enabled=False)
    world.schedule(world.flow())

    answer = world.request("/api/poke", BEARER)

    assert answer["statusCode"] == 409
    assert "agent.enabled" in answer["body"]
    assert world.server.calls == []
    assert world.request("/api/health", BEARER)["statusCode"] == 200


def test_any_other_path_is_unknown(make_reachable: Callable[..., World1]) -> None:
    assert make_reachable().request("/api/elsewhere", BEARER)["statusCode"] == 404


def test_wrong_secrets_do_not_make_a_call_of_aws_each(
    make_reachable: Callable[..., World1],
) -> None:
    world = make_reachable()
    for _ in range(3):
        world.request("/api/poke", "Bearer wrong")

    assert world.recorder.of("poll") == ["GetSecretValue"]


def test_a_rotated_secret_is_known_to_the_next_cold_start(
    make_reachable: Callable[..., World1],
) -> None:
    world = make_reachable()
    world.request("/api/health", BEARER)
    keep_secret(world, "rotated")
    world.cold_start()

    assert world.request("/api/health", "Bearer rotated")["statusCode"] == 200
    assert world.request("/api/health", BEARER)["statusCode"] == 401
