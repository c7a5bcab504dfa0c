"""Prefect 1 in a simulated world: its server, its users, and its flows' processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.support.prefect1_schema import Row, instant
from tests.support.prefect1_server import Prefect1Server
from tests.support.prefect1_state import FINISHED, SCHEDULED
from tests.support.simulated_clock import Clock
from tests.support.simulated_prefect3 import DELETED

OWN_WORDS = "said by the flow itself"

_TYPES = {
    **dict.fromkeys(SCHEDULED, "SCHEDULED"),
    "Paused": "PAUSED",
    "Submitted": "PENDING",
    "Running": "RUNNING",
    "Cancelling": "CANCELLING",
    "Cancelled": "CANCELLED",
    "Success": "COMPLETED",
}


class Prefect1Side(Prefect1Server):
    """A server with one flow.

    Parameters
    ----------
    key
        The runner token that calls must bring, where there is one: then it is Cloud's API.
    environment
        The flow's, where it is one of a ``FargateTaskEnvironment``.
    """

    kind = 1

    def __init__(
        self,
        clock: Clock,
        *,
        key: str | None = None,
        environment: Mapping[str, Any] | None = None,
        version_locking: bool = True,
    ) -> None:
        super().__init__(key, now=clock.now)
        self._http.server_close()  # it is asked without a network
        self._flow = self.add_flow(
            name="etl", environment=environment, version_locking=version_locking
        )

    # -- users

    @property
    def flow(self) -> tuple[str, str]:
        """The flow's name and id."""
        return self._flow["name"], self._flow["id"]

    def schedule(self, ahead: float = 0) -> str:
        """Schedule a run."""
        return str(self.add_run(self._flow, due=self.now() + timedelta(seconds=ahead))["id"])

    def move(self, run: str, ahead: float) -> None:
        """Schedule a run for another time, as the UI does."""
        self.set_state(run, "Scheduled", due=self.now() + timedelta(seconds=ahead))

    def suspend(self, run: str) -> None:
        """Pause a run."""
        self.set_state(run, "Paused", due=self.now() + timedelta(days=3650))

    def resume(self, run: str) -> None:
        """Go on with a run that was paused."""
        self.set_state(run, "Resume")

    def retry(self, run: str) -> None:
        """Start a run again that has ended."""
        self.move(run, 0)

    def cancel(self, run: str) -> None:
        """Cancel a run, as the server does for the UI: one that waits at once."""
        state = self.state_of(run)
        if state in ("PENDING", "RUNNING"):
            self.set_state(run, "Cancelling")
        elif state in ("SCHEDULED", "PAUSED"):
            self.set_state(run, "Cancelled")

    def delete(self, run: str) -> None:
        """Delete a run."""
        with self.lock:
            del self.runs[run]

    # -- to look at

    def state_of(self, run: str) -> str:
        """Return the type of a run's state, as Prefect 3 would call it."""
        row = self.runs.get(run)
        if row is None:
            return DELETED
        if row["state"] == "Failed":
            return "FAILED" if row["state_message"] == OWN_WORDS else "CRASHED"
        return _TYPES[row["state"]]

    def told(self, run: str) -> list[str]:
        """Return the names of the states that a run had."""
        return [f"{row['state']} ({row['message'] or ''})" for row in self.history(run)]

    def due_in(self, run: str) -> float:
        """Return in how many seconds a Scheduled run is due."""
        return (instant(self.runs[run]["state_start_time"]) - self.now()).total_seconds()

    # -- flows' processes

    def begin(self, run: str) -> float | None:
        """See :class:`simulated_tasks.Flows`; a run that is not due yet is not waited for."""
        row = self.runs.get(run)
        if row is None or row["state"] in (*FINISHED, "Cancelling", "Paused"):
            return None
        if row["state"] in SCHEDULED and self.due_in(run) > 0:
            return None
        self.set_state(run, "Running", OWN_WORDS)
        return 0

    def end(self, run: str, *, well: bool) -> None:
        """See :class:`simulated_tasks.Flows`."""
        row: Row | None = self.runs.get(run)
        if row is not None and row["state"] == "Running":
            self.set_state(run, "Success" if well else "Failed", OWN_WORDS)

    def is_cancelled(self, run: str) -> bool:
        """See :class:`simulated_tasks.Flows`."""
        state = self.state_of(run)
        if state == "CANCELLING":
            self.set_state(run, "Cancelled", OWN_WORDS)
        return state in ("CANCELLING", "CANCELLED", "PAUSED", DELETED)

    def scheduling(self, run: str) -> str:
        """See :class:`simulated_tasks.Flows`."""
        scheduled = [row for row in self.history(run) if row["state"] in SCHEDULED]
        return str(scheduled[-1]["serialized_state"]["start_time"])
