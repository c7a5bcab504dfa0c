"""AWS as somebody else: the ``[aws]`` settings, for tasks in another account or region."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    DeferredRefreshableCredentials,
)

from fargate_agent.errors import PermanentError
from fargate_agent.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def task_client(
    settings: Settings, secrets: Callable[[], SecretsManagerClient]
) -> Callable[..., Any]:
    """Return what makes clients with the credentials and the region that tasks are run with.

    By default those of the function itself. A role is assumed with them, or with the keys in
    ``aws.credentials_secret``, and again before its credentials expire.

    Raises
    ------
    PermanentError
        The secret does not hold a key's parts as JSON.
    """
    if not (settings.aws_region or settings.aws_credentials_secret or settings.aws_role_arn):
        return boto3.client
    session = botocore.session.Session()
    if settings.aws_region:
        session.set_config_variable("region", settings.aws_region)
    if settings.aws_credentials_secret:
        session.set_credentials(*_keys(settings.aws_credentials_secret, secrets))
    if settings.aws_role_arn:
        _assume(session, settings.aws_role_arn, settings.agent_name)
    return boto3.Session(botocore_session=session).client


def _keys(arn: str, secrets: Callable[[], SecretsManagerClient]) -> tuple[str, str, str | None]:
    try:
        held: Any = json.loads(secrets().get_secret_value(SecretId=arn)["SecretString"])
        return held[KEYS[0]], held[KEYS[1]], held.get(KEYS[2])
    except (KeyError, TypeError, ValueError) as error:
        raise PermanentError(
            f"The secret {arn} (aws.credentials_secret) must be a JSON object with "
            f"{KEYS[0]} and {KEYS[1]}, and {KEYS[2]} where there is one."
        ) from error


def _assume(session: botocore.session.Session, role_arn: str, name: str) -> None:
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=session.create_client,
        source_credentials=session.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": name[:64]},
    )
    session._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
