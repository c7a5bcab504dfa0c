"""Prefect's API in a simulated world: the real client of it, with its retries, and no network."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from typing import Any
from unittest import mock

import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from tests.support.json_http import Request
from tests.support.simulated_calls import current

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_FIRST_FIELD = re.compile(r"\{\s*(\w+)")


def http_answer(
    status: int, body: str, headers: Mapping[str, str] | None = None
) -> urllib3.HTTPResponse:
    """Return an answer as urllib3 reads it."""
    return urllib3.HTTPResponse(
        io.BytesIO(body.encode()), headers, status, preload_content=True, decode_content=False
    )


@contextmanager
def without_network() -> Iterator[None]:
    """Let the server of the current invocation's world answer what is asked over HTTP."""
    original = urllib3.PoolManager.request

    def request(pool: Any, method: str, url: str, **options: Any) -> Any:
        operation = _operation(method, urllib3.util.parse_url(url).request_uri, options["body"])
        calls = current.get().calls
        return calls.make_by_http(operation, lambda: original(pool, method, url, **options))

    with (
        mock.patch.object(urllib3.PoolManager, "request", request),
        mock.patch.object(HTTPConnectionPool, "_make_request", _attempt),
    ):
        yield


def _operation(method: str, path: str, body: bytes | None) -> str:
    """Name a call: by the first field that is asked for in GraphQL, else by its path."""
    if body and body.startswith(b'{"query"'):
        found = _FIRST_FIELD.search(body.decode().partition('"query"')[2])
        return found[1] if found else "unknown"
    return f"{method} {_UUID.sub('{id}', path.partition('?')[0])}"


def _attempt(
    pool: HTTPConnectionPool, connection: Any, method: str, url: str, **asked: Any
) -> urllib3.HTTPResponse:
    invocation = current.get()
    told = Message()
    for name, value in asked["headers"].items():
        told[name] = value

    def effect() -> urllib3.HTTPResponse:
        answer = invocation.home.prefect.answer(Request(method, url, told, asked["body"] or b""))
        if answer is None:
            raise urllib3.exceptions.ProtocolError("Connection aborted.")
        return http_answer(answer.status, answer.body)

    found: urllib3.HTTPResponse = invocation.calls.attempt(effect)
    return found
