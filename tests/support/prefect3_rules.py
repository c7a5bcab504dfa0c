"""By what rules a Prefect 3 server lets a flow run come into a state.

They are those of the server's ``CoreFlowPolicy``, in its order, the first that objects deciding;
``tests/integration/test_prefect3_stand_in.py`` plays them beside a real server. A forced proposal
meets the few of ``MinimalFlowPolicy``.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from tests.support.prefect3_state import FINAL, Row, new_state, stamped

OCCUPYING = ("PENDING", "RUNNING", "CANCELLING")
"""In these a run holds its slot of its deployment's concurrency limit."""

SLOT_SECONDS = 30
"""A run that finds no slot is scheduled again after this."""


class Server(Protocol):
    """What rules ask of the server that plays by them."""

    is_2: bool
    deployments: Mapping[str, Row]

    def has_slot(self, deployment: Row) -> bool:
        """Tell whether one more run of a deployment may go on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a proposal; with ``state`` the run comes into that one instead."""

    status: str
    reason: str
    state: Row | None = None
    delay_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A run, the state it is in, and the one that is proposed.

    ``policy`` is what becomes of the run's empirical policy where nothing objects.
    """

    server: Server
    run: Row
    initial: Row
    proposed: Row
    policy: Row
    now: datetime

    @property
    def types(self) -> tuple[str, str]:
        """From which type of state the run is to come into which."""
        return self.initial["type"], self.proposed["type"]

    @property
    def details(self) -> Row:
        """The details of the proposed state, which rules may fill in."""
        details: Row = self.proposed["state_details"]
        return details


Rule = Callable[[Move], Verdict | None]


def duplicate(move: Move) -> Verdict | None:
    """The same transition is made once."""
    id = move.details["transition_id"]
    if id is not None and id == move.initial["state_details"]["transition_id"]:
        return Verdict("REJECT", "This run has already made this state transition.")
    return None


def finished(move: Move) -> Verdict | None:
    """A finished run is run again only from its start."""
    initial, proposed = move.types
    if initial not in FINAL:
        return None
    if proposed in ("CANCELLING", "PAUSED", "CRASHED"):
        return Verdict("ABORT", f"Run is already in terminal state {initial}.")
    if initial == "COMPLETED" and _is_persisted(move.initial["data"]) and proposed not in FINAL:
        return Verdict("REJECT", "Run is already COMPLETED.")
    if lost := loses_result(move):
        return lost
    if proposed == "SCHEDULED" and not move.run["deployment_id"]:
        return Verdict("ABORT", "Cannot reschedule a run without an associated deployment.")
    if proposed not in FINAL:
        again = "reschedule" if proposed == "SCHEDULED" else None
        move.policy.update(resuming=False, pause_keys=[], retry_type=again)
    return None


def loses_result(move: Move) -> Verdict | None:
    """A result is not replaced by none."""
    if (
        move.types == ("COMPLETED", "COMPLETED")
        and _is_persisted(move.initial["data"])
        and not _is_persisted(move.proposed["data"])
    ):
        return Verdict(
            "REJECT",
            "Cannot overwrite a COMPLETED state that carries persisted result data with one that "
            "does not.",
        )
    return None


def cancelling(move: Move) -> Verdict | None:
    """What is being cancelled becomes Cancelled, nothing else."""
    initial, proposed = move.types
    if initial == "CANCELLING" and proposed != "CANCELLED":
        reason = "Cannot transition flows that are cancelling to a state other than Cancelled."
        return Verdict("REJECT", reason)
    return None


def without_infrastructure(move: Move) -> Verdict | None:
    """What has nothing to be stopped is Cancelled at once."""
    initial, proposed = move.types
    if proposed != "CANCELLING" or initial not in ("SCHEDULED", "PAUSED"):
        return None
    cancelled = new_state({"type": "CANCELLED"}, move.now)
    told = move.run["infrastructure_pid"]
    if (initial == "SCHEDULED" and not told) or move.initial["name"] == "Resuming":
        reason = "Scheduled flow run has no infrastructure to terminate."
        return Verdict("REJECT", reason, cancelled)
    if initial == "PAUSED" and move.initial["state_details"]["pause_reschedule"]:
        reason = "Suspended flow run has no infrastructure to terminate."
        return Verdict("REJECT", reason, cancelled)
    return None


def pending(move: Move) -> Verdict | None:
    """One proposer alone claims a run."""
    initial, proposed = move.types
    if proposed != "PENDING" or initial not in (*OCCUPYING, "CANCELLED"):
        return None
    is_new = move.proposed["name"] not in ("Pending", move.initial["name"])
    if initial == "PENDING" and is_new and not move.server.is_2:
        move.details["scheduled_time"] = move.initial["state_details"]["scheduled_time"]
        return None
    reason = f"This run is in a {initial} state and cannot transition to a PENDING state."
    return Verdict("ABORT", reason)


def slot(move: Move) -> Verdict | None:
    """A deployment runs no more at once than its concurrency limit says."""
    initial, proposed = move.types
    id = move.run["deployment_id"]
    if proposed != "PENDING" or initial in OCCUPYING or id is None or move.server.is_2:
        return None
    deployment = move.server.deployments.get(id)
    if deployment is None:
        return Verdict("ABORT", "Deployment not found.")
    if deployment["concurrency_limit"] == 0:
        return Verdict(
            "ABORT",
            "The deployment concurrency limit is 0. The flow will deadlock if submitted again.",
        )
    if move.server.has_slot(deployment):
        return None
    again = _scheduled(move, "AwaitingConcurrencySlot", SLOT_SECONDS)
    return Verdict("REJECT", "Deployment concurrency limit reached.", again)


def late(move: Move) -> Verdict | None:
    """Only what waits becomes Late, and once."""
    if move.proposed["type"] != "SCHEDULED" or move.proposed["name"] != "Late":
        return None
    if move.initial["type"] != "SCHEDULED":
        return Verdict("REJECT", "Only scheduled flows can be marked late.")
    if move.initial["name"] == "Late":
        return Verdict("REJECT", "This flow run is already marked late.")
    return None


def pausing(move: Move) -> Verdict | None:
    """Only what runs is paused, and once for each reason."""
    if move.proposed["type"] != "PAUSED":
        return None
    verb = "suspend" if move.proposed["name"] == "Suspended" else "pause"
    if move.initial["type"] != "RUNNING":
        return Verdict("REJECT", f"Cannot {verb} flows that are not currently running.")
    key, keys = move.details["pause_key"] or str(uuid.uuid4()), move.policy["pause_keys"]
    if key in keys:
        return Verdict("REJECT", f"This {verb} has already fired.")
    if move.details["pause_reschedule"] and move.run["deployment_id"] is None:
        return Verdict("ABORT", f"Cannot {verb} flows without a deployment.")
    move.policy["pause_keys"] = [*keys, key]
    return None


def paused(move: Move) -> Verdict | None:
    """What is paused goes on, or ends, within its time."""
    initial, proposed = move.types
    if initial != "PAUSED":
        return None
    if proposed not in ("RUNNING", "SCHEDULED", "CANCELLING", *FINAL):
        _resumes(move)
        reason = f"This run cannot transition to the {proposed} state from the PAUSED state."
        return Verdict("REJECT", reason)
    timeout = move.initial["state_details"]["pause_timeout"]
    if proposed == "CANCELLING" or not timeout or datetime.fromisoformat(timeout) >= move.now:
        return None
    _resumes(move)
    message = f"The flow was {move.proposed['name'].lower()} and never resumed."
    failed = new_state({"type": "FAILED", "message": message}, move.now)
    reason = "The flow run pause has timed out and can no longer resume."
    return Verdict("REJECT", reason, failed)


def copied_time(move: Move) -> Verdict | None:
    """What is claimed keeps the time it was scheduled for."""
    if move.types == ("SCHEDULED", "PENDING") and not move.details["scheduled_time"]:
        move.details["scheduled_time"] = move.initial["state_details"]["scheduled_time"]
    return None


def waiting(move: Move) -> Verdict | None:
    """Nothing runs before its time."""
    initial, proposed = move.types
    time = move.initial["state_details"]["scheduled_time"]
    if initial not in ("SCHEDULED", "PENDING") or proposed != "RUNNING" or not time:
        return None
    delay = datetime.fromisoformat(time) - move.now
    seconds = math.floor(delay.total_seconds()) + round(delay.microseconds / 1e6)
    if seconds <= 0:
        return None
    return Verdict("WAIT", "Scheduled time is in the future", delay_seconds=seconds)


def retrying(move: Move) -> Verdict | None:
    """A flow that fails is run again in the same process, as often as it asks for that."""
    if move.types != ("RUNNING", "FAILED"):
        return None
    retries = move.policy["retries"]
    if retries is None or move.run["run_count"] > retries:
        move.policy["retry_type"] = None
        return None
    fresh = {"resuming": False, "pause_keys": [], "retry_type": "in_process"}
    move.run["empirical_policy"] = {**move.policy, **fresh}
    again = _scheduled(move, "AwaitingRetry", move.policy["retry_delay"] or 0)
    told = {"message": move.proposed["message"], "data": move.proposed["data"]}
    return Verdict("REJECT", "Retrying", {**again, **told})


RULES: tuple[Rule, ...] = (
    *(duplicate, finished, cancelling, without_infrastructure, pending, slot, late),
    *(pausing, paused, copied_time, waiting, retrying),
)
FORCED: tuple[Rule, ...] = (loses_result, without_infrastructure)


def _resumes(move: Move) -> None:
    """Note down that the run goes on, as the server does also where it does not let it."""
    move.run["empirical_policy"] = {**move.policy, "resuming": True}


def _scheduled(move: Move, name: str, seconds: float) -> Row:
    details = {"scheduled_time": stamped(move.now + timedelta(seconds=seconds))}
    return new_state({"type": "SCHEDULED", "name": name, "state_details": details}, move.now)


def _is_persisted(data: Any) -> bool:
    return isinstance(data, dict) and bool(data) and data.get("type") != "unpersisted"
