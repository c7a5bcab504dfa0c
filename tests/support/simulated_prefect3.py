"""Prefect 3, or 2, in a simulated world: its server, its users, and its flows' processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.support.json_http import Answer, Request
from tests.support.prefect3_routes import respond
from tests.support.prefect3_store import NotFound
from tests.support.prefect3_users import Prefect3Users
from tests.support.simulated_clock import Clock

DELETED = "DELETED"


class Prefect3Side(Prefect3Users):
    """A server with one deployment.

    Parameters
    ----------
    key
        The API key that calls must bring, where there is one.
    """

    kind = 3

    def __init__(
        self,
        clock: Clock,
        *,
        version: str = "3.8.8",
        key: str | None = None,
        job_variables: Mapping[str, Any] | None = None,
        run_variables: Mapping[str, Any] | None = None,
        concurrency_limit: int | None = None,
    ) -> None:
        super().__init__(now=clock.now, version=version)
        self.key = key
        self._run_variables = run_variables
        self.deployment = self.add_deployment(
            name="nightly",
            job_variables={"image": "example/flows:1", **(job_variables or {})},
            concurrency_limit=concurrency_limit,
        )

    def answer(self, request: Request) -> Answer | None:
        """Answer a request."""
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return Answer.json(401, {"exception_message": "Unauthorized"})
        body = json.loads(request.body) if request.body else None
        return respond(self, request.method, request.path, body)

    # -- users

    @property
    def flow(self) -> tuple[str, str]:
        """The flow's name and id."""
        flow = self.flows[self.deployment["flow_id"]]
        return flow["name"], flow["id"]

    def schedule(self, ahead: float = 0) -> str:
        """Schedule a run."""
        due = self.now() + timedelta(seconds=ahead)
        run = self.add_run(self.deployment, due=due, job_variables=self._run_variables)
        return str(run["id"])

    def move(self, run: str, ahead: float) -> None:
        """Schedule a run for another time, as the UI does."""
        self.reschedule(run, self.now() + timedelta(seconds=ahead))

    def suspend(self, run: str) -> None:
        """Pause a run, whether the flow runs or not."""
        self.pause(run, force=True)

    def delete(self, run: str) -> None:
        """Delete a run."""
        self.delete_run(run)

    # -- to look at

    def state_of(self, run: str) -> str:
        """Return the type of a run's state."""
        try:
            return self.state(run)
        except NotFound:
            return DELETED

    def told(self, run: str) -> list[str]:
        """Return the names of the states that a run had."""
        return [f"{state['name']} ({state['message'] or ''})" for state in self.history(run)]

    def due_in(self, run: str) -> float:
        """Return in how many seconds a Scheduled run is due."""
        return (datetime.fromisoformat(self.scheduling(run)) - self.now()).total_seconds()

    # -- flows' processes

    def begin(self, run: str) -> float | None:
        """See :class:`simulated_tasks.Flows`."""
        if self.state_of(run) in (DELETED, "PAUSED"):
            return None
        answer = self.running(run)
        if answer["status"] == "WAIT":
            return float(answer["details"]["delay_seconds"])
        return 0 if answer["status"] == "ACCEPT" else None

    def end(self, run: str, *, well: bool) -> None:
        """See :class:`simulated_tasks.Flows`."""
        if self.state_of(run) != DELETED:
            (self.completed if well else self.failed)(run)

    def is_cancelled(self, run: str) -> bool:
        """See :class:`simulated_tasks.Flows`."""
        state = self.state_of(run)
        if state == "CANCELLING":
            self.cancelled(run)
        return state in ("CANCELLING", "CANCELLED", "PAUSED", DELETED)

    def scheduling(self, run: str) -> str:
        """See :class:`simulated_tasks.Flows`."""
        scheduled = [s for s in self.history(run) if s["type"] == "SCHEDULED"]
        return str(scheduled[-1]["state_details"]["scheduled_time"])
