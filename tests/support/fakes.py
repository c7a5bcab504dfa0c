"""Stand-ins for Prefect, SQS and the launcher, which keep what they were asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE
from fargate_agent.orchestrators.states import History, RunState
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
    """One server: its answers to polls, the states of its runs, and what it was told.

    What ends or reschedules a run changes its state here too.
    """

    pages: list[list[FlowRun]] = field(default_factory=list)
    states: dict[str, RunState] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    claims: list[FlowRun] = field(default_factory=list)
    """What is claimed by the agent."""
    failure: Exception | None = None
    """Raised by whatever tells the server something."""
    reads_every_run: bool = False
    runs_outlive_containers: bool = False
    knows_events: bool = True
    limited: frozenset[str] = frozenset()
    """Queues with a concurrency limit."""
    horizons: list[datetime] = field(default_factory=list)
    afters: list[datetime | None] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    reads: list[set[str]] = field(default_factory=list)
    """Of which runs the states were read, by call."""
    flushes: int = 0

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
        asked = set(ids)
        self.reads.append(asked)
        return {id: self.states[id] for id in asked if id in self.states}

    def is_deleted(self, flow_run_id: str) -> bool:
        return flow_run_id not in self.states

    def active_runs(self, types: Iterable[str]) -> Iterator[dict[str, RunState]]:
        wanted = set(types)
        ids = sorted(id for id, state in self.states.items() if state.type in wanted)
        for start in range(0, len(ids), PAGE_SIZE):
            yield {id: self.states[id] for id in ids[start : start + PAGE_SIZE]}

    def history(self, flow_run_id: str) -> History:
        return self.histories.get(flow_run_id) or run_history()

    def claimed(self, ids: Iterable[str]) -> list[FlowRun]:
        wanted = set(ids)
        return [run for run in self.claims if run.id in wanted]

    def launched(self, run: FlowRun, task: Any, details: str | None) -> None:
        self._tell("launched", run.id, task.arn, details)

    def crash(self, flow_run_id: str, message: str) -> None:
        self._tell("crash", flow_run_id, message)
        self._change(flow_run_id, type="CRASHED")

    def cancelled(self, flow_run_id: str, message: str) -> None:
        self._tell("cancelled", flow_run_id, message)
        self._change(flow_run_id, type="CANCELLED")

    def relaunch(
        self, flow_run_id: str, state: RunState, claim: str, *, due: datetime, message: str
    ) -> None:
        assert state == self.states[flow_run_id]
        self._tell("relaunch", flow_run_id, claim, due, message)
        new = {"type": "SCHEDULED", "scheduled_time": due, "claim_id": None}
        self._change(flow_run_id, **new, infrastructure_id=None, waits_in_process=False)

    def forward(self, flow_run_id: str, lines: Sequence[str]) -> None:
        if lines:
            self._tell("forward", flow_run_id, *lines)

    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        if events:
            self._tell("emit", *events)

    def flush(self) -> None:
        self.flushes += 1

    def _change(self, flow_run_id: str, **changes: Any) -> None:
        if flow_run_id in self.states:
            self.states[flow_run_id] = replace(self.states[flow_run_id], **changes)

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


def run_history(**changes: Any) -> History:
    """Return the history of a run that nobody has claimed."""
    return History(**{"claim_id": None, "ours": False, "relaunches": 0, **changes})
