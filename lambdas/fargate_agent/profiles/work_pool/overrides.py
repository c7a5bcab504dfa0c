"""Renders what a run of a work pool tells its task: ``overrides`` of RunTask. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fargate_agent.kwargs import Kwargs
from fargate_agent.overrides import in_ecs_form, laid_over, without_stronger, words
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import EcsJob
from fargate_agent.runs import CLAIM_ENV, DEREGISTER_ENV, FlowRun

COMMAND = ["prefect", "flow-run", "execute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNames:
    """What the flow's container is called: in the work pool's template, and in the end."""

    templated: str
    final: str


def render_overrides(
    run: FlowRun,
    job: EcsJob,
    agent: Agent,
    external: Kwargs,
    *,
    names: ContainerNames,
    secrets: Collection[str],
) -> dict[str, Any]:
    """Return the run's overrides.

    ECS puts an override above the definition, and S3 stands above all: what the external kwargs
    say in the definition is therefore left out of the weaker layers' overrides. So is every
    variable that the container has as a secret: ECS takes a name only once. And so is one that
    the job sets to null.
    """
    removed = {name for name, value in job.env.items() if value is None}
    below = [agent.kwargs.request.get("overrides"), job.task_run_request.get("overrides")]
    weaker = [
        *(
            _without(in_ecs_form(layer, names.final, names.templated), names.final, removed)
            for layer in below
        ),
        _told_by_agent(run, job, agent, external, names.final),
    ]
    file = in_ecs_form(external.request.get("overrides"), names.final, names.templated)
    layers = [*(without_stronger(layer, external, names.final) for layer in weaker), file]
    identity = {"PREFECT__FLOW_RUN_ID": run.id, CLAIM_ENV: run.claim_id}
    taken = {*secrets, DEREGISTER_ENV}  # which is the agent's own to say
    return laid_over(layers, names.final, identity=identity, secrets=taken)


def _without(layer: Mapping[str, Any], flow: str, removed: Collection[str]) -> dict[str, Any]:
    """Leave variables out of the override of the flow's container."""

    def kept(container: Mapping[str, Any]) -> dict[str, Any]:
        if container["name"] != flow or "environment" not in container:
            return dict(container)
        entries = [e for e in container["environment"] if e["name"] not in removed]
        return {**container, "environment": entries}

    return {**layer, "containerOverrides": [kept(c) for c in layer["containerOverrides"]]}


def _told_by_agent(
    run: FlowRun, job: EcsJob, agent: Agent, external: Kwargs, container_name: str
) -> dict[str, Any]:
    return {
        "containerOverrides": [
            {
                "name": container_name,
                "command": _command(job, agent, external),
                "environment": [
                    {"name": name, "value": value}
                    for name, value in _environment(run, job, agent).items()
                ],
            }
        ]
    }


def _command(job: EcsJob, agent: Agent, external: Kwargs) -> list[str]:
    command = (
        external.container.get("command")
        or job.command
        or agent.kwargs.container.get("command")
        or COMMAND
    )
    return words(command) if isinstance(command, str) else list(command)


def _environment(run: FlowRun, job: EcsJob, agent: Agent) -> dict[str, str]:
    """Return what Prefect's worker sets, then the agent's own variables, then the job's.

    A variable set to null is removed.
    """
    base = {
        "PREFECT_API_URL": agent.api_url,
        "PREFECT__WORKER_ID": run.worker_id,
        "PREFECT__WORKER_NAME": agent.name,
        "PREFECT__FLOW_ID": run.flow_id,
        "PREFECT__FLOW_NAME": run.flow_name or None,
        "PREFECT__DEPLOYMENT_ID": run.deployment_id,
        "PREFECT__DEPLOYMENT_NAME": run.deployment_name,
    }
    env = {**base, **agent.env, **job.env}
    return {name: value for name, value in env.items() if value is not None}
