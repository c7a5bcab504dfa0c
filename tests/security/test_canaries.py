"""What listens for secrets would hear them: each place where one could be let out is tried."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from fargate_agent import poll
from fargate_agent.observability import logger
from fargate_agent.orchestrators.http import JsonClient
from tests.security.canaries import Canaries, Kind
from tests.support.functions import CONTEXT
from tests.support.json_http import Answer, JsonHttpServer

PROJECT = Path(__file__).parents[2]
LEAK = "pnu_7hQ4 \u201ctold\u201d"
"""The suite's own watch knows it not: it is planted here alone."""


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    """What listens, with a canary."""
    made = Canaries()
    made.plant(LEAK)
    with made.listening():
        yield made


@pytest.fixture
def server() -> Iterator[JsonHttpServer]:
    """A server that says yes to all."""
    made = JsonHttpServer(lambda _: Answer(200, "{}"))
    made.start()
    yield made
    made.stop()


def in_base64() -> str:
    return base64.b64encode(f"{LEAK}".encode()).decode()


def _log_an_exception() -> None:
    try:
        raise ValueError(f"no such key: {LEAK}")
    except ValueError:
        logger.exception("failed")


LINES: dict[str, Callable[[], Any]] = {
    "a message": lambda: logger.info(f"key {LEAK} refused"),
    "a field": lambda: logger.info("refused", key=LEAK),
    "a field in a field": lambda: logger.info("refused", extra={"told": {"keys": [LEAK]}}),
    "base64": lambda: logger.warning("refused", header=f"Basic {in_base64()}"),
    "an exception": _log_an_exception,
}


@pytest.mark.parametrize("line", LINES)
def test_a_secret_in_the_log_is_heard(canaries: Canaries, line: str) -> None:
    LINES[line]()

    assert canaries.leaks() == [f"log: a secret of the agent, {LEAK!r}"]


def run_task(**told: Any) -> tuple[str, str, dict[str, Any]]:
    return "ecs", "run_task", {"taskDefinition": "x", **told}


def override(**told: Any) -> dict[str, Any]:
    return {"containerOverrides": [{"name": "flow", **told}]}


def register(**container: Any) -> tuple[str, str, dict[str, Any]]:
    asked = {"family": "x", "containerDefinitions": [{"name": "flow", **container}]}
    return "ecs", "register_task_definition", asked


