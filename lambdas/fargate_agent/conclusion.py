"""What a stopped task means for its run: crashed, cancelled, launched again, or nothing.

A flow that ends by itself has already reported its state. One whose container died has not, and
would be Running in Prefect for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fargate_agent.diagnosis import TAKEN_AWAY, Verdict, diagnose
from fargate_agent.observability import NO_METRICS, Metric, Metrics, logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.orchestrators.states import History, RunState
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import CLAIM_ENV, TASK_ENVIRONMENT_CONTAINER
from fargate_agent.task_details import Detail, ended_well, flow_run_id, told

SOON_SECONDS, LATER_SECONDS = 10, 30
"""The first relaunch is due so soon: not at once, for a second conclusion of the same end must find
the run scheduled still. Each further one waits so much longer."""


class MovedOn(Exception):
    """The run's state changed while a task's end was looked into: to be looked into again."""


@dataclass(frozen=True, slots=True)
class Conclusions:
    """Tells runs what became of their tasks.

    Parameters
    ----------
    relaunch_attempts
        ``ecs.relaunch_attempts``.
    last_words
        Returns the last lines of a task's flow container.
    """

    prefect: Orchestrator
    tasks: RunningTasks
    relaunch_attempts: int
    last_words: Callable[[Detail], Sequence[str]] = lambda _: ()
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    metrics: Metrics = NO_METRICS

    def conclude(self, detail: Detail, reads: Reads | None = None) -> str | None:
        """Crash, cancel or relaunch the run of a stopped task, unless it has an end of its own.

        It may be told twice, in any order and by several functions: the run's state is read first.

        Parameters
        ----------
        detail
            ECS's description of a task whose ``lastStatus`` is STOPPED.
        reads
            Reads the runs of a batch; by default each is read for itself.

        Returns
        -------
        "crashed", "cancelled" or "relaunched"; None where the run is left as it is.
        """
        run_id = flow_run_id(detail)
        if run_id is None:
            return None
        state = (reads or Reads(self.prefect, [])).state(run_id)
        if not state.is_served or not _may_wait_for_a_task(state):
            return None
        history = self.prefect.history(run_id)
        if not self._concerns(state, history, detail) or self._goes_on(run_id, state, detail):
            return None
        verdict = diagnose(detail)
        # The flow itself never said a word where its run is Pending still.
        words = self.last_words(detail) if state.type == "PENDING" else ()
        self._confirm(run_id, state)
        outcome, message = self._end(run_id, state, history, verdict, detail)
        if outcome != "cancelled":
            self.prefect.forward(run_id, words)
        self._count(outcome, verdict)
        logger.warning(
            outcome,
            flow_run_id=run_id,
            claim_id=told(detail, CLAIM_ENV) or history.claim_id,
            task_arn=detail["taskArn"],
            cause=None if outcome == "cancelled" else verdict.cause.value,
            reason=message,
        )
        return outcome

    def _count(self, outcome: str, verdict: Verdict) -> None:
        if outcome == "crashed":
            self.metrics.add(Metric.CRASHES, cause=verdict.cause.value)
        elif outcome == "relaunched":
            self.metrics.add(Metric.RELAUNCHES)

    def _confirm(self, run_id: str, state: RunState) -> None:
        """Read the run once more, for Prefect takes no proposal that names the state it is for."""
        now = Reads(self.prefect, []).state(run_id)
        if (now.type, now.claim_id, now.since) != (state.type, state.claim_id, state.since):
            raise MovedOn(f"flow run {run_id} was {state.type} and is {now.type}")

    def _concerns(self, state: RunState, history: History, detail: Detail) -> bool:
        """Tell whether the run still waits for this very task, and not for another launch's."""
        claim, reported = told(detail, CLAIM_ENV), state.infrastructure_id
        if claim and state.type == "PENDING" and state.claim_id:
            return claim == state.claim_id
        if claim and history.claim_id and not self.prefect.runs_outlive_containers:
            return claim == history.claim_id
        if reported is not None:
            return reported.endswith(detail["taskArn"])
        return state.type != "PENDING"

    def _goes_on(self, run_id: str, state: RunState, detail: Detail) -> bool:
        """Tell whether a run of Prefect 1 needs this container no more, though it has no end."""
        if state.type == "RUNNING" and self.prefect.runs_outlive_containers:
            if ended_well(detail) and diagnose(detail).cause not in TAKEN_AWAY:
                return True
            others = {task["taskArn"] for task in self.tasks.of_run(run_id)}
            return bool(others - {detail["taskArn"]})
        return state.hands_over and ended_well(detail) and not _ran_the_environment(detail)

    def _end(
        self, run_id: str, state: RunState, history: History, verdict: Verdict, detail: Detail
    ) -> tuple[str, str]:
        if state.type == "CANCELLING":
            message = f"The ECS task {detail['taskArn']} has stopped."
            self.prefect.cancelled(run_id, message)
            return "cancelled", message
        claim = told(detail, CLAIM_ENV) or history.claim_id
        if claim and self._is_worth_another(verdict, state, history):
            attempt = history.relaunches + 1
            wait = SOON_SECONDS + LATER_SECONDS * history.relaunches
            due = self.now() + timedelta(seconds=wait)
            message = f"{verdict.text} Relaunch {attempt} of {self.relaunch_attempts}."
            self.prefect.relaunch(run_id, state, claim, due=due, message=message)
            return "relaunched", message
        self.prefect.crash(run_id, verdict.text)
        return "crashed", verdict.text

    def _is_worth_another(self, verdict: Verdict, state: RunState, history: History) -> bool:
        started_nothing = state.type == "PENDING"
        return (
            verdict.passes
            and (started_nothing or verdict.cause in TAKEN_AWAY)
            and state.can_start_over
            and history.relaunches < self.relaunch_attempts
        )


def _may_wait_for_a_task(state: RunState) -> bool:
    if state.type == "SCHEDULED":
        return state.waits_in_process
    return state.type in ("PENDING", "RUNNING", "CANCELLING")


def _ran_the_environment(detail: Detail) -> bool:
    """Tell a task environment's own task from one that only starts it."""
    containers: list[dict[str, Any]] = detail.get("containers", [])
    return any(c["name"] == TASK_ENVIRONMENT_CONTAINER for c in containers)
