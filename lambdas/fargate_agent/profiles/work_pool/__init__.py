"""Runs of a Prefect work pool: its base job template, filled in, under the kwargs files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fargate_agent.accounts import Accounts
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.kwargs import Kwargs, KwargsModel, stacked
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import RunState
from fargate_agent.placement import place_job
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import EcsJob
from fargate_agent.profiles.work_pool.job_template import job_configuration
from fargate_agent.profiles.work_pool.named_definition import check_external
from fargate_agent.profiles.work_pool.rendering import Surroundings, render
from fargate_agent.runs import FlowRun, Launch
from fargate_agent.templating import MISSING, fill

ANY_PREFECT_3 = "prefecthq/prefect:3-latest"

_REGIONS = ("AWS_DEFAULT_REGION", "AWS_REGION")


@dataclass(frozen=True, slots=True)
class WorkPoolProfile:
    """See :class:`profiles.Profile`."""

    prefect: Prefect3
    files: KwargsFiles
    model: KwargsModel
    agent: Agent
    accounts: Accounts

    def defaults(self) -> Kwargs:
        """Return what every run is started with; see :meth:`profiles.Profile.defaults`."""
        return self.agent.kwargs

    def place(
        self, definition: dict[str, Any], request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fit a definition and a request; see :meth:`profiles.Profile.place`."""
        (only,) = definition["containerDefinitions"]
        placed, asked, only = place_job(definition, request, only, self.agent.launch_type)
        if placed.get("networkMode") != "awsvpc":
            asked.pop("networkConfiguration", None)
        return {**placed, "containerDefinitions": [only]}, asked

    def render(self, run: FlowRun, state: RunState | None) -> tuple[Launch, str | None]:
        """Render a run; see :meth:`profiles.Profile.render`."""
        pool = self.prefect.work_pool(run.work_pool_updated)
        layers = list(self._job_variables(run, state))
        files = {f.url: self.model.split(f.values, f.url) for f in self.files.read(run)}
        try:
            job = self._job(run, pool["base_job_template"], layers)
            launch = self._launch(run, job, files, work_pool_id=pool["id"])
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            # The same input fails the same way however often it is tried. The text of a ValueError
            # may repeat the value, which may be a secret.
            text = "" if isinstance(error, ValueError) else f": {error}"
            raise PermanentError(
                "The work pool's base job template and the job variables do not make an ECS task "
                f"({type(error).__name__}{text}). Correct them in the work pool, the deployment or "
                "the run."
            ) from error
        self.model.check(None if launch.definition_arn else launch.definition, launch.request)
        return launch, " and ".join(files) or None

    def _launch(
        self, run: FlowRun, job: EcsJob, files: Mapping[str, Kwargs], *, work_pool_id: str
    ) -> Launch:
        if job.task_definition_arn:
            for url, kwargs in files.items():
                check_external(kwargs, job.task_definition_arn, url)
        account = self.accounts.of(job.aws_credentials)
        around = Surroundings(
            work_pool_id=work_pool_id,
            version=self.prefect.server_version(),
            default_image=self._default_image,
            account=account,
        )
        agent = self.agent if account is self.accounts.own else self.agent.elsewhere()
        return render(run, job, agent, stacked(*files.values()), around)

    def _job_variables(self, run: FlowRun, state: RunState | None) -> Iterator[Mapping[str, Any]]:
        if run.deployment_id:
            # The server refuses a claim of a run without its deployment: only one that was claimed
            # by an earlier delivery may have lost it since.
            claimed_before = state is not None and state.type == "PENDING"
            wanted = None if claimed_before else run.deployment_updated
            yield self.prefect.deployment(run.deployment_id, wanted)["job_variables"]
        if run.has_job_variables:
            yield self.prefect.flow_run(run.id)["job_variables"] or {}

    def _job(
        self, run: FlowRun, template: Mapping[str, Any], layers: list[Mapping[str, Any]]
    ) -> EcsJob:
        own = self.accounts.own.region
        configuration = job_configuration(
            template,
            *layers,
            references=self.prefect.references.at(run.references),
            environment={**dict.fromkeys(_REGIONS, own), **self.agent.env},
        )
        job = EcsJob.read(configuration)
        if job.name and "{{" in job.name:
            context = {
                "flow": self.prefect.flow(run.flow_id),
                "flow_run": self.prefect.flow_run(run.id),
            }
            name = fill(job.name, {"ctx": context}, {})
            job = replace(job, name=None if name is MISSING else str(name))
        return job

    def _default_image(self) -> str:
        version = self.prefect.server_version() or ""
        if re.fullmatch(r"[\w.]+", version):  # a version in development has no image
            return f"prefecthq/prefect:{version}-python3.12"
        return ANY_PREFECT_3
