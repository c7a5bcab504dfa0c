"""Listens to all that the functions say during the whole test suite, for secrets among it.

Every value that a test keeps in Secrets Manager or in a block of Prefect is a canary from then on
until the test ends. What is heard: log lines, output, messages of the queues, calls of AWS with
their definitions and overrides, what Prefect is told, and the functions' answers. A canary in any
of it fails the test.

By Prefect's own semantics a secret block that a job's variables refer to stands in its task's
environment: in calls of RunTask and RegisterTaskDefinition, and in ECS's events of the task, it is
expected.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from unittest import mock

import pytest
import urllib3
from botocore.client import BaseClient

from fargate_agent import dispatch, poll, watch
from fargate_agent.observability import logger

SHORTEST = 5
"""Shorter values stand in other words by chance."""

NAMES = frozenset({"aws_access_key_id", "region_name", "user", "username"})
"""Fields of secrets and of blocks that are none."""

KEPT_BY_TESTS = ("/block_documents", "/deployments", "/variables", "/work_pools")
"""Where tests, and not the agent, tell Prefect things; the agent reads there."""

TASKS = frozenset({"RegisterTaskDefinition", "RunTask", "SendMessage"})
"""Calls that start a task, and the one by which tests send ECS's events of it."""


class Kind(Enum):
    """What a secret is for."""

    KEPT = "a secret of the agent"
    REFERENCED = "a block's secret"


@dataclass
class Canaries:
    """The secrets in play, and what was heard."""

    planted: dict[str, Kind] = field(default_factory=dict)
    heard: list[tuple[str, Any]] = field(default_factory=list)

    def plant(self, value: Any, kind: Kind = Kind.KEPT) -> None:
        """Take every text in a value for a secret, but for what is only a name."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name not in NAMES:
                    self.plant(item, kind)
        elif isinstance(value, list):
            for item in value:
                self.plant(item, kind)
        elif isinstance(value, str) and len(value) >= SHORTEST:
            self.planted.setdefault(value, kind)

    def hear(self, where: str, said: Any) -> None:
        """Keep what was said, until the test ends."""
        self.heard.append((where, said))

    def forget(self) -> None:
        """Begin anew."""
        self.planted.clear()
        self.heard.clear()

    def leaks(self) -> list[str]:
        """Tell where a canary was heard."""
        if not self.planted:
            return []
        found = {}
        forms = {value: _forms(value) for value in self.planted}
        for where, said in self.heard:
            text = _text(said)
            for value, kind in self.planted.items():
                if kind is Kind.REFERENCED and where in TASKS:
                    continue
                if any(form in text for form in forms[value]):
                    found[f"{where}: {kind.value}, {value!r}"] = True
        return list(found)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear all that is said in this process inside the block."""
        with ExitStack() as stack:
            for patch in (self._aws(), self._http(), *map(self._answers, (dispatch, poll, watch))):
                stack.enter_context(patch)
            stack.enter_context(self._logs())
            yield

    def _aws(self) -> Any:
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            if client.meta.service_model.service_name == "secretsmanager":
                answer = original(client, operation, params)
                self._plant_secret(params.get("SecretString") or answer.get("SecretString"))
                return answer
            self.hear(operation, params)
            return original(client, operation, params)

        return mock.patch.object(BaseClient, "_make_api_call", call)

    def _plant_secret(self, text: str | None) -> None:
        try:
            parts = json.loads(text or "null")
        except ValueError:
            parts = None
        self.plant(parts if isinstance(parts, dict) else text)

    def _http(self) -> Any:
        original = urllib3.PoolManager.request

        @functools.wraps(original)
        def request(pool: Any, method: str, url: str, *given: Any, **options: Any) -> Any:
            path = urllib.parse.urlsplit(url).path.removeprefix("/api")
            if path.startswith("/block_documents") and options.get("body"):
                body = json.loads(options["body"])
                if isinstance(body, dict) and "data" in body:
                    self._plant_block(body["data"])
            if not path.startswith(KEPT_BY_TESTS):
                headers = dict(options.get("headers") or {})
                headers.pop("Authorization", None)
                self.hear(f"{method} {path}", [url, headers, options.get("body")])
            return original(pool, method, url, *given, **options)

        return mock.patch.object(urllib3.PoolManager, "request", request)

    def _plant_block(self, data: Mapping[str, Any]) -> None:
        keys = {name: data.get(name) for name in ("aws_secret_access_key", "aws_session_token")}
        self.plant(keys, Kind.KEPT)
        self.plant({"value": data.get("value")}, Kind.REFERENCED)

    def _answers(self, function: Any) -> Any:
        original = function.handler

        @functools.wraps(original)
        def handler(event: Any, context: Any) -> Any:
            answer = original(event, context)
            self.hear(f"answer of {function.__name__}", answer)
            return answer

        return mock.patch.object(function, "handler", handler)

    @contextmanager
    def _logs(self) -> Iterator[None]:
        handler = _Lines(self)
        handler.setFormatter(logger.registered_formatter)
        loggers = (logger._logger, logging.getLogger())
        for heard in loggers:
            heard.addHandler(handler)
        try:
            yield
        finally:
            for heard in loggers:
                heard.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, canaries: Canaries) -> None:
        super().__init__()
        self._canaries = canaries

    def emit(self, record: logging.LogRecord) -> None:
        self._canaries.hear("log", self.format(record))


def _forms(value: str) -> set[str]:
    """Return a secret as it may be written: plain, in JSON, in an address, in base64."""
    encoded = value.encode(errors="surrogatepass")
    written = {value, json.dumps(value)[1:-1], urllib.parse.quote(value, safe="")}
    return written | {base64.b64encode(encoded).decode().rstrip("=")}


def _text(said: Any) -> str:
    if isinstance(said, str):
        return said
    if isinstance(said, bytes):
        return said.decode(errors="replace")
    if isinstance(said, Mapping):
        return "\n".join(f"{_text(key)}\n{_text(value)}" for key, value in said.items())
    if isinstance(said, list | tuple):
        return "\n".join(map(_text, said))
    return str(said)


class CanaryWatch:
    """Lets a test fail that let a canary out."""

    def __init__(self) -> None:
        self.canaries = Canaries()
        self._listening = ExitStack()

    def pytest_sessionstart(self) -> None:
        self._listening.enter_context(self.canaries.listening())

    def pytest_sessionfinish(self) -> None:
        self._listening.close()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        try:
            return (yield)
        finally:
            for _, name, content in item._report_sections:
                self.canaries.hear(name, content)
            leaks = self.canaries.leaks()
            self.canaries.forget()
            if leaks:
                pytest.fail("secrets were let out: " + "; ".join(leaks), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the whole session."""
    config.pluginmanager.register(CanaryWatch(), "canary-watch")
