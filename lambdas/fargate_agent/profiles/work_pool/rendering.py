"""Renders what one flow run of a work pool asks of ECS: from values to boto3 kwargs.

The weakest layer first: the agent's defaults (``[ecs.kwargs]``), the work pool's job, the external
kwargs from S3. In each layer a key replaces the whole value of the layer below, within the
definition, the request and the flow's container; variables and secrets merge by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fargate_agent.drift import OWN_TAGS
from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import AGENTS_OWN, Kwargs, merged
from fargate_agent.overrides import present
from fargate_agent.placement import job_launch, place_job
from fargate_agent.profiles.work_pool import named_definition
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import EcsJob
from fargate_agent.profiles.work_pool.flow_container import (
    CONTAINER_NAME,
    flow_container,
    log_configuration,
    templated_containers,
    without_empty,
)
from fargate_agent.profiles.work_pool.overrides import ContainerNames, render_overrides
from fargate_agent.profiles.work_pool.tags import as_labels, prefect_labels, tags_of_task
from fargate_agent.runs import FlowRun, Launch, RevisionTerms

DEPLOYMENT_ID_TAG = f"{OWN_TAGS}deployment-id"
"""On a revision, tells whose it is where deployments share a family."""


_NOT_THE_JOBS = AGENTS_OWN - {"referenceId"} | {"tags"}
"""What a template's request may say and the agent says itself: a run is one task."""


class Account(Protocol):
    """Where the task runs; see :class:`accounts.Account`."""

    @property
    def region(self) -> str:
        """The region's name."""

    def describe(self, name: str) -> Mapping[str, Any]:
        """Describe a registered task definition."""

    def subnets(self, vpc_id: str | None, *, fresh: bool = False) -> list[str]:
        """Return the ids of a VPC's subnets, or of the default VPC's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a job does not say itself.

    ``default_image`` is asked only where nobody names an image. ``version`` is Prefect's, where
    the server tells it.
    """

    work_pool_id: str
    version: str | None
    default_image: Callable[[], str]
    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    definition: Mapping[str, Any]
    request: Mapping[str, Any]
    flow: Mapping[str, Any]
    """The container that runs the flow."""
    templated_name: str
    """How the work pool's template calls it."""
    external: Kwargs


def render(
    run: FlowRun, job: EcsJob, agent: Agent, external: Kwargs, around: Surroundings
) -> Launch:
    """Render one run.

    Parameters
    ----------
    external
        The kwargs from S3, of the flow and of its deployment.

    Raises
    ------
    PermanentError
        The job asks for something that cannot be launched.
    """
    named = job.task_definition_arn
    if named:
        task = _named(named, job, agent, external, around)
    else:
        task = _rendered(run, job, agent, external, around)
    _check_logs(job, task.definition)
    return Launch(
        definition={} if named else task.definition,
        request=_request(run, task, job, agent, around),
        definition_arn=task.definition["taskDefinitionArn"] if named else None,
        revision=RevisionTerms(
            owner={DEPLOYMENT_ID_TAG: run.deployment_id or run.flow_id},
            credentials=frozenset(agent.secrets),
        ),
        deregisters=job.auto_deregister_task_definition and not named,
        aws_credentials=job.aws_credentials,
        name=job.name,
    )


def _named(named: str, job: EcsJob, agent: Agent, external: Kwargs, around: Surroundings) -> _Task:
    found = around.account.describe(named)
    external = named_definition.as_overrides(external)
    request, _ = job_launch(found, _layered(job, agent, external).request, agent.launch_type)
    flow = named_definition.flow_container(found, job, agent)
    return _Task(
        definition=found,
        request=request,
        flow=flow,
        templated_name=flow["name"],
        external=external,
    )


