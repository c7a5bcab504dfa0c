"""Stand-ins for Prefect, SQS and the launcher, which keep what they were asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import FlowRun


@dataclass
class Clock:
    """A clock that only moves when somebody sleeps."""

    time: datetime
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


@dataclass
class FakeSqs:
    """A queue service that refuses the entries it is told to, as often as it is told."""

    refusals: list[dict[str, bool]] = field(default_factory=list)
    """One mapping a call, of refused entry ids to whether the sender is at fault."""
    batches: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    hidden: list[dict[str, Any]] = field(default_factory=list)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:
        self.batches.append((QueueUrl, list(Entries)))
        refused = self.refusals.pop(0) if self.refusals else {}
        failed = [{"Id": i, "SenderFault": f, "Code": "Refused"} for i, f in refused.items()]
        answer = {"Successful": [{"Id": e["Id"]} for e in Entries if e["Id"] not in refused]}
        return {**answer, "Failed": failed} if failed else answer

    def change_message_visibility(self, **asked: Any) -> None:
        self.hidden.append(asked)

    @property
    def sent_ids(self) -> list[list[str]]:
        return [[entry["Id"] for entry in entries] for _, entries in self.batches]

    @property
    def all_sent(self) -> list[str]:
        return [id for ids in self.sent_ids for id in ids]


@dataclass
class FakePrefect:
    """One server: its answers to polls, the states of its runs, and what it was told."""

    pages: list[list[FlowRun]] = field(default_factory=list)
    states: dict[str, RunState] = field(default_factory=dict)
    failure: Exception | None = None
    """Raised by whatever tells the server something."""
    reads_every_run: bool = False
    runs_outlive_containers: bool = False
    limited: frozenset[str] = frozenset()
    """Queues with a concurrency limit."""
    horizons: list[datetime] = field(default_factory=list)
    afters: list[datetime | None] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def heartbeat(self, interval_seconds: int) -> None:
        self._tell("heartbeat", interval_seconds)

    def due_runs(self, before: datetime, *, after: datetime | None = None) -> Page:
        self.horizons.append(before)
        self.afters.append(after)
        runs = self.pages.pop(0) if self.pages else []
        return Page.by_time(runs, limit=PAGE_SIZE, after=after)

    def limited_queues(self) -> frozenset[str]:
        return self.limited

    def run_states(self, ids: Iterable[str]) -> dict[str, RunState]:
        return {id: self.states[id] for id in ids if id in self.states}

    def crash(self, flow_run_id: str, message: str) -> None:
        self._tell("crash", flow_run_id, message)

    def cancelled(self, flow_run_id: str, message: str) -> None:
        self._tell("cancelled", flow_run_id, message)

    def _tell(self, *what: Any) -> None:
        self.told.append(what)
        if self.failure:
            raise self.failure


@dataclass
class FakeLauncher:
    """Launches nothing; fails where it is told to."""

    orchestrator: FakePrefect = field(default_factory=FakePrefect)
    failure: Exception | None = None
    launched: list[tuple[FlowRun, Any]] = field(default_factory=list)

    def launch(self, run: FlowRun, *, known: Any) -> None:
        self.launched.append((run, known))
        if self.failure:
            raise self.failure


def run_state(type: str, **changes: Any) -> RunState:
    """Return a run's state that tells nothing but its type."""
    fields = {"scheduled_time": None, "claim_id": None, "infrastructure_id": None}
    return RunState(**{"type": type, **fields, **changes})
