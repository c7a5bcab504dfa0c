"""A Prefect server in memory with a million runs a day."""

from __future__ import annotations

import bisect
import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fargate_agent.runs import parse_time
from tests.faults.back_pressure.prefect import PAGE_SIZE, UPDATED, Json, Prefect, id_of

WORKED_AT = ("PENDING", "RUNNING")


@dataclass
class LargeServer(Prefect):
    """As :class:`Prefect`, with runs that are due at several times and found without a search.

    Parameters
    ----------
    on_call
        Called before each answer, with the operation.
    """

    on_call: Callable[[str], None] = lambda _: None
    lines_told: int = 0
    events_told: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _due_times: list[float] = field(default_factory=list)
    _in_order: list[Json] = field(default_factory=list)
    _first: int = 0
    """Where in that order the first run is that still waits."""

    def __post_init__(self) -> None:
        self.names = {id_of("deployment", n): f"d-{n}" for n in range(self.deployments)}
        self._active: dict[str, Json] = {}

    def schedule(self, due: Iterable[float]) -> None:
        """Make runs that are due at these times, in rising order, of the deployments in turn."""
        deployments = itertools.cycle(self.names)
        for number, (at, deployment) in enumerate(zip(due, deployments, strict=False)):
            text = datetime.fromtimestamp(at, UTC).isoformat()
            run = {
                "id": str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)),
                "name": f"run-{number}",
                "flow_id": id_of("flow", 1),
                "deployment_id": deployment,
                "next_scheduled_start_time": text,
                "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": text}},
                "job_variables": {},
                "infrastructure_pid": None,
                "empirical_policy": {},
            }
            self.told[run["id"]] = run
            self._due_times.append(at)
            self._in_order.append(run)
        self.runs = len(self.told)
        self.counts["SCHEDULED"] = self.runs

    def states(self) -> Counter[str]:
        return +self.counts

    def move(self, run: Json, type: str) -> None:
        """Give a run another state."""
        held = run["state"]
        self.counts[held["type"]] -= 1
        self.counts[type] += 1
        stamp = self.clock.now().isoformat()
        run["state"] = {**held, "type": type, "name": type.title(), "timestamp": stamp}
        if type in WORKED_AT:
            self._active[run["id"]] = run
        else:
            self._active.pop(run["id"], None)

    def _answer(self, method: str, path: str, given: Any) -> Any:
        self.on_call(f"{method} {path.split('/')[1]}")
        return super()._answer(method, path, given)

    def _due(self, given: Json) -> list[Json]:
        while self._first < self.runs and not _waits(self._in_order[self._first]):
            self._first += 1
        start = self._first
        if after := given.get("scheduled_after"):
            at = parse_time(after).timestamp()
            start = max(start, bisect.bisect_left(self._due_times, at - 1e-6))
        before = parse_time(given["scheduled_before"]).timestamp()
        end = bisect.bisect_right(self._due_times, before)
        waiting = (run for run in itertools.islice(self._in_order, start, end) if _waits(run))
        page = itertools.islice(waiting, PAGE_SIZE)
        return [{"flow_run": run, "work_queue_id": "queue-1"} for run in page]

    def _deployment(self, given: None, id: str) -> Json:
        name = self.names[id]
        variables = {"image": f"example/{name}:1", "container_name": "prefect"}
        return {"id": id, "name": name, "updated": UPDATED, "job_variables": variables}

    def _filter_runs(self, given: Json) -> list[Json]:
        asked = given["flow_runs"]
        if "id" in asked:
            return super()._filter_runs(given)
        types = set(asked["state"]["type"]["any_"])
        if not types & set(WORKED_AT):
            return []
        found = sorted(self._active, reverse=True)
        offset = given["offset"]
        return [self._active[id] for id in found[offset : offset + given["limit"]]]

    def _set_state(self, given: Json, id: str) -> Json:
        before = self.told[id]["state"]["type"]
        answer = super()._set_state(given, id)
        run = self.told[id]
        now = run["state"]["type"]
        run["state"]["timestamp"] = self.clock.now().isoformat()
        if now != before:
            self.counts[before] -= 1
            self.counts[now] += 1
            if now in WORKED_AT:
                self._active[id] = run
        return answer

    def _log(self, given: list[Json]) -> None:
        self.lines_told += len(given)

    def _take_events(self, given: list[Json]) -> None:
        self.events_told += len(given)

    def _history(self, given: None) -> list[Json]:
        return []


def _waits(run: Json) -> bool:
    return bool(run["state"]["type"] == "SCHEDULED")
