"""What a state of a flow run is to a Prefect 3 server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
TYPES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", *FINAL)


class Invalid(Exception):
    """What is asked or proposed is not as the server's schema wants it."""


def new_state(given: Mapping[str, Any], now: datetime) -> Row:
    """Return a whole state from what was told of one.

    Raises
    ------
    Invalid
        It is none, as the server's schema sees it.
    """
    type = given.get("type")
    if type not in TYPES:
        raise Invalid(f"state.type: Input should be one of {TYPES}, not {type!r}")
    details: Row = {
        **dict.fromkeys(("flow_run_id", "task_run_id", "child_flow_run_id", "scheduled_time")),
        **dict.fromkeys(("cache_key", "cache_expiration", "pause_timeout", "pause_key")),
        **dict.fromkeys(("run_input_keyset", "refresh_cache", "retriable", "transition_id")),
        **dict.fromkeys(("task_parameters_id", "traceparent", "deployment_concurrency_lease_id")),
        "deferred": False,
        "untrackable_result": False,
        "pause_reschedule": False,
    }
    told = given.get("state_details") or {}
    unknown = told.keys() - details.keys()
    if unknown:
        raise Invalid(f"state.state_details: Extra inputs are not permitted: {sorted(unknown)}")
    details.update(told)
    try:
        for name in ("scheduled_time", "pause_timeout"):
            if details[name]:
                details[name] = stamped(datetime.fromisoformat(details[name]))
        if details["transition_id"]:
            details["transition_id"] = str(uuid.UUID(details["transition_id"]))
    except ValueError as error:
        raise Invalid(f"state.state_details: {error}") from error
    if type == "SCHEDULED":
        details["scheduled_time"] = details["scheduled_time"] or stamped(now)
    return {
        "id": str(uuid.uuid4()),
        "type": type,
        "name": given.get("name") or type.capitalize(),
        "timestamp": stamped(now),
        "message": given.get("message"),
        "data": given.get("data"),
        "state_details": details,
    }


def stamped(time: datetime) -> str:
    """Write a time as the API does."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
