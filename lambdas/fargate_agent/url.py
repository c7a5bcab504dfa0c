"""The agent's function URL: ``/api/health`` and ``/api/poke``, as the legacy agent's address had.

Anybody may call a function URL, so each call must bring the shared secret:
``Authorization: Bearer <secret>``.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

REREAD_SECONDS = 60.0
"""The secret is read again after this: it may be rotated, and the old one is worth nothing."""


class SharedSecret:
    """The secret that callers must know, from Secrets Manager.

    Parameters
    ----------
    secrets
        Makes the Secrets Manager client.
    arn
        Where it lies.
    """

    def __init__(
        self,
        secrets: Callable[[], SecretsManagerClient],
        arn: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._arn = arn
        self._clock = clock
        self._held = b""
        self._read_at = float("-inf")

    def matches(self, authorization: str) -> bool:
        """Tell whether a header brings the secret, in a time that does not tell how nearly."""
        if self._clock() - self._read_at >= REREAD_SECONDS:
            text = self._secrets().get_secret_value(SecretId=self._arn)["SecretString"]
            self._held, self._read_at = f"Bearer {text}".encode(), self._clock()
        # No secret is equal to what is no text.
        return hmac.compare_digest(authorization.encode(errors="surrogatepass"), self._held)


def respond(
    event: Mapping[str, Any], secret: SharedSecret, poke: Callable[[], int] | None
) -> dict[str, Any]:
    """Answer one request to the function URL (payload format 2.0).

    Parameters
    ----------
    poke
        Polls now, and returns how many runs it found; None where the agent is disabled.
    """
    headers = event.get("headers") or {}
    if not secret.matches(headers.get("authorization") or ""):
        return _answer(401, {"error": "Authorization: Bearer <the agent's secret> is needed"})
    path = (event.get("rawPath") or "").rstrip("/")
    if path == "/api/health":
        return _answer(200, {})
    if path == "/api/poke":
        if poke is None:
            return _answer(409, {"error": "agent.enabled is false"})
        return _answer(200, {"found": poke()})
    return _answer(404, {"error": "there are /api/health and /api/poke"})


def is_request(event: Mapping[str, Any]) -> bool:
    """Tell a request to the function URL from other events."""
    return "http" in (event.get("requestContext") or {})


def _answer(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body),
    }
