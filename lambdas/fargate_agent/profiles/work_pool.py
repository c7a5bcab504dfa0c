"""Runs of a Prefect 3 work pool: its base job template, filled in, under the flow's kwargs file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from fargate_agent.agent import Agent
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import RunState
from fargate_agent.rendering import render
from fargate_agent.runs import FlowRun, Launch
from fargate_agent.work_pool import job_configuration

ANY_PREFECT_3 = "prefecthq/prefect:3-latest"


@dataclass(frozen=True, slots=True)
class WorkPoolProfile:
    """See :class:`profiles.Profile`."""

    prefect: Prefect3
    files: KwargsFiles
    model: KwargsModel
    agent: Agent

    def defaults(self) -> tuple[Kwargs, str]:
        """Return what every run is started with; see :meth:`profiles.Profile.defaults`."""
        return self.agent.kwargs, "FARGATE"

    def render(self, run: FlowRun, state: RunState | None) -> tuple[Launch, str | None]:
        """Render a run; see :meth:`profiles.Profile.render`."""
        pool = self.prefect.work_pool(run.work_pool_updated)
        layers = []
        if run.deployment_id:
            deployment = self.prefect.deployment(run.deployment_id, run.deployment_updated)
            layers.append(deployment["job_variables"] or {})
        if run.has_job_variables:
            layers.append(self.prefect.job_variables(run.id))
        file = self.files.read(run)
        external = self.model.split(file.values, file.url) if file else None
        try:
            job = job_configuration(pool["base_job_template"], *layers)
            launch = render(run, job, self.agent, external, default_image=self._default_image)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The same input fails the same way however often it is tried.
            raise PermanentError(
                "The work pool's base job template and the job variables do not make an ECS task: "
                f"{error}. Correct them in the work pool, the deployment or the run."
            ) from error
        return launch, file.url if file else None

    def _default_image(self) -> str:
        version = _server_version(self.prefect)
        return f"prefecthq/prefect:{version}-python3.12" if version else ANY_PREFECT_3


@cache
def _server_version(prefect: Prefect3) -> str | None:
    return prefect.server_version()
