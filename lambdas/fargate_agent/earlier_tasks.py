"""The tasks that a run was given before: by an earlier try of its launch, or an earlier launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from fargate_agent.observability import logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.reads import DELETED
from fargate_agent.orchestrators.states import RunState
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import CLAIM_ENV, FlowRun
from fargate_agent.task_details import told


@dataclass(frozen=True, slots=True)
class EarlierTasks:
    """Finds them, and stops those that nobody waits for."""

    orchestrator: Orchestrator
    tasks: RunningTasks

    def clear_the_way(self, run: FlowRun, state: RunState) -> None:
        """Stop tasks of a run's earlier launches that wait for the time of this one.

        A container whose run was moved while it started waits till then, and would run it too.
        """
        if state.type == "SCHEDULED" and state.awaits(run):
            for detail in self._live(run):
                if told(detail, CLAIM_ENV) not in (None, run.claim_id):
                    self._stop_task(run, detail, "The flow run was scheduled anew.")

    def of_claim(self, run: FlowRun) -> list[dict[str, Any]]:
        """Describe the live task that an earlier try of this very launch started, if there is."""
        found = self._live(run)
        return [detail for detail in found if told(detail, CLAIM_ENV) == run.claim_id]

    def _live(self, run: FlowRun) -> list[dict[str, Any]]:
        try:
            return self.tasks.of_run(run.id)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            # A role of [aws] that may not list tasks: the client token must do.
            logger.warning("tasks are not looked for", flow_run_id=run.id, error=str(error))
            return []

    def are_abandoned(self, run: FlowRun, state: RunState) -> bool:
        """Tell whether nobody wants this launch's task any more.

        A run of Prefect 1 may wait for one container while it still runs in another, which waits
        for a retry itself.
        """
        if state is DELETED:  # or one answer of a server that lags behind would stop a good task
            return self.orchestrator.is_deleted(run.id)
        goes_on = state.type == "PENDING" or (state.type == "SCHEDULED" and state.has_run)
        several = goes_on and self.orchestrator.runs_outlive_containers
        return state.abandons(run) and not several

    def stop(self, run: FlowRun, state: RunState) -> None:
        """Stop this launch's task, for the state that the run is in."""
        for detail in self.of_claim(run):
            self._stop_task(run, detail, f"The flow run is {state.type.capitalize()} in Prefect.")

    def _stop_task(self, run: FlowRun, detail: dict[str, Any], reason: str) -> None:
        self.tasks.stop(detail, reason)
        named: dict[str, Any] = {"flow_run_id": run.id, "claim_id": told(detail, CLAIM_ENV)}
        logger.warning("stopped", **named, task_arn=detail["taskArn"], reason=reason)
