"""Agents on stand-ins for the API of Prefect 1: an open-source server's, and Cloud's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.secretsmanager.models import secretsmanager_backends

from tests.support.prefect1_server import Prefect1Server
from tests.support.stack_template import ACCOUNT, REGION, SECRET
from tests.support.world1 import World1

TOKEN = "runner-token-canary"


@pytest.fixture
def server() -> Iterator[Prefect1Server]:
    """An open-source server, which knows no credentials."""
    with Prefect1Server() as server:
        yield server


@pytest.fixture
def make_world1(
    aws: None, server: Prefect1Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World1]]:
    """Make a world with other settings than the defaults; all its calls must be allowed."""
    with ExitStack() as stack:

        def make(server: Prefect1Server = server, **sections: Any) -> World1:
            world = World1(server, tmp_path, monkeypatch, **sections)
            stack.callback(world.assert_all_calls_are_allowed)
            stack.enter_context(world.listening())
            return world

        yield make


@pytest.fixture
def world1(make_world1: Callable[..., World1]) -> World1:
    """An agent with the default settings on an open-source server."""
    return make_world1()


@pytest.fixture
def make_cloud_world(make_world1: Callable[..., World1]) -> Iterator[Callable[..., World1]]:
    """Make a world on Cloud's API, whose token lies in Secrets Manager."""
    boto3.client("secretsmanager").create_secret(Name="prefect-api-key", SecretString=TOKEN)
    # With an ARN of its own each time, each test would need a template of its own.
    secretsmanager_backends[ACCOUNT][REGION].secrets["prefect-api-key"].arn = SECRET
    with Prefect1Server(TOKEN) as cloud:

        def make(prefect: dict[str, Any] | None = None, **sections: Any) -> World1:
            given = {"api_key_secret": SECRET, **(prefect or {})}
            return make_world1(cloud, prefect=given, **sections)

        yield make
