"""Cancelling runs: their tasks are stopped, and once those are gone the runs are Cancelled.

Prefect's server kills nothing. In a container that runs, Prefect's own runner ends the flow; nobody
stops a task whose flow never started.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fargate_agent.observability import logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.states import RunState
from fargate_agent.running_tasks import RunningTasks, parsed
from fargate_agent.runs import CLAIM_ENV
from fargate_agent.task_details import told

GRACE_SECONDS = 60
"""So long is a flow that runs left to end itself, as its own process does when it is cancelled."""

SETTLED_SECONDS = 180
"""No launch that began before a cancellation is still under way after this: dispatch's time-out,
and the time until an interrupted one comes back."""

REASON = "The flow run was cancelled in Prefect."


@dataclass(frozen=True, slots=True)
class Cancellations:
    """What is done for runs in the state Cancelling.

    Parameters
    ----------
    now
        Tells the time.
    """

    prefect: Orchestrator
    tasks: RunningTasks
    now: Callable[[], datetime]

    def go_on(self, in_time: Callable[[], bool]) -> dict[str, int]:
        """Take every Cancelling run a step further; return how many tasks and runs were ended.

        Parameters
        ----------
        in_time
            Tells whether there is time for another run; the next pass goes on with the others.
        """
        found = {"stopped": 0, "cancelled": 0, "failed": 0}
        for page in self.prefect.active_runs(["CANCELLING"]):
            for run_id in random.sample(list(page), len(page)):
                if not in_time():
                    return found
                try:
                    step = self._go_on(run_id, page[run_id])
                except Exception as error:  # the others are not to wait for this one
                    logger.warning("not cancelled yet", flow_run_id=run_id, error=str(error))
                    step = "failed"
                if step:
                    found[step] += 1
        return found

    def _go_on(self, run_id: str, state: RunState) -> str | None:
        age = (self.now() - state.since).total_seconds() if state.since else SETTLED_SECONDS
        if state.has_run and age < GRACE_SECONDS:
            return None
        place = parsed(state.infrastructure_id)
        if place and place[0] not in self.tasks.clusters:
            return None  # nobody can tell from here whether that task is gone
        live, stopped = self._tasks_of(run_id, place)
        to_stop = [task for task in live if task.get("desiredStatus") != "STOPPED"]
        for task in to_stop:
            self.tasks.stop(task, REASON)
            named: dict[str, Any] = {"flow_run_id": run_id, "claim_id": told(task, CLAIM_ENV)}
            logger.info("stopped", **named, task_arn=task["taskArn"], reason=REASON)
        if live:
            return "stopped" if to_stop else None  # the event of its end completes the cancellation
        if not stopped and (age < SETTLED_SECONDS or not self.prefect.history(run_id).ours):
            return None
        self.prefect.cancelled(run_id, "The flow run has no ECS task.")
        logger.info("cancelled", flow_run_id=run_id)
        return "cancelled"

    def _tasks_of(
        self, run_id: str, place: tuple[str, str] | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the run's live tasks, and whether the one that it was told of has stopped."""
        live = {task["taskArn"]: task for task in self.tasks.of_run(run_id)}
        if place is None:
            return list(live.values()), False
        described = list(self.tasks.describe(place[0], [place[1]]))
        for task in described:
            if task["lastStatus"] != "STOPPED":
                live[task["taskArn"]] = task
        return list(live.values()), not live
