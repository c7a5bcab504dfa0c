"""The endpoints of Prefect 3's REST API that an agent, its tests and their users call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support import prefect3_other_routes as others
from tests.support import prefect3_pool_routes as pools
from tests.support import prefect3_run_routes as runs
from tests.support.json_http import Answer
from tests.support.prefect3_answers import Store
from tests.support.prefect3_state import Invalid
from tests.support.prefect3_store import NotFound


def respond(store: Store, method: str, target: str, body: Any) -> Answer:
    """Answer one call."""
    parts = urlsplit(target)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    for verb, pattern, endpoint in ENDPOINTS:
        found = pattern.fullmatch(parts.path)
        if found is None or verb != method:
            continue
        arguments = {name: unquote(text) for name, text in found.groupdict().items()}
        if query:
            arguments["query"] = query
        try:
            with store.lock:
                held = endpoint(store, body if body is not None else {}, **arguments)
                if isinstance(held, Answer):
                    return held
                return Answer.json(200, held)
        except NotFound as error:
            return Answer.json(404, {"detail": str(error)})
        except Invalid as error:
            return Answer.json(422, {"detail": str(error)})
    return Answer.json(404, {"detail": f"Not Found: {method} {parts.path}"})


def _endpoint(rule: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", rule))


ENDPOINTS: tuple[tuple[str, re.Pattern[str], Callable[..., Any]], ...] = tuple(
    (method, _endpoint(rule), endpoint)
    for method, rule, endpoint in (
        ("POST", "/flow_runs/{id}/set_state", runs.set_state),
        ("POST", "/flow_runs/filter", runs.find_runs),
        ("GET", "/flow_runs/{id}", runs.read_run),
        ("PATCH", "/flow_runs/{id}", runs.change_run),
        ("DELETE", "/flow_runs/{id}", runs.delete_run),
        ("PATCH", "/flow_runs/{id}/labels", runs.label_run),
        ("POST", "/flow_runs/{id}/resume", runs.resume),
        ("GET", "/flow_run_states/", runs.read_states),
        ("POST", "/logs/", others.write_logs),
        ("POST", "/logs/filter", others.find_logs),
        ("POST", "/events", others.write_events),
        ("GET", "/admin/version", others.version),
        ("GET", "/health", others.health),
        ("GET", "/collections/views/{view}", others.views),
        ("POST", "/work_pools/", pools.create_pool),
        ("GET", "/work_pools/{pool}", pools.read_pool),
        ("PATCH", "/work_pools/{pool}", pools.change_pool),
        ("POST", "/work_pools/{pool}/workers/heartbeat", pools.heartbeat),
        ("POST", "/work_pools/{pool}/get_scheduled_flow_runs", pools.due_runs),
        ("POST", "/work_pools/{pool}/queues/filter", pools.find_queues),
        ("POST", "/work_pools/{pool}/queues", pools.create_queue),
        ("GET", "/work_pools/{pool}/queues/{name}", pools.read_queue),
        ("PATCH", "/work_pools/{pool}/queues/{name}", pools.change_queue),
        ("POST", "/flows/", pools.create_flow),
        ("POST", "/flows/filter", pools.find_flows),
        ("GET", "/flows/{id}", pools.read_flow),
        ("POST", "/deployments/", pools.create_deployment),
        ("POST", "/deployments/filter", pools.find_deployments),
        ("GET", "/deployments/{id}", pools.read_deployment),
        ("PATCH", "/deployments/{id}", pools.change_deployment),
        ("DELETE", "/deployments/{id}", pools.delete_deployment),
        ("POST", "/deployments/{id}/create_flow_run", pools.create_run),
        ("POST", "/block_documents/filter", others.find_blocks),
        ("POST", "/block_documents/", others.create_block),
        ("GET", "/block_documents/{id}", others.read_block),
        ("PATCH", "/block_documents/{id}", others.change_block),
        ("GET", "/block_types/slug/{slug}", others.block_type),
        ("GET", "/block_types/slug/{slug}/block_documents/name/{name}", others.named_block),
        ("POST", "/block_schemas/filter", others.block_schemas),
        ("POST", "/variables/filter", others.find_variables),
        ("POST", "/variables/", others.create_variable),
        ("GET", "/variables/name/{name}", others.read_variable),
        ("PATCH", "/variables/name/{name}", others.change_variable),
    )
)
