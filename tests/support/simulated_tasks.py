"""The lives of Fargate tasks: they start, run a flow's container, and end one way or another."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.simulated_clock import Clock

Detail = dict[str, Any]

PENDING_AFTER, FAILS_AFTER, RUNNING_AFTER, FLOW_AFTER = 4, 8, 10, 12
"""Seconds since RunTask."""

LOOK_SECONDS = 10
"""So often does a flow's process look whether its run was cancelled."""

PATIENCE = 5
"""So often does a flow's process try to reach Prefect's API, a minute apart."""


class Flows(Protocol):
    """What a flow's process asks of Prefect."""

    def begin(self, run: str) -> float | None:
        """Propose Running; return how long to wait (0: it runs now), None where nothing is run."""

    def end(self, run: str, *, well: bool) -> None:
        """Propose the end of a flow that ran."""

    def is_cancelled(self, run: str) -> bool:
        """Tell whether a run is to be ended; it is told that it was."""

    def scheduling(self, run: str) -> str:
        """Name the scheduling of the run that is in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a task. By default its flow runs to its end."""

    name: str = "completes"
    dies_after: float | None = None
    """Seconds since RunTask."""
    stop_code: str = "EssentialContainerExited"
    reason: str = "Essential container in task exited"
    exit_code: int | None = 0
    flow_fails: bool = False
    flow_hangs: bool = False
    """It never ends, whatever is asked of it."""
    relaunched: bool = False
    """Whether another task is to be started for it."""


COMPLETES = Fate()
FLOW_FAILS = Fate(name="flow fails", flow_fails=True)
FLOW_HANGS = Fate(name="flow hangs", flow_hangs=True)
_SPOT = {
    "stop_code": "SpotInterruption",
    "reason": "Your Spot Task was interrupted.",
    "exit_code": 143,
    "relaunched": True,
}
SPOT_EARLY = Fate(name="Spot interruption before the flow starts", dies_after=11, **_SPOT)
SPOT_LATE = Fate(name="Spot interruption in the flow", dies_after=40, **_SPOT)
KILLED_EARLY = Fate(name="exit code 1 before the flow starts", dies_after=11, exit_code=1)
KILLED_LATE = Fate(name="exit code 137 in the flow", dies_after=40, exit_code=137)
NO_IMAGE = Fate(
    name="the image cannot be pulled for good",
    dies_after=FAILS_AFTER,
    stop_code="TaskFailedToStart",
    reason="CannotPullContainerError: pull image manifest has been retried 1 time(s): "
    "failed to resolve ref example/flows:1: not found",
    exit_code=None,
)
NO_NETWORK = Fate(
    name="the network interface times out",
    dies_after=FAILS_AFTER,
    stop_code="TaskFailedToStart",
    reason="Timeout waiting for network interface provisioning to complete.",
    exit_code=None,
    relaunched=True,
)
DEATHS = (SPOT_EARLY, SPOT_LATE, KILLED_EARLY, KILLED_LATE, NO_IMAGE, NO_NETWORK)


class Fargate:
    """Runs tasks.

    Parameters
    ----------
    prefect_is_up
        Tells whether containers reach Prefect's API.
    emit
        Sends an event of a task on its way.
    """

    def __init__(
        self,
        clock: Clock,
        flows: Flows,
        *,
        prefect_is_up: Callable[[], bool],
        emit: Callable[[Detail], None],
    ) -> None:
        self._clock = clock
        self._flows = flows
        self._prefect_is_up = prefect_is_up
        self._emit = emit
        self.flow_seconds = 60.0
        self.fates: deque[Fate] = deque()
        """Of the tasks to come, in their order; all further ones complete."""
        self.executions: list[tuple[str, str]] = []
        """The run and its scheduling, of each time that a flow was executed."""
        self.live: list[Task] = []

    def start(self, detail: Detail) -> None:
        """Begin the life of a task."""
        fate = self.fates.popleft() if self.fates else COMPLETES
        self.live.append(Task(self, detail, fate))
        self.live[-1].live()

    def stop(self, detail: Detail, reason: str) -> None:
        """Stop a task as ECS does when it is asked to."""
        task = next((task for task in self.live if task.detail is detail), None)
        if task is not None and detail["desiredStatus"] != "STOPPED":
            detail["desiredStatus"] = "STOPPED"
            task.flow_is_dead = True
            self._clock.after(5, lambda: task.stopped("UserInitiated", reason, 143))


