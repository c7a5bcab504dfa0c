"""Prefect as a case describes it, in the place of the worker's client."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import BlockDocument, Flow, State
from prefect.client.schemas.responses import (
    DeploymentResponse,
    OrchestrationResult,
    SetStateStatus,
    StateAcceptDetails,
)
from prefect.exceptions import ObjectNotFound

Json = dict[str, Any]


class FakePrefect:
    """Stands in for the worker's client: reads from a case, accepts every state, keeps calls."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.calls: list[Json] = []
        self._given = given

    async def read_deployment(self, id: UUID) -> DeploymentResponse:
        held = {"job_variables": {}, **self._given["deployment"]}
        flow = self._given["flow"]["id"]
        return DeploymentResponse(id=id, flow_id=flow, **copy.deepcopy(held))

    async def read_flow(self, id: UUID) -> Flow:
        return Flow(**copy.deepcopy(self._given["flow"]))

    async def read_block_document(self, id: str, include_secrets: bool = True) -> BlockDocument:
        return self._block(lambda block: block["id"] == str(id))

    async def read_block_document_by_name(
        self, name: str, block_type_slug: str, include_secrets: bool = True
    ) -> BlockDocument:
        wanted = (name, block_type_slug)
        return self._block(lambda block: (block["name"], block["block_type_slug"]) == wanted)

    def _block(self, is_wanted: Any) -> BlockDocument:
        for block in filter(is_wanted, self._given["blocks"]):
            return BlockDocument.model_construct(data=copy.deepcopy(block["data"]))
        raise ObjectNotFound(http_exc=httpx.HTTPError("Not found"))

    async def read_variable_by_name(self, name: str) -> Any:
        held = self._given["variables"]
        return Variable(copy.deepcopy(held[name])) if name in held else None

    async def set_flow_run_state(
        self, flow_run_id: UUID, state: State, force: bool = False
    ) -> OrchestrationResult:
        self._keep(
            "set_flow_run_state",
            flow_run_id=str(flow_run_id),
            type=state.type.value,
            name=state.name,
            message=state.message,
            force=force,
        )
        status = SetStateStatus.ACCEPT
        return OrchestrationResult(state=state, status=status, details=StateAcceptDetails())

    async def update_flow_run_labels(self, flow_run_id: UUID, labels: Json) -> None:
        self._keep("update_flow_run_labels", flow_run_id=str(flow_run_id), labels=labels)

    async def update_flow_run(self, flow_run_id: UUID, infrastructure_pid: str) -> None:
        pid = {"infrastructure_pid": infrastructure_pid}
        self._keep("update_flow_run", flow_run_id=str(flow_run_id), **pid)

    def emit_event(self, event: str, resource: Any, related: Any, follows: Any = None) -> Json:
        named = sorted((dict(entry) for entry in related), key=in_order)
        self._keep("emit_event", event=event, resource=dict(resource), related=named)
        return {"event": event}

    def _keep(self, op: str, **given: Any) -> None:
        self.calls.append({"op": op, **given})


class Variable:
    """A Prefect variable, of which the worker reads the value."""

    def __init__(self, value: Any) -> None:
        self.value = value


def in_order(value: Any) -> str:
    """Return what puts related resources in an order, for the worker has them of a set."""
    return json.dumps(value, sort_keys=True)
