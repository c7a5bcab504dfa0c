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
    details: Mapping[str, Any] = field(default_factory=dict)
    """The run as it was read, where reading it is what tells how to launch it."""

    def awaits(self, run: FlowRun) -> bool:
        """Tell whether the run still waits for the launch that ``run``'s message asks for."""
        if self.type == "SCHEDULED":
            return self.scheduled_time == run.scheduled_time
        return self.type == "PENDING" and self.claim_id == run.claim_id
