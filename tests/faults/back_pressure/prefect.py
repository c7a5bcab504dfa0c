"""A Prefect server in memory, answered below urllib3, whose retries are in force."""

from __future__ import annotations

import io
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest import mock

import urllib3

from fargate_agent.runs import parse_time
from tests.faults.back_pressure.virtual_time import VirtualTime
from tests.support.work_pools import TEMPLATE

URL = "http://prefect.test/api"
UPDATED = "2026-01-01T00:00:00Z"
PAGE_SIZE = 200

Json = dict[str, Any]


@dataclass
class Prefect:
    """One server with runs of some deployments that are all due at once.

    Parameters
    ----------
    latency
        Seconds that a call takes, from and to.
    errors
        The part of its calls that it answers with 503.
    """

    clock: VirtualTime
    runs: int
    deployments: int
    latency: tuple[float, float] = (0.03, 0.06)
    errors: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    lines: list[str] = field(default_factory=list)
    """What was written into the logs of runs."""
    told: dict[str, Json] = field(default_factory=dict)
    """Runs, by their ids."""

    def __post_init__(self) -> None:
        due = self.clock.now().isoformat()
        self._deployments = [id_of("deployment", number) for number in range(self.deployments)]
        for number in range(self.runs):
            run = {
                "id": id_of("run", number),
                "name": f"run-{number}",
                "flow_id": id_of("flow", 1),
                "deployment_id": self._deployments[number % self.deployments],
                "next_scheduled_start_time": due,
                "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due}},
                "job_variables": {},
                "infrastructure_pid": None,
                "empirical_policy": {},
            }
            self.told[run["id"]] = run

    def states(self) -> Counter[str]:
        """Count the runs by the types of their states."""
        return Counter(run["state"]["type"] for run in self.told.values())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer what is asked over HTTP inside the block."""
        pool = urllib3.connectionpool.HTTPConnectionPool

        def request(_: Any, __: Any, method: str, url: str, **options: Any) -> Any:
            return self._respond(method, url.removeprefix("/api"), options.get("body"))

        with mock.patch.object(pool, "_make_request", request):
            yield

    # -- how a call is answered

    def _respond(self, method: str, path: str, body: bytes | None) -> urllib3.HTTPResponse:
        self.clock.sleep(random.uniform(*self.latency) / 2)
        if random.random() < self.errors:
            self.refused += 1
            status, answer = 503, {"detail": "Service Unavailable"}
        else:
            status, answer = 200, self._answer(method, path, json.loads(body or b"null"))
        self.clock.sleep(random.uniform(*self.latency) / 2)
        return urllib3.HTTPResponse(io.BytesIO(json.dumps(answer).encode()), status=status)

    def _answer(self, method: str, path: str, given: Any) -> Any:
        for pattern, answer in _ROUTES.items():
            if found := re.fullmatch(pattern, f"{method} {path}"):
                self.calls[pattern] += 1
                # By its name, so that a server of another kind may answer in its own way.
                return getattr(self, answer.__name__)(given, *found.groups())
        raise AssertionError(f"nobody expects {method} {path}")

    def _heartbeat(self, given: Json) -> Any:
        return None

    def _due(self, given: Json) -> list[Json]:
        before = parse_time(given["scheduled_before"])
        after = parse_time(given.get("scheduled_after", "2000-01-01T00:00:00+00:00"))
        due = [
            {"flow_run": run, "work_queue_id": "queue-1"}
            for run in self.told.values()
            if run["state"]["type"] == "SCHEDULED" and after <= _due_time(run) <= before
        ]
        return due[:PAGE_SIZE]

    def _queues(self, given: Json) -> list[Json]:
        return [{"id": "queue-1", "concurrency_limit": None}]

    def _pool(self, given: None) -> Json:
        return {
            "id": "pool-1",
            "type": "ecs",
            "updated": UPDATED,
            "concurrency_limit": None,
            "base_job_template": TEMPLATE,
        }

    def _filter_flows(self, given: Json) -> list[Json]:
        return [{"id": id, "name": "etl"} for id in given["flows"]["id"]["any_"]]

    def _filter_deployments(self, given: Json) -> list[Json]:
        return [self._deployment(None, id) for id in given["deployments"]["id"]["any_"]]

    def _deployment(self, given: None, id: str) -> Json:
        name = f"d-{self._deployments.index(id)}"
        variables = {"image": f"example/{name}:1", "container_name": "prefect"}
        return {"id": id, "name": name, "updated": UPDATED, "job_variables": variables}

    def _filter_runs(self, given: Json) -> list[Json]:
        ids = given["flow_runs"]["id"]["any_"]
        return [self.told[id] for id in ids if id in self.told]

    def _set_state(self, given: Json, id: str) -> Json:
        run, asked = self.told[id], given["state"]
        held, claim = run["state"], (asked.get("state_details") or {}).get("transition_id")
        if asked["type"] == "PENDING" and held["type"] != "SCHEDULED":
            ours = held["state_details"].get("transition_id") == claim
            reason = {"reason": "This run has already made this state transition."}
            return {"status": "REJECT" if ours else "ABORT", "state": held, "details": reason}
        details = {**held["state_details"], **asked.get("state_details", {})}
        run["state"] = {**asked, "state_details": details}
        return {"status": "ACCEPT", "state": run["state"], "details": {}}

    def _change_run(self, given: Json, id: str) -> None:
        self.told[id].update(given)

    def _log(self, given: list[Json]) -> None:
        self.lines += [line["message"] for line in given]

    def _take_events(self, given: list[Json]) -> None:
        return None

    def _nothing(self, given: Any, *_: str) -> None:
        return None

    def _version(self, given: None) -> str:
        return "3.8.8"


def id_of(kind: str, number: int) -> str:
    """Return the id of the so manieth flow, deployment or run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{number}"))


def _due_time(run: Json) -> datetime:
    return parse_time(run["next_scheduled_start_time"])


_ROUTES: dict[str, Callable[..., Any]] = {
    r"POST /work_pools/fargate/workers/heartbeat": Prefect._heartbeat,
    r"POST /work_pools/fargate/get_scheduled_flow_runs": Prefect._due,
    r"POST /work_pools/fargate/queues/filter": Prefect._queues,
    r"GET /work_pools/fargate": Prefect._pool,
    r"POST /flows/filter": Prefect._filter_flows,
    r"POST /deployments/filter": Prefect._filter_deployments,
    r"GET /deployments/([^/]+)": Prefect._deployment,
    r"POST /flow_runs/filter": Prefect._filter_runs,
    r"POST /flow_runs/([^/]+)/set_state": Prefect._set_state,
    r"PATCH /flow_runs/([^/]+)": Prefect._change_run,
    r"PATCH /flow_runs/([^/]+)/labels": Prefect._nothing,
    r"POST /logs/": Prefect._log,
    r"POST /events": Prefect._take_events,
    r"GET /admin/version": Prefect._version,
}
