"""The launch of one run: claim it, resolve its kwargs, find its definition, start, report.

Every step may be repeated: the claim is a compare-and-set in Prefect, and the task's client token
is the claim's id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from fargate_agent import clients
from fargate_agent.agent import Agent
from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, KwargsModel, external_key, read_external
from fargate_agent.observability import logger
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import Claim, RunState
from fargate_agent.rendering import render
from fargate_agent.runs import FlowRun, Launch
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import Revision, TaskDefinitions
from fargate_agent.tasks import InactiveDefinition, Task, run_task
from fargate_agent.work_pool import job_configuration

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client


ANY_PREFECT_3 = "prefecthq/prefect:3-latest"


@dataclass(frozen=True, slots=True)
class Launcher:
    """What launches hold in common, kept while the function is warm."""

    settings: Settings
    prefect: Prefect3
    s3: S3Client
    ecs: ECSClient
    definitions: TaskDefinitions
    model: KwargsModel
    agent: Agent

    @classmethod
    def from_settings(cls, config: Settings) -> Launcher:
        """Make the clients and read the agent's own kwargs.

        Raises
        ------
        PermanentError
            ``[ecs.kwargs]`` is not valid; ``cdk synth`` would have said so.
        """
        ecs = clients.ecs()
        model = KwargsModel(ecs)
        return cls(
            settings=config,
            prefect=clients.prefect(config),
            s3=clients.s3(),
            ecs=ecs,
            definitions=TaskDefinitions(ecs),
            model=model,
            agent=Agent.from_settings(config, model),
        )

    def launch(self, run: FlowRun, *, known: Reads | None) -> None:
        """Start the run's one task, or find that there is nothing to start.

        Parameters
        ----------
        known
            Where to ask for the run's state first, for a message that may be out of date: Prefect
            accepts a claim of a run that has failed or completed, and it would run again.
        """
        state = known.state(run) if known else None
        if state is not None and not state.awaits(run):
            logger.info("nothing to launch", flow_run_id=run.id, state=state.type)
            return
        if state is None or state.type == "SCHEDULED":
            claim, reason = self.prefect.claim(run)
            if claim is not Claim.OURS:
                logger.info("not launched", flow_run_id=run.id, claim=claim.value, reason=reason)
                return
        launch, source = self._render(run)
        task, revision = self._start(run, launch)
        logger.info(
            "launched",
            flow_run_id=run.id,
            claim_id=run.claim_id,
            task_arn=task.arn,
            task_definition=revision.name,
            delay_seconds=round((datetime.now(UTC) - run.scheduled_time).total_seconds(), 3),
        )
        self._report(run, task, launch, revision, source)

    def _render(self, run: FlowRun) -> tuple[Launch, str | None]:
        pool = self.prefect.work_pool(run.work_pool_updated)
        layers = []
        if run.deployment_id:
            deployment = self.prefect.deployment(run.deployment_id, run.deployment_updated)
            layers.append(deployment["job_variables"] or {})
        if run.has_job_variables:
            layers.append(self.prefect.job_variables(run.id))
        external, source = self._external(run)
        try:
            job = job_configuration(pool["base_job_template"], *layers)
            launch = render(run, job, self.agent, external, default_image=self._default_image)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The same input fails the same way however often it is tried.
            raise PermanentError(
                "The work pool's base job template and the job variables do not make an ECS task: "
                f"{error}. Correct them in the work pool, the deployment or the run."
            ) from error
        return launch, source

    def _external(self, run: FlowRun) -> tuple[Kwargs | None, str | None]:
        bucket = self.settings.kwargs_bucket
        if bucket is None:
            return None, None
        key = external_key(self.settings.kwargs_prefix, run.flow_name, run.flow_id)
        found = read_external(self.s3, self.model, bucket, key)
        return found, f"s3://{bucket}/{key}" if found else None

    def _default_image(self) -> str:
        version = _server_version(self.prefect)
        return f"prefecthq/prefect:{version}-python3.12" if version else ANY_PREFECT_3

    def _start(self, run: FlowRun, launch: Launch) -> tuple[Task, Revision]:
        revision = self.definitions.ensure(launch.definition)
        try:
            return self._run(run, launch, revision), revision
        except InactiveDefinition:
            self.definitions.forget(revision.arn)
            revision = self.definitions.ensure(launch.definition)
            return self._run(run, launch, revision), revision

    def _run(self, run: FlowRun, launch: Launch, revision: Revision) -> Task:
        return run_task(
            self.ecs,
            launch.request,
            definition_arn=revision.arn,
            claim_id=run.claim_id,
            flow_run_id=run.id,
        )

    def _report(
        self, run: FlowRun, task: Task, launch: Launch, revision: Revision, source: str | None
    ) -> None:
        self.prefect.report_infrastructure(run.id, task.infrastructure_id)
        if not self.settings.send_logs:
            return
        size = launch.definition
        message = (
            f"Started ECS task {task.arn} with task definition {revision.name} ({revision.how}; "
            f"cpu {size['cpu']}, memory {size['memory']} MiB)"
        )
        try:
            self.prefect.log(
                run.id, f"{message}, kwargs from {source}." if source else f"{message}."
            )
        except Exception:
            logger.warning("the run's log line is lost", flow_run_id=run.id, exc_info=True)


class Reads:
    """Reads the doubtful runs of one batch, all in one call, as their launches come due.

    Parameters
    ----------
    ids
        The runs of the batch.
    fresh_seconds
        An answer older than this is read again.
    """

    def __init__(
        self, prefect: Prefect3, ids: Iterable[str], *, fresh_seconds: float = 0.5
    ) -> None:
        self._prefect = prefect
        self._ids = set(ids)
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._states: dict[str, RunState] = {}
        self._error: Exception | None = None

    def state(self, run: FlowRun) -> RunState:
        """Return what Prefect says of a run now; of a deleted one, that it has no state."""
        with self._lock:
            if time.monotonic() - self._read_at > self._fresh_seconds:
                self._read(run)
            if self._error:
                raise self._error
            return self._states.get(run.id) or RunState(
                type="DELETED", scheduled_time=None, claim_id=None, infrastructure_id=None
            )

    def _read(self, run: FlowRun) -> None:
        # The error is kept as an answer is: a server that hangs holds up one thread, not each.
        self._states, self._error = {}, None
        try:
            self._states = self._prefect.run_states(self._ids | {run.id})
        except Exception as error:
            self._error = error
        self._read_at = time.monotonic()


@cache
def _server_version(prefect: Prefect3) -> str | None:
    return prefect.server_version()