def _rendered(
    run: FlowRun, job: EcsJob, agent: Agent, external: Kwargs, around: Surroundings
) -> _Task:
    containers, index = templated_containers(job, agent)
    templated_name = containers[index].get("name") or CONTAINER_NAME
    owner = f"{agent.work_pool}_{run.deployment_id or run.flow_id}"
    logs = log_configuration(
        job.cloudwatch_logs, region=around.account.region, default_prefix=f"prefect-logs_{owner}"
    )
    flow = flow_container(
        containers[index], job, agent, external, logs=logs, default_image=around.default_image
    )
    flow["name"] = external.container.get("name") or templated_name
    kwargs = _layered(job, agent, external)
    definition, request, flow = place_job(
        kwargs.definition, kwargs.request, flow, agent.launch_type
    )
    containers[index] = flow
    family = definition.get("family") or f"prefect_{owner}"
    return _Task(
        definition={
            **definition,
            "family": re.sub(r"[^A-Za-z0-9_-]+", "-", family)[:255],
            "containerDefinitions": containers,
        },
        request=request,
        flow=flow,
        templated_name=templated_name,
        external=external,
    )


def _layered(job: EcsJob, agent: Agent, external: Kwargs) -> Kwargs:
    """Lay the three layers over each other, all but the containers."""
    definition = without_empty(job.task_definition)
    definition.pop("containerDefinitions", None)
    tags = as_labels(definition.pop("tags", None))
    if tags:
        definition["tags"] = [{"key": key, "value": str(value)} for key, value in tags.items()]
    request = present(job.task_run_request)
    if job.cluster:
        request.setdefault("cluster", job.cluster)
    return merged(agent.kwargs, Kwargs(definition=definition, request=request), external)


def _request(
    run: FlowRun, task: _Task, job: EcsJob, agent: Agent, around: Surroundings
) -> dict[str, Any]:
    labels = prefect_labels(
        run,
        work_pool=agent.work_pool,
        work_pool_id=around.work_pool_id,
        worker=agent.name,
        version=around.version,
    )
    kept = {key: value for key, value in task.request.items() if key not in _NOT_THE_JOBS}
    return {
        **_with_network(kept, task, job, agent, around.account),
        "overrides": render_overrides(
            run,
            job,
            agent,
            task.external,
            names=ContainerNames(templated=task.templated_name, final=task.flow["name"]),
            secrets={entry["name"] for entry in task.flow.get("secrets", [])},
        ),
        "tags": tags_of_task(
            {**labels, **job.labels},
            job.task_run_request.get("tags"),
            weakest=agent.kwargs.request.get("tags"),
            strongest=task.external.request.get("tags"),
        ),
    }


def _with_network(
    request: dict[str, Any], task: _Task, job: EcsJob, agent: Agent, account: Account
) -> dict[str, Any]:
    """Add the job's network to a request, or the agent's own where the job has none.

    A network configuration goes with the network mode awsvpc only.
    """
    templated = job.task_run_request.get("networkConfiguration")
    if "networkConfiguration" in task.external.request:
        return request
    if task.definition.get("networkMode") != "awsvpc":
        left = {key: value for key, value in request.items() if key != "networkConfiguration"}
        return {**left, **({"networkConfiguration": templated} if templated else {})}
    if job.network_configuration:
        network = _network_of_vpc(job, account)
    elif templated or (not job.vpc_id and "networkConfiguration" in request):
        return request
    else:
        subnets = account.subnets(job.vpc_id)
        network = {"subnets": subnets, "assignPublicIp": "ENABLED", "securityGroups": []}
    return {**request, "networkConfiguration": {"awsvpcConfiguration": network}}


def _network_of_vpc(job: EcsJob, account: Account) -> Mapping[str, Any]:
    wanted = job.network_configuration.get("subnets", [])
    if not isinstance(wanted, list):
        raise PermanentError(
            "The job variable 'network_configuration.subnets' must be a list of subnets. Correct "
            "it in the work pool, the deployment or the run."
        )
    foreign = {*wanted} - {*account.subnets(job.vpc_id)}
    if foreign:
        foreign -= {*account.subnets(job.vpc_id, fresh=True)}
    if foreign:
        raise PermanentError(
            f"The subnets {', '.join(sorted(foreign))} (network_configuration) are not in the VPC "
            f"{job.vpc_id} (vpc_id). Correct one of the two."
        )
    return job.network_configuration


def _check_logs(job: EcsJob, definition: Mapping[str, Any]) -> None:
    if job.cloudwatch_logs and not definition.get("executionRoleArn"):
        raise PermanentError(
            "The job variable 'configure_cloudwatch_logs' is set, and the task has no execution "
            "role to write logs with. Set 'execution_role_arn', or executionRoleArn in the task "
            "definition."
        )