class Task:
    """One task."""

    def __init__(self, fargate: Fargate, detail: Detail, fate: Fate) -> None:
        self._fargate = fargate
        self._clock = fargate._clock
        self._flows = fargate._flows
        self.detail = detail
        self.run = detail["startedBy"]
        self.fate = fate
        self.flow_is_dead = False

    def live(self) -> None:
        """Put a task's life on the agenda."""
        self._fargate._emit(self.detail)
        self._clock.after(PENDING_AFTER, lambda: self._becomes("PENDING"))
        self._clock.after(RUNNING_AFTER, lambda: self._becomes("RUNNING"))
        self._clock.after(FLOW_AFTER, self._begin)
        fate = self.fate
        if fate.dies_after is not None:
            self._clock.after(fate.dies_after, self.die)

    def die(self) -> None:
        """End as its fate will have it."""
        self.stopped(self.fate.stop_code, self.fate.reason, self.fate.exit_code)

    def _becomes(self, status: str) -> None:
        if self.detail["lastStatus"] != "STOPPED":
            self._change(lastStatus=status)

    def _change(self, **changes: Any) -> None:
        self.detail.update(changes, version=self.detail["version"] + 1)
        self._fargate._emit(self.detail)

    def stopped(self, code: str, reason: str, exit_code: int | None) -> None:
        """Stop, once."""
        if self.detail["lastStatus"] == "STOPPED":
            return
        self.flow_is_dead = True
        self._fargate.live.remove(self)
        names = [container["name"] for container in self.detail["containers"]]
        told = {} if exit_code is None else {"exitCode": exit_code}
        self._change(
            lastStatus="STOPPED",
            desiredStatus="STOPPED",
            stopCode=code,
            stoppedReason=reason,
            containers=[{"name": name, "lastStatus": "STOPPED", **told} for name in names],
        )

    # -- the flow's process

    def _exit(self, code: int) -> None:
        self.stopped("EssentialContainerExited", "Essential container in task exited", code)

    def _reach(self, then: Callable[[], None], tries: int = PATIENCE) -> None:
        """Do something once Prefect's API is there, and give up some minutes later."""
        if self.flow_is_dead:
            return
        if self._fargate._prefect_is_up():
            then()
        elif tries == 0:
            self._exit(1)
        else:
            self._clock.after(60, lambda: self._reach(then, tries - 1))

    def _begin(self) -> None:
        self._reach(self._propose_running)

    def _propose_running(self) -> None:
        wait = self._flows.begin(self.run)
        if wait is None:
            self._exit(0)
        elif wait > 0:
            self._clock.after(wait, self._begin)
        else:
            self._fargate.executions.append((self.run, self._flows.scheduling(self.run)))
            if self.fate.flow_hangs:
                return
            self._clock.after(LOOK_SECONDS, self._look)
            self._clock.after(self._fargate.flow_seconds, lambda: self._reach(self._end))

    def _look(self) -> None:
        if self.flow_is_dead:
            return
        if self._fargate._prefect_is_up() and self._flows.is_cancelled(self.run):
            self._exit(0)
        else:
            self._clock.after(LOOK_SECONDS, self._look)

    def _end(self) -> None:
        self._flows.end(self.run, well=not self.fate.flow_fails)
        self._exit(0)


def event(detail: Detail, time: str) -> dict[str, Any]:
    """Return the event of a task's present state."""
    told = {name: value for name, value in detail.items() if name != "tags"}
    return {
        "id": str(uuid.uuid4()),
        "time": time,
        "detail-type": "ECS Task State Change",
        "detail": told,
    }
