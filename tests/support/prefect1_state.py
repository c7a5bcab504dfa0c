"""What a Prefect 1 server keeps: flows, runs, agents, states and logs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from tests.support.prefect1_schema import Row

#: Prefect's ``Scheduled`` with its subclasses, and ``Queued``: what the queue looks for.
SCHEDULED = ("Scheduled", "Paused", "Resume", "Retrying", "Queued")
#: What takes a slot of a concurrency limit.
OCCUPYING = ("Submitted", "Running", "Cancelling")
FINISHED = (
    *("Finished", "Looped", "Success", "Cached", "Mapped", "Skipped", "Cancelled"),
    *("Failed", "TimedOut", "TriggerFailed", "ValidationFailed"),
)

STATES = {*SCHEDULED, *OCCUPYING, *FINISHED, "Pending", "ClientFailed"}

State = dict[str, Any]


class Prefect1Store:
    """Flows, runs and agents of one tenant.

    Rows are dicts with the columns that the API serves, and stay live: a row returned once shows
    what later calls did to it. A run's ``flow`` and ``task_runs`` are rows too.

    Parameters
    ----------
    full_slots
        What a run gets when a concurrency limit leaves no slot for Submitted: ``refuse`` answers
        with an error, as earlier open-source servers do; ``queue`` makes it Queued, as later ones
        and Cloud do.
    conflict_code
        The error code of an update with a stale version.
    now
        The server's clock.
    """

    def __init__(
        self,
        *,
        full_slots: Literal["refuse", "queue"] = "refuse",
        conflict_code: str = "INTERNAL_SERVER_ERROR",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.now = now
        self.tenant_id = "3f0b7a1c-0000-4000-8000-00000000aaaa"
        self.full_slots = full_slots
        self.conflict_code = conflict_code
        self.queue_limit = 25
        self.queue_seconds = 600.0
        self.concurrency_limits: dict[str, int] = {}
        self.agents: list[Row] = []
        self.agent_configs: list[Row] = []
        self.flows: dict[str, Row] = {}
        self.runs: dict[str, Row] = {}
        self.task_runs: dict[str, Row] = {}
        self.lock = threading.RLock()
        self._histories: dict[str, list[Row]] = {}
        self._logs: dict[str, list[Row]] = {}

    # -- what a user does ----------------------------------------------------------------------

    def add_flow(
        self,
        *,
        name: str = "My Flow",
        id: str | None = None,
        version: int = 1,
        core_version: str | None = "0.14.22",
        storage: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        run_config: Mapping[str, Any] | None = None,
        version_locking: bool = False,
    ) -> Row:
        """Register a flow; without ``storage`` it is an image of its own."""
        flow: Row = {
            "id": id or str(uuid.uuid4()),
            "name": name,
            "version": version,
            "core_version": core_version,
            "storage": _image(name) if storage is None else dict(storage),
            "environment": environment,
            "run_config": run_config,
            "version_locking": version_locking,
        }
        with self.lock:
            self.flows[flow["id"]] = flow
        return flow

    def add_run(
        self,
        flow: Row,
        *,
        id: str | None = None,
        due: datetime | None = None,
        name: str | None = None,
        labels: Iterable[str] | None = None,
        run_config: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        state: str = "Scheduled",
        version: int = 1,
    ) -> Row:
        """Schedule a run, due now unless told.

        Without ``labels`` it has those of its run config, else of its flow's environment.
        """
        run_config = run_config or flow["run_config"]
        if labels is None:
            labels = (run_config or flow["environment"] or {}).get("labels") or ()
        run_id = id or str(uuid.uuid4())
        due = due or self.now()
        run: Row = {
            "id": run_id,
            "tenant_id": self.tenant_id,
            "version": version - 1,
            "name": name or f"run-{run_id[:6]}",
            "labels": sorted(labels),
            "parameters": dict(parameters or {}),
            "context": {},
            "scheduled_start_time": due.isoformat(),
            "run_config": run_config,
            "agent_id": None,
            "flow_id": flow["id"],
            "flow": flow,
            "task_runs": [],
        }
        with self.lock:
            self.runs[run_id] = run
            message = "Flow run scheduled." if state == "Scheduled" else None
            self.put(run, new_state(state, message, due))
        return run

    def add_task_run(
        self,
        run: Row,
        *,
        id: str | None = None,
        state: str = "Retrying",
        due: datetime | None = None,
        version: int = 1,
    ) -> Row:
        """Give a run a task run; in a waiting state it is due now unless told."""
        task_run: Row = {
            "id": id or str(uuid.uuid4()),
            "tenant_id": self.tenant_id,
            "version": version - 1,
            "task_id": str(uuid.uuid4()),
            "map_index": -1,
            "flow_run_id": run["id"],
            "flow_run": run,
        }
        with self.lock:
            self.task_runs[task_run["id"]] = task_run
            run["task_runs"].append(task_run)
            self.put(task_run, new_state(state, None, due or self.now()))
        return task_run

    def add_agent_config(self, settings: Mapping[str, Any], *, id: str | None = None) -> Row:
        """Keep settings that an agent can ask for."""
        config = {"id": id or str(uuid.uuid4()), "name": None, "settings": dict(settings)}
        with self.lock:
            self.agent_configs.append(config)
        return config

    def set_state(
        self, run_id: str, type: str, message: str | None = None, *, due: datetime | None = None
    ) -> Row:
        """Set a run's state as a user or a flow's process would; no limit or version stops it."""
        with self.lock:
            run = self.runs[run_id]
            if type == "Cancelled":
                self.cancel_task_runs(run)
            self.put(run, new_state(type, message, due or self.now()))
            return run

    # -- what is kept --------------------------------------------------------------------------

    def run(self, run_id: str) -> Row:
        """Return a run's row."""
        return self.runs[run_id]

    def task_run(self, task_run_id: str) -> Row:
        """Return a task run's row."""
        return self.task_runs[task_run_id]

    def history(self, id: str) -> list[Row]:
        """Return the states a run or task run had: state, message, version, agent_id and more."""
        with self.lock:
            return list(self._histories[id])

    def flow_run_states(self) -> list[Row]:
        """Return the states that all flow runs had, as the API tells them."""
        with self.lock:
            return [
                {**row, "flow_run_id": id, "start_time": row["serialized_state"].get("start_time")}
                for id in self.runs
                for row in self._histories[id]
            ]

    def logs(self, run_id: str) -> list[Row]:
        """Return what was logged for a run."""
        with self.lock:
            return list(self._logs.get(run_id, []))

    # -- what is put in by a call --------------------------------------------------------------

    def log(self, line: Row) -> None:
        """Keep a line with its run, also of a run that is not known."""
        with self.lock:
            written = {"timestamp": self.now().isoformat(), **line}
            self._logs.setdefault(line["flow_run_id"], []).append(written)

    def put(self, row: Row, state: State, agent_id: str | None = None) -> None:
        """Give a flow run or task run its next state."""
        if state.get("type") not in STATES:
            raise ValueError(f"Unsupported value: {state.get('type')}")
        row.update(
            version=row["version"] + 1,
            state=state["type"],
            serialized_state=state,
            state_start_time=state.get("start_time"),
            state_message=state.get("message"),
            state_timestamp=self.now().isoformat(),
        )
        kept = {column: row[column] for column in ("state", "version", "serialized_state")}
        kept |= {"message": row["state_message"], "timestamp": row["state_timestamp"]}
        self._histories.setdefault(row["id"], []).append({**kept, "agent_id": agent_id})

    def cancel_task_runs(self, run: Row) -> None:
        """Cancel the task runs of a run that have not finished."""
        for task_run in run["task_runs"]:
            if task_run["state"] not in FINISHED:
                self.put(task_run, new_state("Cancelled", None, self.now()))


def new_state(type: str, message: str | None, due: datetime) -> State:
    """Return a state as Prefect serializes it; one that waits does so until it is due."""
    state: State = {"type": type, "message": message}
    if type in SCHEDULED:
        state["start_time"] = due.astimezone(UTC).isoformat()
    if type == "Retrying":
        state["run_count"] = 1
    return state


def _image(name: str) -> dict[str, Any]:
    return {
        "type": "Docker",
        "registry_url": "registry.example",
        "image_name": name.lower().replace(" ", "-"),
        "image_tag": "v1",
        "flows": {},
        "prefect_version": "0.14.22",
        "__version__": "0.14.22",
    }
