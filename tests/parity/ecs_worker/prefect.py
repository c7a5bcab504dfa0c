"""A stand-in for Prefect's API that serves what one flow run of a case is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.parity.ecs_worker.cases import Given, Run
from tests.support.json_http import Answer, JsonHttpServer, Request

DUE = datetime(2026, 1, 1, tzinfo=UTC)
"""When every run is due."""

CREATED = "2025-01-01T00:00:00Z"
QUEUE_ID = "c1000000-0000-4000-8000-000000000001"

Route = Callable[..., Any]


class Prefect:
    """A server on a free port of the loopback interface, with one run that is due."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.infrastructure: dict[str, str] = {}
        self.messages: list[str] = []
        self._scheduled: Run | None = None
        self._changes = 0
        self._http = JsonHttpServer(self._answer)

    @property
    def url(self) -> str:
        """The API's address."""
        return self._http.url

    def __enter__(self) -> Prefect:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def schedule(self, run: Run) -> None:
        """Hold one run and what belongs to it, in place of the last one; it is due."""
        self._scheduled = run
        self._changes += 1
        self.states[run.given.run_id] = {
            "type": "SCHEDULED",
            "name": "Scheduled",
            "state_details": {"scheduled_time": DUE.isoformat()},
        }

    def _answer(self, request: Request) -> Answer:
        path = urlsplit(request.path).path
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == request.method:
                body = json.loads(request.body) if request.body else {}
                held = route(self, *map(unquote, found.groups()), body)
                if isinstance(held, Answer):
                    return held
                if held is None:
                    return Answer.json(404, {"detail": "not found"})
                return Answer(204, "") if held is NOTHING else Answer.json(200, held)
        return Answer.json(404, {"detail": f"no such endpoint here: {request.method} {path}"})

    @property
    def given(self) -> Given:
        """What is served now."""
        return self._run.given

    @property
    def _run(self) -> Run:
        assert self._scheduled is not None
        return self._scheduled

    def heartbeat(self, _pool: str, _body: Any) -> Any:
        """Answer as Prefect Cloud does, with the plain id; another server answers nothing."""
        return Answer(200, self.given.worker_id) if self.given.worker_id else NOTHING

    def due(self, _pool: str, _body: Any) -> Any:
        run = self.flow_run(self.given.run_id, {})
        if run["state"]["type"] != "SCHEDULED":
            return []
        ids = {"work_pool_id": self.given.work_pool["id"], "work_queue_id": QUEUE_ID}
        return [{**ids, "flow_run": {**run, "state": None}}]

    def work_pool(self, name: str, _body: Any) -> Any:
        if name != self.given.work_pool["name"]:
            return None
        return {
            **self.given.work_pool,
            "type": "ecs",
            "created": CREATED,
            "updated": (DUE + timedelta(seconds=self._changes)).isoformat(),
            "concurrency_limit": None,
            "is_paused": False,
            "base_job_template": self.given.template,
        }

    def queues(self, _pool: str, _body: Any) -> Any:
        return [{"id": QUEUE_ID, "name": "default", "concurrency_limit": None, "priority": 1}]

    def workers(self, _pool: str, _body: Any) -> Any:
        return []

    def flows(self, _body: Any) -> Any:
        return [self.flow(self.given.flow["id"], {})]

    def flow(self, id: str, _body: Any) -> Any:
        more = {"created": CREATED, "updated": CREATED, "tags": [], "labels": {}}
        return {**more, **self.given.flow} if id == self.given.flow["id"] else None

    def deployments(self, _body: Any) -> Any:
        held = self.given.deployment
        return [] if held is None else [self.deployment(held["id"], {})]

    def deployment(self, id: str, _body: Any) -> Any:
        held = self.given.deployment
        if held is None or held["id"] != id:
            return None
        return {
            "created": CREATED,
            "labels": {},
            "parameters": {},
            "tags": [],
            "paused": False,
            "work_pool_name": self.given.work_pool["name"],
            "flow_id": self.given.flow["id"],
            **held,
            "updated": self._run.deployment_updated,
        }

    def flow_runs(self, _body: Any) -> Any:
        return [self.flow_run(self.given.run_id, {})]

    def flow_run(self, id: str, _body: Any) -> Any:
        if id != self.given.run_id:
            return None
        return {
            "created": CREATED,
            "updated": CREATED,
            "labels": {},
            "parameters": {},
            "tags": [],
            "deployment_id": (self.given.deployment or {}).get("id"),
            "flow_id": self.given.flow["id"],
            "next_scheduled_start_time": DUE.isoformat(),
            "infrastructure_pid": self.infrastructure.get(id),
            **self.given.flow_run,
            "state": self.states[id],
        }

    def patch_flow_run(self, id: str, body: Any) -> Any:
        if "infrastructure_pid" in body:
            self.infrastructure[id] = body["infrastructure_pid"]
        return NOTHING

    def patch_labels(self, _id: str, _body: Any) -> Any:
        return NOTHING

    def set_state(self, id: str, body: Any) -> Any:
        if id != self.given.run_id:
            return None
        held, proposed = self.states[id], body["state"]
        claims = proposed["type"] == "PENDING"
        if claims and held["type"] == "PENDING":
            same = held["state_details"] == proposed.get("state_details")
            return {
                "status": "REJECT" if same else "ABORT",
                "state": held if same else None,
                "details": {"reason": "This run is pending already."},
            }
        self.states[id] = {"state_details": {}, **proposed}
        return {"status": "ACCEPT", "state": self.states[id], "details": {}}

    def logs(self, body: Any) -> Any:
        self.messages += [line["message"] for line in body]
        return NOTHING

    def version(self, _body: Any) -> Any:
        return self.given.server_version

    def blocks(self, _body: Any) -> Any:
        return [_document(block) for block in self.given.blocks]

    def block(self, slug: str, name: str, _body: Any) -> Any:
        return self._block({"block_type_slug": slug, "name": name})

    def block_document(self, id: str, _body: Any) -> Any:
        return self._block({"id": id})

    def _block(self, wanted: Mapping[str, str]) -> Any:
        found = [b for b in self.given.blocks if wanted.items() <= b.items()]
        return _document(found[0]) if found else None

    def variables(self, _body: Any) -> Any:
        return [self.variable(name, {}) for name in self.given.variables]

    def variable(self, name: str, _body: Any) -> Any:
        if name not in self.given.variables:
            return None
        value = self.given.variables[name]
        return {"id": name, "name": name, "value": value, "tags": [], "updated": CREATED}


