"""Records every AWS call that a function makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import boto3
from botocore.client import BaseClient


@dataclass(frozen=True, slots=True)
class Call:
    """One call of boto3, by the function that made it, in a region.

    ``key`` is the id of the access key where it is not the function's own; of a role that was
    assumed, whatever for, it is "assumed".
    """

    function: str
    service: str
    operation: str
    params: dict[str, Any]
    region: str
    key: str | None


class Recorder:
    """Listens to every client of botocore, of whichever session, while a function runs."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._function: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record inside the block."""
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            self._record(client, operation, params)
            return original(client, operation, params)

        # The default session lives on, for it holds the parsed models.
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        with mock.patch.object(BaseClient, "_make_api_call", call):
            yield

    @property
    def on(self) -> bool:
        """Whether a function is running now."""
        return self._function is not None

    @contextmanager
    def function(self, name: str) -> Iterator[None]:
        """Record the calls made inside the block as this function's."""
        self._function = name
        try:
            yield
        finally:
            self._function = None

    def of(self, function: str) -> list[str]:
        """Return the operations that a function called, in order."""
        return [call.operation for call in self.calls if call.function == function]

    def _record(self, client: Any, operation: str, params: dict[str, Any]) -> None:
        if self._function:
            meta = client.meta
            service = meta.service_model.service_name
            call = Call(
                self._function, service, operation, params, meta.region_name, _foreign_key(client)
            )
            self.calls.append(call)


def _foreign_key(client: Any) -> str | None:
    credentials = client._request_signer._credentials
    if credentials.method == "assume-role":
        return "assumed"
    assert boto3.DEFAULT_SESSION is not None
    own = boto3.DEFAULT_SESSION.get_credentials()
    # That session outlives a test, and may have been made when the environment held another key.
    keys = {own.access_key if own else None, os.environ.get("AWS_ACCESS_KEY_ID")}
    return None if credentials.access_key in keys else credentials.access_key
