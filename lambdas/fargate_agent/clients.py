"""Makes the clients of the outside world, with time-outs well within a function's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from fargate_agent.orchestrators.credentials import authorization
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

_CONFIG = Config(
    connect_timeout=3,
    read_timeout=8,
    max_pool_connections=16,
    retries={"mode": "adaptive", "total_max_attempts": 3},
)


def made_at_start(make: Callable[[], object]) -> None:
    """Make a function's clients while Lambda starts it.

    A start has a whole core, an invocation with 256 MB a seventh of one
    (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
    """
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        make()


def ecs() -> ECSClient:
    """Make an ECS client that slows down by itself when ECS throttles it."""
    return boto3.client("ecs", config=_CONFIG)


def s3() -> S3Client:
    """Make an S3 client."""
    return boto3.client("s3", config=_CONFIG)


def sqs() -> SQSClient:
    """Make an SQS client."""
    return boto3.client("sqs", config=_CONFIG)


def secrets_manager() -> SecretsManagerClient:
    """Make a Secrets Manager client."""
    return boto3.client("secretsmanager", config=_CONFIG)


def prefect(settings: Settings) -> Prefect3:
    """Make the client of the orchestrator that the settings name."""
    api = JsonClient(
        settings.api_url,
        authorization(
            secrets_manager,
            api_key_secret=settings.api_key_secret,
            auth_string_secret=settings.auth_string_secret,
        ),
    )
    return Prefect3(
        api,
        work_pool=settings.work_pool,
        work_queues=settings.work_queues,
        worker_name=settings.agent_name,
    )
