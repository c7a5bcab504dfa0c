"""The healing pass: what an outage or a lost event left, found by comparing Prefect with ECS."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fargate_agent.conclusion import Conclusions, MovedOn
from fargate_agent.observability import Metric, logger
from fargate_agent.orchestrators.states import RunState
from fargate_agent.running_tasks import RunningTasks, parsed
from fargate_agent.runs import FlowRun

PATIENCE_SECONDS = 600
"""A run without a task is left alone for so long: its launch may be under way, or the event of its
task's end. Its message is tried again for hours, should ECS be down: another one does no harm."""

MOST_SEARCHES = 50
"""So many runs that tell no task are looked for in one pass; ECS's list calls are limited to 20 a
second."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One pass over the runs that should have a task.

    Parameters
    ----------
    enqueue
        Sends the messages of runs again.
    """

    conclusions: Conclusions
    tasks: RunningTasks
    enqueue: Callable[[Iterable[FlowRun]], None]
    now: Callable[[], datetime]

    def reconcile(self, in_time: Callable[[], bool]) -> dict[str, int]:
        """Compare, and mend what differs; return what was found, by what was done about it.

        It may be run at any time, twice, and beside the other functions: what it would mend is
        read once more just before, and every step is one that those functions take too.

        Parameters
        ----------
        in_time
            Tells whether there is time for another run; the next pass goes on with the others.
        """
        found: dict[str, int] = defaultdict(int)
        without: dict[str, RunState] = {}
        for page in self.conclusions.prefect.active_runs(["PENDING", "RUNNING"]):
            runs = {id: state for id, state in page.items() if self._is_settled(state)}
            found["checked"] += len(runs)
            without |= {id: runs[id] for id in self._check_tasks(runs, found, in_time)}
            if not in_time():
                break
        sought = random.sample(list(without), min(len(without), MOST_SEARCHES))
        stopped = self.tasks.stopped() if sought else {}
        never_launched = [
            run_id
            for run_id in sought
            if in_time() and self._search(run_id, without[run_id], stopped.get(run_id, []), found)
        ]
        if never_launched:
            self._launch_again(never_launched, found)
        return dict(found)

    def _is_settled(self, state: RunState) -> bool:
        age = (self.now() - state.since).total_seconds() if state.since else PATIENCE_SECONDS
        return age >= PATIENCE_SECONDS

    def _check_tasks(
        self, runs: Mapping[str, RunState], found: dict[str, int], in_time: Callable[[], bool]
    ) -> list[str]:
        """Conclude the runs whose tasks have stopped; return those of which no task is known.

        What a Pending run tells of a task may be left from an earlier launch.
        """
        by_cluster: dict[str, dict[str, str]] = defaultdict(dict)
        without = []
        for run_id, state in runs.items():
            cluster, arn = parsed(state.infrastructure_id) or ("", "")
            if cluster in self.tasks.clusters:
                by_cluster[cluster][arn] = run_id
            elif not cluster:
                without.append(run_id)
        for cluster, run_of in by_cluster.items():
            described = {task["taskArn"]: task for task in self.tasks.describe(cluster, run_of)}
            for arn, run_id in run_of.items():
                if not in_time():
                    return without
                detail = described.get(arn)
                stopped = detail is not None and detail["lastStatus"] == "STOPPED"
                if detail is None or (stopped and not self._conclude(run_id, detail, found)):
                    without.append(run_id)
        return without

    def _search(
        self,
        run_id: str,
        state: RunState,
        stopped: Iterable[Mapping[str, Any]],
        found: dict[str, int],
    ) -> bool:
        """Find the task of a run that names none; tell whether it was never launched.

        ``stopped`` are those of its tasks that are stopping, or stopped lately.
        """
        try:
            if self.tasks.of_run(run_id):
                return False
            for detail in stopped:
                if detail["lastStatus"] != "STOPPED" or self._conclude(run_id, detail, found):
                    return False
            if state.type == "PENDING":
                return True
            # A run that goes on, and tells of no task, may have one in another account.
            if place := parsed(state.infrastructure_id):
                self._conclude(run_id, _gone(place[1]), found)
        except Exception as error:  # the others are not to wait for this one
            self._failed(run_id, error, found)
        return False

    def _launch_again(self, run_ids: list[str], found: dict[str, int]) -> None:
        claimed = self.conclusions.prefect.claimed(run_ids)
        self.enqueue(claimed)
        found["enqueued"] += len(claimed)
        self._count(len(claimed))
        for run in claimed:
            logger.warning("enqueued again", flow_run_id=run.id, claim_id=run.claim_id)

    def _conclude(
        self, run_id: str, detail: Mapping[str, Any], found: dict[str, int]
    ) -> str | None:
        try:
            outcome = self.conclusions.conclude({**detail, "startedBy": run_id})
        except MovedOn:  # somebody else is at it
            return "moved on"
        except Exception as error:
            self._failed(run_id, error, found)
            return "failed"
        if outcome:
            found[outcome] += 1
            self._count(1)
        return outcome

    def _count(self, mended: int) -> None:
        if mended:
            self.conclusions.metrics.add(Metric.RECONCILED, mended)

    def _failed(self, run_id: str, error: Exception, found: dict[str, int]) -> None:
        logger.warning("not reconciled", flow_run_id=run_id, error=str(error))
        found["failed"] += 1


def _gone(arn: str) -> dict[str, Any]:
    reason = "ECS does not know it any more"
    return {"taskArn": arn, "lastStatus": "STOPPED", "stoppedReason": reason, "containers": []}
