"""boto3 clients that call nothing: botocore's own models check what tests send and answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto.secretsmanager.models import secretsmanager_backends

from fargate_agent.kwargs import KwargsModel


def client(service: str) -> Any:
    """Make a client that needs no credentials as long as it is stubbed."""
    return boto3.client(service, region_name="eu-west-1")


@cache
def default_session() -> boto3.Session:
    """Return the session of all tests in this process: it reads each service's model once."""
    return boto3.Session()


@cache
def moto(service: str) -> Any:
    """Return the tests' own client of the AWS in this process."""
    return default_session().client(service)


@cache
def kwargs_model() -> KwargsModel:
    """Return the model of ECS's kwargs, read once a process for it is large."""
    return KwargsModel(client("ecs"))


@contextmanager
def stubbed(service: str) -> Iterator[tuple[Any, Stubber]]:
    """Give a client and its script; afterwards, every scripted call must have been made."""
    made = client(service)
    with Stubber(made) as script:
        yield made, script
        script.assert_no_pending_responses()


def client_error(code: str, message: str = "no", operation: str = "RunTask") -> ClientError:
    """Make the error that boto3 raises for an answer of AWS."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def keep_secret(arn: str, value: str) -> None:
    """Make a secret of this very ARN: with one of its own, each test would need its own stack."""
    name = arn.rpartition(":")[2].rpartition("-")[0]
    moto("secretsmanager").create_secret(Name=name, SecretString=value)
    secretsmanager_backends[arn.split(":")[4]][arn.split(":")[3]].secrets[name].arn = arn
