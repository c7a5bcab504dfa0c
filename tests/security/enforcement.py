"""The deployed roles in force: what they do not allow is refused as AWS refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from botocore.client import BaseClient
from botocore.exceptions import ClientError

from local.iam_requests import Request
from tests.support.functions import FUNCTIONS, Functions
from tests.support.iam import Judge, requests
from tests.support.recorder import Call


@contextmanager
def roles_in_force(world: Functions) -> Iterator[list[Request]]:
    """Refuse, inside the block, what the role of the function that calls may not do.

    Gives what was refused.
    """
    judges = {name: Judge(world.deployed, name) for name in FUNCTIONS}
    refused: list[Request] = []
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
        if world.recorder.on:
            function, meta = str(world.recorder._function), client.meta
            service = meta.service_model.service_name
            made = Call(function, service, operation, params, meta.region_name, None)
            for request in requests(made):
                if not judges[function].allows(request):
                    refused.append(request)
                    raise ClientError(_refusal(request), operation)
        return original(client, operation, params)

    with mock.patch.object(BaseClient, "_make_api_call", call):
        yield refused


def _refusal(request: Request) -> Any:
    message = f"The function's role is not authorized to perform: {request.action}"
    return {"Error": {"Code": "AccessDeniedException", "Message": message}}
