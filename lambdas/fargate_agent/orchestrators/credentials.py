"""The ``Authorization`` header for Prefect's API, from Secrets Manager."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from fargate_agent.errors import PermanentError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def authorization(
    secrets: Callable[[], SecretsManagerClient],
    *,
    api_key_secret: str | None,
    auth_string_secret: str | None,
) -> Callable[[bool], str | None]:
    """Return a function that gives the header, reading the secret once per cold start.

    A Cloud API key is sent as ``Bearer``; a self-hosted server's auth string (``user:password``)
    as ``Basic``. Called with True, the function reads the secret again, for it may be rotated.

    Parameters
    ----------
    secrets
        Makes the Secrets Manager client; not called where there is no secret.
    api_key_secret, auth_string_secret
        The ARN of the secret; at most one of them.
    """
    arn = api_key_secret or auth_string_secret
    held: list[str] = []

    def read() -> str:
        answer = secrets().get_secret_value(SecretId=arn or "")
        text = answer.get("SecretString", "").strip()
        if not text:
            raise PermanentError(f"The secret {arn} is empty: store the Prefect key as plain text.")
        if api_key_secret:
            return f"Bearer {text}"
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    def header(refresh: bool) -> str | None:
        if arn is None:
            return None
        if refresh or not held:
            held[:] = [read()]
        return held[0]

    return header
