"""Runs of Prefect 1: the agent's own container, or a task environment's, under the flow's file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.states import RunState
from fargate_agent.placement import without_needless_network
from fargate_agent.profiles.flow_run import render_flow_run
from fargate_agent.profiles.prefect1_flow import check
from fargate_agent.profiles.prefect1_kwargs import merged, read_run_config
from fargate_agent.profiles.task_environment import is_task_environment, render_task_environment
from fargate_agent.runs import FlowRun, Launch


@dataclass(frozen=True, slots=True)
class Prefect1Profile:
    """See :class:`profiles.Profile`."""

    prefect: Prefect1
    files: KwargsFiles
    model: KwargsModel

    def render(self, run: FlowRun, state: RunState | None) -> tuple[Launch, str | None]:
        """Render a run; see :meth:`profiles.Profile.render`."""
        assert state is not None  # this orchestrator reads every run
        details = dict(state.details)
        check(details)
        settings = self.prefect.settings()
        tenant = self.prefect.tenant_of_key()
        agent, _ = self.defaults()
        config = read_run_config(details.get("run_config"), self.model)
        file = self.files.read(run)
        values, url = (file.values, file.url) if file else ({}, None)
        if is_task_environment(details, values.get("family"), agent.definition.get("family")):
            external = self.model.split(values, url or "", several_containers=True)
            launch = render_task_environment(
                run, details, settings, agent=agent, file=external, tenant=tenant
            )
        else:
            external = self.model.split(values, url or "")
            launch = render_flow_run(
                run, details, settings, agent=agent, config=config, file=external, tenant=tenant
            )
        made = settings.stack_kwargs.get("networkConfiguration")
        request = without_needless_network(launch.definition, launch.request, made)
        return replace(launch, request=request), url

    def defaults(self) -> tuple[Kwargs, str]:
        """Return what every run is started with; see :meth:`profiles.Profile.defaults`."""
        settings = self.prefect.settings()
        source = "agent.toml: ecs.kwargs"
        if settings.agent_config_id:
            source += f", with agent configuration {settings.agent_config_id} above it"
        stack = self.model.split(settings.stack_kwargs, "the stack's defaults")
        user = self.model.split(settings.ecs_kwargs, source)
        return merged(stack, user), settings.launch_type
