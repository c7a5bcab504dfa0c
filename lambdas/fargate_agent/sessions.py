"""AWS as somebody else: the ``[aws]`` settings, or a job's AWS credentials block."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader

from fargate_agent.errors import PermanentError
from fargate_agent.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

TIMES = Config(
    connect_timeout=3,
    read_timeout=8,
    max_pool_connections=16,
    retries={"mode": "adaptive", "total_max_attempts": 3},
)
"""Well within a function's own time-out. The clients of ECS slow down when they are throttled."""

_REFUSED = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}

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
    session = _session(settings.aws_region)
    if settings.aws_credentials_secret:
        session.set_credentials(*_keys(settings.aws_credentials_secret, secrets))
    if settings.aws_role_arn:
        _assume(session, settings.aws_role_arn, {"RoleSessionName": settings.agent_name[:64]})
    return boto3.Session(botocore_session=session).client


def block_client(block: Mapping[str, Any], agent_name: str) -> Callable[..., Any]:
    """Return what makes clients with the fields of an ``AwsCredentials`` block.

    Follows https://docs.prefect.io/integrations/prefect-aws: a key, or the function's own role;
    from it a role that is assumed, and parameters of the clients.

    Raises
    ------
    PermanentError
        The block names what a function does not have, or what boto3 does not know.
    """
    parameters = dict(block.get("aws_client_parameters", {}))
    options = parameters.pop("config", {})
    files = {
        "profile_name": block.get("profile_name"),
        "verify_cert_path": parameters.get("verify_cert_path"),
        "verify": isinstance(parameters.get("verify"), str),
        "client_cert": isinstance(options, Mapping) and options.get("client_cert"),
    }
    for name in (name for name, given in files.items() if given):
        raise _wrong(f"sets {name!r}, which is a file on a worker's machine")
    open_ways = (parameters.get("use_ssl") is False, parameters.get("verify") is False)
    if (parameters.get("endpoint_url") or any(open_ways) or "proxies" in options) and not block.get(
        KEYS[0]
    ):
        raise _wrong("has a way of its own to AWS and no key; the agent's are not sent there")
    session = _session(block.get("region_name"))
    if block.get(KEYS[0]):
        session.set_credentials(*_keys_of(block))
    if block.get("assume_role_arn"):
        asked = {"RoleSessionName": agent_name[:64], **block.get("assume_role_kwargs", {})}
        _assume(session, block["assume_role_arn"], asked)
    session.register("after-call", _refuse_credentials)
    make: Callable[..., Any] = boto3.Session(botocore_session=session).client

    def client(service: str, config_of_agent: Config) -> Any:
        try:
            config = config_of_agent.merge(Config(**options)).merge(_times(config_of_agent))
            return make(service, config=config, **parameters)
        except (AttributeError, BotoCoreError, TypeError, ValueError) as error:
            raise _wrong(f"is none that boto3 takes ({type(error).__name__})") from error

    return client


def _times(config: Config) -> Config:
    """Return what keeps a call within the function's own time-out, which no block takes away."""
    bounds = ("connect_timeout", "read_timeout", "retries")
    return Config(**{name: getattr(config, name) for name in bounds})


def _keys_of(block: Mapping[str, Any]) -> tuple[str, str, str | None]:
    parts = [str(block.get(name) or "").strip() for name in KEYS]
    if not all(re.fullmatch(r"[!-~]+", part) for part in (*parts[:2], parts[2] or "-")):
        # botocore would repeat what cannot be a header.
        raise _wrong(f"must hold {KEYS[0]} and {KEYS[1]} as text without spaces or line ends")
    return parts[0], parts[1], parts[2] or None


def _wrong(how: str) -> PermanentError:
    return PermanentError(
        f"The AWS credentials block that the job names (aws_credentials) {how}. Correct the block."
    )


def _refuse_credentials(**event: Any) -> None:
    """Tell a run that its own credentials are wrong: the agent's may be mended, these are input."""
    parsed = event.get("parsed")
    code = parsed.get("Error", {}).get("Code") if isinstance(parsed, Mapping) else None
    if code in _REFUSED:
        raise _wrong(f"holds credentials that AWS refuses ({code})")


@cache
def _models() -> Loader:
    """Return AWS's models, which take 27 MB and are the same in every session."""
    return create_loader()


def _session(region: str | None) -> botocore.session.Session:
    session = botocore.session.Session()
    session.register_component("data_loader", _models())
    session.set_default_client_config(TIMES)
    if region:
        session.set_config_variable("region", region)
    return session


def _keys(arn: str, secrets: Callable[[], SecretsManagerClient]) -> tuple[str, str, str | None]:
    try:
        held: Any = json.loads(secrets().get_secret_value(SecretId=arn)["SecretString"])
        return held[KEYS[0]], held[KEYS[1]], held.get(KEYS[2])
    except (KeyError, TypeError, ValueError) as error:
        raise PermanentError(
            f"The secret {arn} (aws.credentials_secret) must be a JSON object with "
            f"{KEYS[0]} and {KEYS[1]}, and {KEYS[2]} where there is one."
        ) from error


def _assume(session: botocore.session.Session, role_arn: str, asked: Mapping[str, Any]) -> None:
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=session.create_client,
        source_credentials=session.get_credentials(),
        role_arn=role_arn,
        extra_args=dict(asked),
    )
    session._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
