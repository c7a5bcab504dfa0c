"""Makes the clients of the outside world, with time-outs well within a function's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from urllib3.util.retry import Retry

from fargate_agent.accounts import Account, Accounts
from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.kwargs import KwargsModel
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.credentials import authorization
from fargate_agent.orchestrators.http import RETRIES, JsonClient
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect3 import API_VERSION, Prefect3
from fargate_agent.sessions import TIMES, block_client, task_client
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import OnDrift, TaskDefinitions

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient


def made_at_start(make: Callable[[], object]) -> None:
    """Make a function's clients while Lambda starts it.

    A start has a whole core, an invocation with 256 MB a seventh of one
    (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
    """
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        make()


def ecs(settings: Settings) -> ECSClient:
    """Make a client of the ECS that runs the tasks, alone; see :func:`accounts`."""
    client: ECSClient = task_client(settings, secrets_manager)("ecs", config=_tasks(settings))
    return client


def _tasks(settings: Settings) -> Config:
    return TIMES.merge(Config(**settings.aws_botocore))


def accounts(settings: Settings) -> Accounts:
    """Make the account that tasks run in, and what makes those of credentials of jobs' own.

    Raises
    ------
    PermanentError
        The secret in ``aws.credentials_secret`` does not hold a key.
    """
    config, on_drift = _tasks(settings), OnDrift(settings.on_drift)

    def account(make: Callable[[str, Config], Any]) -> Account:
        clients = make("ecs", config), make("resourcegroupstaggingapi", config)
        definitions = TaskDefinitions(*clients, on_drift=on_drift)
        return Account(clients[0], definitions, lambda: make("ec2", config))

    own = task_client(settings, secrets_manager)
    return Accounts(
        account(lambda service, config: own(service, config=config)),
        lambda block: account(block_client(block, settings.agent_name)),
    )


def kwargs_files(settings: Settings, model: KwargsModel) -> KwargsFiles:
    """Make what reads the external kwargs.

    A bucket that the stack made is the agent's own, whoever runs the tasks.
    """
    make: Callable[..., Any] = boto3.client
    if settings.kwargs_bucket_is_given:
        make = task_client(settings, secrets_manager)
    s3 = make("s3", config=TIMES)
    return KwargsFiles(
        s3, settings.kwargs_bucket, settings.kwargs_prefix, model, settings.kwargs_allow
    )


def logs(settings: Settings) -> Callable[[str], CloudWatchLogsClient]:
    """Return what gives a client of the logs of tasks in a region, made when first asked for."""
    making, make = threading.Lock(), task_client(settings, secrets_manager)
    made: dict[str, CloudWatchLogsClient] = {}

    def client(region: str) -> CloudWatchLogsClient:
        with making:  # one session's clients are made one after the other
            if region not in made:
                made[region] = make("logs", config=TIMES, region_name=region)
            return made[region]

    return client


def sqs() -> SQSClient:
    """Make an SQS client."""
    return boto3.client("sqs", config=TIMES)


def secrets_manager() -> SecretsManagerClient:
    """Make a Secrets Manager client."""
    return boto3.client("secretsmanager", config=TIMES)


def api(settings: Settings, *, retries: Retry = RETRIES) -> JsonClient:
    """Make the client of Prefect's API, with the credentials that the settings name."""
    made = JsonClient(
        settings.api_url,
        authorization(
            secrets_manager,
            api_key_secret=settings.api_key_secret,
            auth_string_secret=settings.auth_string_secret,
        ),
        retries=retries,
    )
    if settings.prefect_version != 1:
        made.headers["X-PREFECT-API-VERSION"] = API_VERSION
    return made


def orchestrator(settings: Settings) -> Orchestrator:
    """Make the client of the orchestrator that the settings name."""
    if settings.prefect_version == 1:
        return Prefect1(api(settings), settings)
    return Prefect3(
        api(settings),
        work_pool=settings.work_pool,
        work_queues=settings.work_queues,
        worker_name=settings.agent_name,
        claimant=settings.claimant,
    )
