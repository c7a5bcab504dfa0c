"""The orchestrators whose flow runs are launched, and the one HTTP client they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from fargate_agent.orchestrators.states import Claim, History, RunState
from fargate_agent.runs import FlowRun

if TYPE_CHECKING:
    from fargate_agent.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer to the question which runs are due.

    ``full`` tells that there may be more. ``resume_after`` then tells from which time on to ask
    for them, and is None where they show only once the first are claimed.
    """

    runs: list[FlowRun]
    full: bool = False
    resume_after: datetime | None = None

    @classmethod
    def by_time(cls, runs: list[FlowRun], *, limit: int, after: datetime | None) -> Page:
        """Make a page of a server that can be asked to leave out what is due before a time.

        Parameters
        ----------
        limit
            The most runs that an answer holds.
        after
            What was asked for; an answer that does not get beyond it cannot be gone on from.
        """
        if len(runs) < limit:
            return cls(runs=runs)
        times = [run.scheduled_time for run in runs]
        goes_on = times[-1] != after and times == sorted(times)
        return cls(runs=runs, full=True, resume_after=times[-1] if goes_on else None)


class Orchestrator(Protocol):
    """What the functions need of Prefect, whatever its version.

    Every call may raise :class:`http.ApiError`, which is worth another try, or
    :class:`errors.PermanentError`, which is not.
    """

    reads_every_run: bool
    """A run is read before it is claimed, also when its message is fresh: what is to be launched
    stands in it, or its server would let two proposers win."""
    runs_outlive_containers: bool
    """A run may go on being Running when its container ends, and be resumed in another, and it
    does not tell in which."""

    knows_events: bool
    """Its server keeps events, for automations and its UI."""

    def heartbeat(self, interval_seconds: int) -> None:
        """Show the agent online for the next ``interval_seconds``."""

    def due_runs(self, before: datetime, *, after: datetime | None = None) -> Page:
        """Return runs that are due at ``before``, leaving out those due earlier than ``after``."""

    def limited_queues(self) -> frozenset[str]:
        """Return the ids of the queues from which nothing is to be taken ahead of its time."""

    def run_states(self, ids: Iterable[str]) -> dict[str, RunState]:
        """Read the states of up to 200 runs in one call; deleted runs are missing from them."""

    def claim(self, run: FlowRun, state: RunState | None) -> tuple[Claim, str]:
        """Claim a run by its claim id; return what became of it, and the server's words.

        ``state`` is what was read of it just before, if it was.
        """

    def launched(self, run: FlowRun, task: Task, details: str | None) -> None:
        """Tell the run of its task, with ``details`` for its log or None to keep that quiet."""

    def is_deleted(self, flow_run_id: str) -> bool:
        """Tell whether a run that was missing from an answer is gone for good."""

    def flush(self) -> None:
        """Tell what was kept of the launches since the last call, to need fewer calls."""

    def crash(self, flow_run_id: str, message: str) -> None:
        """Tell the run that its infrastructure failed. A finished run keeps its state."""

    def cancelled(self, flow_run_id: str, message: str) -> None:
        """Complete the cancellation of a run whose task is gone."""

    def relaunch(
        self, flow_run_id: str, state: RunState, claim: str, *, due: datetime, message: str
    ) -> None:
        """Schedule a run again whose task, started for a claim, was lost: once, however often told.

        ``state`` is what was read of the run just before.
        """

    def forward(self, flow_run_id: str, lines: Sequence[str]) -> None:
        """Write what a run's container said into the run's log, for what it is worth."""

    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Record Prefect events, where the server knows such."""

    def active_runs(self, types: Iterable[str]) -> Iterator[dict[str, RunState]]:
        """Return the agent's runs whose states are of these types, by pages of up to 200.

        An orchestrator may hand out runs of other agents too, where it cannot tell them apart.
        """

    def history(self, flow_run_id: str) -> History:
        """Read what a run's earlier states tell of its launches."""

    def claimed(self, ids: Iterable[str]) -> list[FlowRun]:
        """Return those of the runs that wait for a launch claimed by this agent."""
