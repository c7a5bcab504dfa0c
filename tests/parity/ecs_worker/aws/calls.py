"""What boto3 was told to call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator

from tests.parity.ecs_worker.aws.model import Aws


class Call(NamedTuple):
    """One call of boto3: what, where, and by whose key."""

    operation: str
    params: dict[str, Any]
    region: str
    access_key: str
    endpoint: str | None = None


@dataclass
class Recorder:
    """Answers every client of this process in AWS's place, and keeps what it was asked."""

    aws: Aws
    calls: list[Call] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Take every call made inside."""

        def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            return self._take(client, operation, params)

        with monkeypatch.context() as patched:
            patched.setattr(BaseClient, "_make_api_call", call)
            yield

    def _take(self, client: Any, operation: str, params: dict[str, Any]) -> Any:
        model = client.meta.service_model
        # Asking for the key may assume a role, which is a call of its own before this one.
        key = client._request_signer._credentials.get_frozen_credentials().access_key
        region, url = client.meta.region_name, client.meta.endpoint_url
        endpoint = None if "amazonaws.com" in url else url
        self.calls.append(Call(operation, deepcopy(params), region, key, endpoint))
        report = ParamValidator().validate(params, model.operation_model(operation).input_shape)
        if report.has_errors():
            raise ParamValidationError(report=report.generate_report())
        answer = self.aws.answer(operation, params, region)
        if operation == "RunTask":
            self.tasks += [task["taskArn"] for task in answer.get("tasks", [])]
        return answer
