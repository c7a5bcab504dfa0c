"""S3's objects and Secrets Manager's secrets, to be read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from tests.support.simulated_service import Refusal


class S3Service:
    """Objects by their keys, in whichever bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        assert operation == "GetObject"
        body = self.objects.get(asked["Key"])
        if body is None:
            raise Refusal("NoSuchKey", "The specified key does not exist.")
        return {"ContentLength": len(body), "Body": io.BytesIO(body)}


class SecretsService:
    """Secrets by their ARNs."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        assert operation == "GetSecretValue"
        return {"SecretString": self.secrets[asked["SecretId"]]}