NOTHING = object()
"""An answer without a body."""

ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", r"/work_pools/([^/]+)/workers/heartbeat", Prefect.heartbeat),
    ("POST", r"/work_pools/([^/]+)/get_scheduled_flow_runs", Prefect.due),
    ("POST", r"/work_pools/([^/]+)/queues/filter", Prefect.queues),
    ("POST", r"/work_pools/([^/]+)/workers/filter", Prefect.workers),
    ("GET", r"/work_pools/([^/]+)", Prefect.work_pool),
    ("POST", r"/flows/filter", Prefect.flows),
    ("GET", r"/flows/([^/]+)", Prefect.flow),
    ("POST", r"/deployments/filter", Prefect.deployments),
    ("GET", r"/deployments/([^/]+)", Prefect.deployment),
    ("POST", r"/flow_runs/filter", Prefect.flow_runs),
    ("POST", r"/flow_runs/([^/]+)/set_state", Prefect.set_state),
    ("PATCH", r"/flow_runs/([^/]+)/labels", Prefect.patch_labels),
    ("PATCH", r"/flow_runs/([^/]+)", Prefect.patch_flow_run),
    ("GET", r"/flow_runs/([^/]+)", Prefect.flow_run),
    ("POST", r"/logs/", Prefect.logs),
    ("GET", r"/admin/version", Prefect.version),
    ("POST", r"/block_documents/filter", Prefect.blocks),
    ("GET", r"/block_documents/([^/]+)", Prefect.block_document),
    ("GET", r"/block_types/slug/([^/]+)/block_documents/name/([^/]+)", Prefect.block),
    ("POST", r"/variables/filter", Prefect.variables),
    ("GET", r"/variables/name/([^/]+)", Prefect.variable),
)


def _document(block: Mapping[str, Any]) -> dict[str, Any]:
    slug = block["block_type_slug"]
    return {
        "id": block["id"],
        "name": block["name"],
        "data": block["data"],
        "updated": CREATED,
        "block_type": {"slug": slug, "name": slug},
        "block_type_name": slug,
        "block_document_references": {},
        "is_anonymous": False,
    }