ENTRY = [{"name": "KEY", "value": LEAK}]
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "an override": run_task(overrides=override(environment=ENTRY)),
    "a command": run_task(overrides=override(command=["login", f"--key={LEAK}"])),
    "a tag": run_task(tags=[{"key": "key", "value": LEAK}]),
    "a definition's variable": register(environment=ENTRY),
    "a definition's label": register(dockerLabels={LEAK: "x"}),
    "a message": ("sqs", "send_message", {"QueueUrl": "q", "MessageBody": f'{{"key": "{LEAK}"}}'}),
    "a reason": ("ecs", "stop_task", {"task": "x", "reason": LEAK}),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_secret_in_a_call_of_aws_is_heard(aws: None, canaries: Canaries, case: str) -> None:
    service, operation, asked = CALLS[case]
    client = boto3.client(service)  # type: ignore[call-overload]

    with suppress(BotoCoreError, ClientError):  # it need not work to have been asked
        getattr(client, operation)(**asked)

    (leak,) = canaries.leaks()
    assert leak.endswith(f"a secret of the agent, {LEAK!r}")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/flow_runs/1/set_state", {"state": {"message": f"refused: {LEAK}"}}),
        ("POST", "/logs/", [{"message": LEAK}]),
        ("PATCH", "/flow_runs/1", {"infrastructure_pid": LEAK}),
        ("GET", f"/flows/1?key={in_base64()}", None),
        ("POST", "/graphql", {"query": "", "variables": f'{{"message": "{LEAK}"}}'}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_secret_in_what_prefect_is_told_is_heard(
    canaries: Canaries, server: JsonHttpServer, method: str, path: str, body: Any
) -> None:
    urllib3.PoolManager().request(
        method, f"{server.url}/api{path}", body=None if body is None else json.dumps(body).encode()
    )

    (leak,) = canaries.leaks()
    assert leak.startswith(f"{method} {path.partition('?')[0]}: ")


def test_a_secret_in_a_function_s_answer_is_heard(
    canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = mock.Mock(settings=mock.Mock(enabled=False))
    monkeypatch.setattr(poll, "_poller", lambda: poller)
    monkeypatch.setattr(poll, "_secret", lambda: None)
    monkeypatch.setattr(poll.url, "is_request", lambda event: True)
    monkeypatch.setattr(poll.url, "respond", lambda *_: {"body": LEAK})

    poll.handler({}, CONTEXT)  # type: ignore[arg-type]

    assert canaries.leaks() == [f"answer of fargate_agent.poll: a secret of the agent, {LEAK!r}"]


def test_the_credentials_of_a_call_are_no_leak(canaries: Canaries, server: JsonHttpServer) -> None:
    JsonClient(server.url, lambda _: f"Bearer {in_base64()}").get("/hello")

    assert any(where == "GET /hello" for where, _ in canaries.heard)
    assert canaries.leaks() == []


def test_a_block_s_secret_may_stand_in_its_task_and_nowhere_else(
    aws: None, canaries: Canaries
) -> None:
    canaries.planted[LEAK] = Kind.REFERENCED
    ecs, sqs = boto3.client("ecs"), boto3.client("sqs")

    with suppress(BotoCoreError, ClientError):
        ecs.run_task(taskDefinition="x", overrides=override(environment=ENTRY))
    assert canaries.leaks() == []

    entries: Any = [{"Id": "1", "MessageBody": LEAK}]
    with suppress(BotoCoreError, ClientError):
        sqs.send_message_batch(QueueUrl="q", Entries=entries)
    assert canaries.leaks() == [f"SendMessageBatch: a block's secret, {LEAK!r}"]


def test_what_is_kept_in_secrets_manager_is_a_canary(aws: None, canaries: Canaries) -> None:
    canaries.forget()
    manager = boto3.client("secretsmanager")
    keys = '{"aws_access_key_id": "AKIAOTHER", "aws_secret_access_key": "hunter22"}'
    manager.create_secret(Name="keys", SecretString=keys)
    manager.create_secret(Name="key", SecretString="pnu_manager")

    assert canaries.planted == {"hunter22": Kind.KEPT, "pnu_manager": Kind.KEPT}


def test_what_is_kept_in_a_block_is_a_canary(canaries: Canaries, server: JsonHttpServer) -> None:
    canaries.forget()
    api = JsonClient(f"{server.url}/api", lambda _: None)
    api.post("/block_documents/", {"name": "a", "data": {"value": "of a secret block"}})
    api.post("/block_documents/", {"name": "b", "data": {"aws_secret_access_key": "of a key"}})

    assert canaries.planted == {
        "of a secret block": Kind.REFERENCED,
        "of a key": Kind.KEPT,
    }


def test_the_suite_is_watched(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin("canary-watch")


TESTS = """
import boto3
from moto import mock_aws
from fargate_agent.observability import logger

def keep():
    boto3.client("secretsmanager", "us-east-1").create_secret(Name="k", SecretString="pnu_canary")

@mock_aws
def test_that_lets_it_out():
    keep()
    logger.info("told", key="pnu_canary")

@mock_aws
def test_that_prints_it():
    keep()
    print("pnu_canary")

@mock_aws
def test_that_keeps_it():
    keep()
    logger.info("told")

def test_that_knows_none():
    logger.info("told", key="pnu_canary")
"""


def test_a_test_that_lets_a_secret_out_fails(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(TESTS)
    options = ["-q", "-rA", "-p", "no:cacheprovider", "-p", "tests.security.canaries"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), "lambdas"])}

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    told = ended.stdout
    assert "4 passed, 2 errors" in told
    assert "secrets were let out: log: a secret of the agent, 'pnu_canary'" in told
    assert "secrets were let out: stdout: a secret of the agent, 'pnu_canary'" in told
    assert "ERROR ::test_that_keeps_it" not in told.replace("test_leaks.py", "")
