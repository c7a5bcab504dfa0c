"""What Prefect 1 says of a run, read and written as it serializes its states. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fargate_agent.orchestrators.states import History, RunState
from fargate_agent.orchestrators.wording import tellable
from fargate_agent.runs import FlowRun, claim_id, parse_time

CORE_VERSION = "0.15.13"
"""The version of Prefect whose protocol is spoken."""

RETRY_GRACE = timedelta(seconds=3)
"""A task run to be retried is left to its flow's own process for so long, if that still lives."""

SCHEDULED = ("Scheduled", "Queued", "Resume", "Retrying")
FINISHED = ("Cancelled", "Failed", "Skipped", "Success", "TimedOut", "ValidationFailed")

RELAUNCHED = "(after claim {})"
"""Stands in the message of a state by which a run is scheduled again, its task being lost."""

_CLAIM = re.compile(r"\(claim ([0-9a-f-]{36})\)")


def serialized_state(type: str, message: str, **more: Any) -> dict[str, Any]:
    """Write a state as Prefect 1 serializes it."""
    return {
        "type": type,
        "message": tellable(message),
        "context": {},
        "cached_inputs": {},
        "_result": {"type": "NoResultType", "__version__": CORE_VERSION},
        "__version__": CORE_VERSION,
        **more,
    }


def _start_time(of: Mapping[str, Any]) -> datetime | None:
    text = of["serialized_state"].get("start_time") or of.get("scheduled_start_time")
    return parse_time(text) if text else None


def _retries(run: Mapping[str, Any]) -> list[datetime]:
    """Return when the task runs that wait are due, the grace of their own process included."""
    waiting = [t for t in run["task_runs"] if t["serialized_state"].get("type") in SCHEDULED]
    return [time + RETRY_GRACE for time in map(_start_time, waiting) if time]


def due_retries(run: Mapping[str, Any], now: datetime) -> list[Mapping[str, Any]]:
    """Return the task runs that wait to be tried again and are due, their grace included."""
    waiting = [t for t in run["task_runs"] if t["serialized_state"].get("type") in SCHEDULED]
    return [t for t in waiting if (time := _start_time(t)) and time + RETRY_GRACE <= now]


def due_time(run: Mapping[str, Any]) -> datetime | None:
    """Return when a run is to be launched: by its own time, or by its earliest retry's."""
    if run["state"] in SCHEDULED:
        return _start_time(run) or datetime.fromtimestamp(0, UTC)
    return min(_retries(run), default=None)


def flow_run(run: Mapping[str, Any], due: datetime, claimant: str) -> FlowRun:
    """Return a run that is due at some time, as it travels to ``dispatch``."""
    return FlowRun(
        id=run["id"],
        name=run["name"] or "",
        scheduled_time=due,
        claim_id=claim_id(run["id"], due, claimant),
        flow_id=run["flow"]["id"],
        flow_name=run["flow"]["name"],
    )


def run_state(run: dict[str, Any]) -> RunState:
    """Return what a run's states say, its task runs' included, whatever the time is now."""
    state, due = run["state"], due_time(run)
    submitted = [t for t in run["task_runs"] if t["serialized_state"].get("type") == "Submitted"]
    running = [t for t in run["task_runs"] if t["serialized_state"].get("type") == "Running"]
    claims = [_claim(task) for task in submitted]
    held = _claim(run) or next(filter(None, claims), None)
    if state in SCHEDULED:
        kind = "SCHEDULED"
    elif state == "Submitted" or (state == "Running" and any(claims)):
        kind = "PENDING"  # the container to come runs all of its due task runs
    elif state == "Running" and due:
        kind = "SCHEDULED"  # due or not: an answer may be read before, and used after that time
    elif state == "Running" and len(run["task_runs"]) > len(running):
        kind = "AWAITING_RETRY"  # of a task run, in a container to come
    else:
        kind = state.upper()
    by_environment = run["run_config"] is None and run["flow"]["environment"] is not None
    since = run.get("state_timestamp")
    return RunState(
        type=kind,
        scheduled_time=due,
        claim_id=held,
        infrastructure_id=None,
        hands_over=by_environment,
        since=parse_time(since) if since else None,
        has_run=state in ("Running", "Cancelling"),  # a Submitted run is cancelled at once
        can_start_over=not running,
        details=run,
    )


def claimed(run: Mapping[str, Any], claimant: str) -> FlowRun | None:
    """Return a Submitted run as it was enqueued, if it was by this agent."""
    before = run["serialized_state"].get("state") or {}
    due = before.get("start_time") or run.get("scheduled_start_time")
    if run["state"] != "Submitted" or not due:
        return None
    found = flow_run(run, parse_time(due), claimant)
    return found if found.claim_id == _claim(run) else None


def history(states: Iterable[Mapping[str, Any]]) -> History:
    """Read what the states of a run, the earliest first, tell of its launches."""
    claim, relaunches = None, 0
    for state in states:
        message = state["message"] or ""
        if state["state"] in FINISHED:
            relaunches = 0
        elif claim and RELAUNCHED.format(claim) in message:
            relaunches += 1
        elif found := _CLAIM.search(message):
            claim = found[1]
    return History(claim_id=claim, ours=True, relaunches=relaunches)


def _claim(of: Mapping[str, Any]) -> str | None:
    found = _CLAIM.search(of["serialized_state"].get("message") or "")
    return found[1] if found else None
