"""The states that runs on a Prefect 3 server come into, and what it notes down of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.support.prefect3_rules import FORCED, OCCUPYING, RULES, Move, Verdict
from tests.support.prefect3_state import FINAL, Row, new_state, stamped

Answer = dict[str, Any]

ONE_MICROSECOND = timedelta(microseconds=1)
NONE: Row = {"type": None}


class States:
    """Judges what is proposed for runs, and keeps the states that they had.

    A run keeps its slot of its deployment's concurrency limit; a real server may take it from one
    that is Pending for more than five minutes.

    Parameters
    ----------
    deployments
        The store's, by id.
    is_2
        Whether the server is one of Prefect 2.
    """

    def __init__(
        self, deployments: Mapping[str, Row], now: Callable[[], datetime], *, is_2: bool
    ) -> None:
        self.deployments = deployments
        self.is_2 = is_2
        self.due: dict[str, datetime] = {}
        """When runs that are Scheduled are due, by their ids."""
        self._now = now
        self._histories: dict[str, list[Row]] = {}
        self._slots: dict[str, set[str]] = {}

    def history(self, run_id: str) -> list[Row]:
        """Return the states a run had, the earliest first."""
        return list(self._histories.get(run_id, []))

    def forget(self, run: Row) -> None:
        """Forget a run that was deleted."""
        self._histories.pop(run["id"], None)
        self.due.pop(run["id"], None)
        self._slots.get(run["deployment_id"], set()).discard(run["id"])

    def has_slot(self, deployment: Row) -> bool:
        """Tell whether one more run of a deployment may go on."""
        limit = deployment["concurrency_limit"]
        return limit is None or len(self._slots.get(deployment["id"], ())) < limit

    def begin(self, run: Row, state: Mapping[str, Any]) -> None:
        """Bring a new run into its first state."""
        self._put(run, new_state(state, self._now()))

    def propose(self, run: Row, state: Mapping[str, Any], *, force: bool = False) -> Answer:
        """Judge a proposal, do what follows, and answer as ``set_state`` does."""
        now = self._now()
        policy = dict(run["empirical_policy"])
        move = Move(self, run, run["state"], new_state(state, now), policy, now)
        for rule in FORCED if force else RULES:
            verdict = rule(move)
            if verdict is not None:
                return self._refused(move, verdict)
        self._put(run, move.proposed)
        self._account(run, *move.types)
        if move.proposed["type"] in ("RUNNING", *FINAL):
            policy["resuming"] = False
        if move.initial["type"] == "PAUSED" and not force:
            policy["resuming"] = True
        run["empirical_policy"] = policy
        return {
            "state": move.proposed,
            "status": "ACCEPT",
            "details": {"type": "accept_details"},
        }

    def _refused(self, move: Move, verdict: Verdict) -> Answer:
        details: Row = {"type": f"{verdict.status.lower()}_details", "reason": verdict.reason}
        if verdict.delay_seconds is not None:
            details["delay_seconds"] = verdict.delay_seconds
        if verdict.state is not None:
            self._put(move.run, verdict.state)
            if verdict.state["name"] != "AwaitingRetry":  # which keeps its process, and its slot
                self._account(move.run, move.initial["type"], verdict.state["type"])
        return {"state": move.run["state"], "status": verdict.status, "details": details}

    def _account(self, run: Row, initial: str, final: str) -> None:
        held = self._slots.setdefault(run["deployment_id"], set())
        if final == "PENDING":
            held.add(run["id"])
        elif initial in OCCUPYING and final not in OCCUPYING:
            held.discard(run["id"])

    def _put(self, run: Row, state: Row) -> None:
        """Bring a run into a state, with all that the server notes down of it."""
        initial, type = run["state"] or NONE, state["type"]
        held = self._histories.setdefault(run["id"], [])
        self._make_unique(state, held)
        time = state["timestamp"]
        if initial["type"] == "RUNNING":
            ran = datetime.fromisoformat(time) - datetime.fromisoformat(initial["timestamp"])
            run["total_run_time"] += ran.total_seconds()
        if type == "RUNNING":
            run["start_time"] = run["start_time"] or time
            run["run_count"] += not run["empirical_policy"]["resuming"]
        if initial["type"] in FINAL and type not in FINAL:
            run["end_time"] = None
        if type in FINAL and not run["end_time"]:
            run.update(start_time=run["start_time"] or time, end_time=time)
        due = state["state_details"]["scheduled_time"] if type == "SCHEDULED" else None
        run.update(
            state=state,
            state_id=state["id"],
            state_type=type,
            state_name=state["name"],
            expected_start_time=run["expected_start_time"] or due or time,
            next_scheduled_start_time=due,
            updated=stamped(self._now()),
        )
        self.due.pop(run["id"], None)
        if due:
            self.due[run["id"]] = datetime.fromisoformat(due)
        state["state_details"]["flow_run_id"] = run["id"]
        held.append(state)

    def _make_unique(self, state: Row, held: list[Row]) -> None:
        taken = {other["timestamp"] for other in held}
        while state["timestamp"] in taken:
            state["timestamp"] = stamped(
                datetime.fromisoformat(state["timestamp"]) + ONE_MICROSECOND
            )
