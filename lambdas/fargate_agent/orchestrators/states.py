"""What an orchestrator says of a run: its state, and what became of a claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from fargate_agent.runs import FlowRun


class Claim(Enum):
    """What became of the proposal to launch a run."""

    OURS = "ours"
    """Accepted now, or already made by an earlier delivery of the same message."""
    LOST = "lost"
    """Another agent's, or no longer to be run."""
    POSTPONED = "postponed"
    """A concurrency limit is full: the server schedules the run again, under a new key."""
    NO_SLOT = "no slot"
    """A concurrency limit is full, and the run stays as it is: to be claimed again by this key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What Prefect says of a run now, by Prefect 3's state types."""

    type: str
    scheduled_time: datetime | None
    claim_id: str | None
    infrastructure_id: str | None
    hands_over: bool = False
    """Its container starts another, which runs the flow, and ends before the run is Running."""
    since: datetime | None = None
    """When the run came into this state, where that was asked."""
    is_served: bool = True
    """It is of the agent's work pool. Tasks of other pools' runs may stand in the same cluster."""
    has_run: bool = False
    """The flow ran before, or runs now."""
    retries_in_process: bool = False
    """Its retries were made in the container that it had, which hides it from those who poll."""
    waits_in_process: bool = False
    """Scheduled for a retry in the container that it has."""
    can_start_over: bool = True
    """Another container may take the run up. One that comes upon a task run of Prefect 1 that is
    Running waits for that for ever."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The run as it was read, where reading it is what tells how to launch it."""

    def awaits(self, run: FlowRun) -> bool:
        """Tell whether the run still waits for the launch that ``run``'s message asks for."""
        if self.type == "SCHEDULED":
            return self.scheduled_time == run.scheduled_time
        return self.type == "PENDING" and self.claim_id == run.claim_id

    def abandons(self, run: FlowRun) -> bool:
        """Tell whether nobody wants the task of ``run``'s launch any more: it is to be stopped."""
        match self.type:
            case "CANCELLED" | "DELETED":
                return True
            case "CANCELLING":
                return not self.has_run  # a flow that runs is given the time to end itself
            case "SCHEDULED":
                return not self.waits_in_process and self.scheduled_time != run.scheduled_time
            case "PENDING":
                return self.claim_id not in (None, run.claim_id)
            case "PAUSED":
                return not self.has_run
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a run's earlier states tell of its launches."""

    claim_id: str | None
    """Under which it was claimed last, by whomever."""
    scheduled_time: datetime | None = None
    """For when it was scheduled then, where that is told."""
    ours: bool
    """That was by this agent."""
    relaunches: int
    """How often it was scheduled again because its task was lost, since it last had an end."""
