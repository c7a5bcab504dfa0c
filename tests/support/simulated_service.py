"""How a simulated AWS answers the real clients of boto3, whose own validation stays in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol
from unittest import mock

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from tests.support.simulated_calls import current


class Refusal(Exception):
    """An error of a service, which its client raises as its own."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = {"Error": {"Code": code, "Message": message}, **more}


class Service(Protocol):
    """One service."""

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call.

        Raises
        ------
        Refusal
            It is answered with an error.
        """


Answer = tuple[AWSResponse, dict[str, Any]]


def refused(code: str, message: str, status: int = 400, **more: Any) -> Answer:
    """Return an error as botocore hands it on."""
    told = {"Error": {"Code": code, "Message": message}, **more}
    return AWSResponse("", status, {}, None), told


@contextmanager
def answering() -> Iterator[None]:
    """Answer the clients of boto3 that are made within, from the world of the current invocation.

    A client is made once a process and holds no state that matters: a cold start makes none.
    """
    with mock.patch.object(boto3, "client", _client):
        yield


def _client(service: str, config: Config | None = None, region_name: str | None = None) -> Any:
    return _made(service, region_name or "us-east-1")


@cache
def _made(service: str, region: str) -> Any:
    return _session().client(
        service, region_name=region, aws_access_key_id="test", aws_secret_access_key="test"
    )


@cache
def _session() -> boto3.Session:
    session = boto3.Session()
    session.events.register("before-parameter-build.*.*", _keep_parameters)
    session.events.register("before-call.*.*", _answer)
    return session


def _keep_parameters(params: Any, context: dict[str, Any], **_: Any) -> None:
    context["asked"] = params


def _answer(model: Any, context: Mapping[str, Any], **_: Any) -> Answer:
    name, asked = model.service_model.service_name, context["asked"]
    invocation = current.get()
    service: Service = invocation.home.services[name]

    def effect() -> Answer:
        try:
            told = service.call(model.name, asked)
        except Refusal as refusal:
            return AWSResponse("", 400, {}, None), refusal.answer
        return AWSResponse("", 200, {}, None), told

    answer: Answer = invocation.calls.make(name, model.name, asked, effect)
    return answer
