"""What users, and the processes of their flows, do with runs on a Prefect 3 server."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.prefect3_states import Answer
from tests.support.prefect3_store import Prefect3Store


class Prefect3Users(Prefect3Store):
    """A store, and who proposes states of its runs, by the rules that bind everybody."""

    def propose(
        self,
        run_id: str,
        type: str,
        *,
        name: str | None = None,
        message: str | None = None,
        force: bool = False,
        **details: Any,
    ) -> Answer:
        """Propose a state, by the rules that bind everybody; ``details`` are the state's."""
        state = {"type": type, "name": name, "message": message, "state_details": details}
        with self.lock:
            return self.states.propose(self.run(run_id), state, force=force)

    def cancel(self, run_id: str) -> Answer:
        """Cancel a run; one without infrastructure is Cancelled at once."""
        return self.propose(run_id, "CANCELLING", name="Cancelling")

    def pause(self, run_id: str, *, force: bool = False) -> Answer:
        """Suspend a run, which the server grants to one that runs."""
        timeout = self.now().replace(year=self.now().year + 1).isoformat()
        details = {"pause_reschedule": True, "pause_timeout": timeout}
        return self.propose(run_id, "PAUSED", name="Suspended", force=force, **details)

    def resume(self, run_id: str) -> Answer:
        """Resume a suspended run."""
        due = self.now().isoformat()
        return self.propose(run_id, "SCHEDULED", name="Resuming", scheduled_time=due)

    def retry(self, run_id: str, due: datetime | None = None) -> Answer:
        """Start a run again that has ended."""
        time = (due or self.now()).isoformat()
        return self.propose(run_id, "SCHEDULED", name="AwaitingRetry", scheduled_time=time)

    def reschedule(self, run_id: str, due: datetime) -> Answer:
        """Move a run to another time."""
        return self.propose(run_id, "SCHEDULED", scheduled_time=due.isoformat())

    def running(self, run_id: str) -> Answer:
        """Propose what the flow's process does when it begins."""
        return self.propose(run_id, "RUNNING")

    def completed(self, run_id: str) -> Answer:
        """Propose what the flow's process does when the flow returns."""
        return self.propose(run_id, "COMPLETED")

    def failed(self, run_id: str) -> Answer:
        """Propose what the flow's process does when the flow raises."""
        return self.propose(run_id, "FAILED")

    def cancelled(self, run_id: str) -> Answer:
        """Propose what the flow's process does when it has ended a Cancelling run."""
        return self.propose(run_id, "CANCELLED")
