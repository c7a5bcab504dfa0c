"""Runs of Prefect 1: the agent's own container, or a task environment's, under the flow's file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.states import RunState
from fargate_agent.placement import place, without_needless_network
from fargate_agent.profiles.flow_run import render_flow_run
from fargate_agent.profiles.prefect1_flow import check
from fargate_agent.profiles.prefect1_kwargs import read_run_config
from fargate_agent.profiles.task_environment import is_task_environment, render_task_environment
from fargate_agent.runs import FlowRun, Launch


class Prefect1Profile:
    """See :class:`profiles.Profile`."""

    def __init__(self, prefect: Prefect1, files: KwargsFiles, model: KwargsModel) -> None:
        self._prefect = prefect
        self._files = files
        self._model = model
        self._kwargs: Kwargs | None = None

    def render(self, run: FlowRun, state: RunState | None) -> tuple[Launch, str | None]:
        """Render a run; see :meth:`profiles.Profile.render`."""
        assert state is not None  # this orchestrator reads every run
        details = dict(state.details)
        check(details)
        settings = self._prefect.settings()
        tenant = self._prefect.tenant_of_key()
        agent = self.defaults()
        config = read_run_config(details.get("run_config"), self._model)
        file = next(iter(self._files.read(run)), None)
        values, url = (file.values, file.url) if file else ({}, None)
        if is_task_environment(details, agent, values):
            external = self._model.split(values, url or "", several_containers=True)
            launch = render_task_environment(
                run, details, settings, agent=agent, file=external, tenant=tenant
            )
        else:
            external = self._model.split(values, url or "")
            launch = render_flow_run(
                run, details, settings, agent=agent, config=config, file=external, tenant=tenant
            )
        made = settings.stack_kwargs.get("networkConfiguration")
        request = without_needless_network(launch.definition, launch.request, made)
        return replace(launch, request=request), url

    def defaults(self) -> Kwargs:
        """Return what every run is started with; see :meth:`profiles.Profile.defaults`."""
        settings = self._prefect.settings()
        if self._kwargs is None:
            source = "agent.toml: ecs.kwargs"
            if settings.agent_config_id:
                source += f", with agent configuration {settings.agent_config_id} above it"
            stack, user = settings.stack_kwargs, settings.ecs_kwargs
            self._kwargs = self._model.of_agent(stack, user, source)
        return self._kwargs

    def place(
        self, definition: dict[str, Any], request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fit a definition and a request; see :meth:`profiles.Profile.place`."""
        return place(definition, request, self._prefect.settings().launch_type)
