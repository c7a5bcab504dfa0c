"""Renders what one flow run asks of ECS: pure functions from values to boto3 kwargs.

The weakest layer first: the agent's defaults (``[ecs.kwargs]``), the work pool's template filled
in with job variables, the flow's external kwargs from S3. In each layer a key replaces the whole
value of the layer below, within the definition, the request and the flow's container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fargate_agent.agent import Agent
from fargate_agent.drift import OWN_TAGS
from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, merged
from fargate_agent.overrides import ContainerNames, make_sizes_numbers, present, render_overrides
from fargate_agent.placement import place
from fargate_agent.runs import FlowRun, Launch, RevisionTerms

CONTAINER_NAME = "prefect"

DEPLOYMENT_ID_TAG = f"{OWN_TAGS}deployment-id"
"""On a revision, tells whose it is where deployments share a family."""
MAX_TAGS = 50
"""ECS takes at most this many tags on a resource."""

_UNSUPPORTED = {
    "task_definition_arn": ("task_run_request", "taskDefinition"),
    "capacity_provider_strategy": ("task_run_request", "capacityProviderStrategy"),
    "aws_credentials": ("aws_credentials",),
    "vpc_id": ("vpc_id",),
    "match_latest_revision_in_family": ("match_latest_revision_in_family",),
    "auto_deregister_task_definition": ("auto_deregister_task_definition",),
    "cloudwatch_logs_options": ("cloudwatch_logs_options",),
    "cloudwatch_logs_prefix": ("cloudwatch_logs_prefix",),
    "prefect_api_key_secret_arn": ("prefect_api_key_secret_arn",),
    "prefect_api_auth_string_secret_arn": ("prefect_api_auth_string_secret_arn",),
}
"""Variables of the ECS worker that change what runs, and that this agent does not follow yet."""


def render(
    run: FlowRun,
    job: Mapping[str, Any],
    agent: Agent,
    external: Kwargs | None,
    *,
    default_image: Callable[[], str],
) -> Launch:
    """Render one run.

    Parameters
    ----------
    job
        The work pool's job configuration, filled in (:func:`work_pool.job_configuration`).
    external
        The flow's kwargs from S3, or None where there is no such file.
    default_image
        Called where nobody names an image, for it may ask the server its version.

    Raises
    ------
    PermanentError
        The job asks for something this agent does not do.
    """
    _refuse_unsupported(job)
    external = external or Kwargs()
    layers = (agent.kwargs, _job_kwargs(job), external)
    containers = _templated_containers(job)
    asked_name = job.get("container_name") or agent.kwargs.container.get("name")
    index = _index_of_flow(containers, asked_name)
    templated_name = asked_name or containers[index].get("name") or CONTAINER_NAME
    container_name = external.container.get("name") or templated_name
    kwargs = merged(*layers)
    definition, request = place(kwargs.definition, kwargs.request, "FARGATE")
    if request.get("launchType", "FARGATE") != "FARGATE":
        raise PermanentError(
            f"The launch type is {request['launchType']!r}; this version of the agent launches on "
            "FARGATE. Set it so in the work pool, the deployment, the run or the S3 kwargs file."
        )
    flow = _flow_container(containers[index], layers, agent.secrets, default_image)
    containers[index] = {**flow, "name": container_name}
    secrets = {entry["name"] for entry in flow.get("secrets", [])}
    names = ContainerNames(templated=templated_name, final=container_name)
    return Launch(
        definition={
            **definition,
            "family": definition.get("family") or _family(run, agent),
            "containerDefinitions": containers,
        },
        request={
            **request,
            "overrides": render_overrides(run, job, agent, external, names=names, secrets=secrets),
            "tags": _tags(run, agent, job, layers),
        },
        revision=RevisionTerms(
            owner={DEPLOYMENT_ID_TAG: run.deployment_id or run.flow_id},
            credentials=frozenset(agent.secrets),
        ),
    )


def _refuse_unsupported(job: Mapping[str, Any]) -> None:
    for variable, path in _UNSUPPORTED.items():
        if variable == "vpc_id" and job.get("network_configuration"):
            continue  # the worker looks its subnets up; here the configuration names them
        value: Any = job
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value:
            raise PermanentError(
                f"The job variable {variable!r} is set, which this version of the agent does not "
                "follow. Remove it from the work pool, the deployment or the run."
            )


def _job_kwargs(job: Mapping[str, Any]) -> Kwargs:
    definition = present(job.get("task_definition") or {})
    request = present(job.get("task_run_request") or {})
    definition.pop("containerDefinitions", None)
    for key in ("overrides", "tags", "taskDefinition"):
        request.pop(key, None)
    network = job.get("network_configuration")
    if network:
        request["networkConfiguration"] = {"awsvpcConfiguration": network}
    return Kwargs(definition=definition, request=request)


def _index_of_flow(containers: list[dict[str, Any]], asked_name: str | None) -> int:
    """Find the container that runs the flow: by its name, else the one left without a name."""
    names = [container.get("name") for container in containers]
    for name in (asked_name, CONTAINER_NAME):
        if name and name in names:
            return names.index(name)
    return names.index(None) if None in names else 0


def _templated_containers(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    definition = job.get("task_definition") or {}
    containers = [
        present(container) for container in definition.get("containerDefinitions") or [{}]
    ]
    for container in containers:
        if "environment" in container:  # a variable left null is a variable left out
            container["environment"] = [
                e for e in container["environment"] if e["value"] is not None
            ]
        make_sizes_numbers(container)
    return containers


def _flow_container(
    templated: Mapping[str, Any],
    layers: tuple[Kwargs, ...],
    secrets: Mapping[str, str],
    default_image: Callable[[], str],
) -> dict[str, Any]:
    """Merge the layers' fields into the flow's container: variables and secrets by name."""
    agent, *_, external = layers
    below = [agent.container, templated, external.container]
    flow = {key: value for layer in below for key, value in layer.items()}
    flow["image"] = flow.get("image") or default_image()
    for key in ("environment", "secrets"):
        entries = {entry["name"]: entry for layer in below for entry in layer.get(key, [])}
        if entries:
            flow[key] = list(entries.values())
    given = {entry["name"] for key in ("environment", "secrets") for entry in flow.get(key, [])}
    held = [{"name": n, "valueFrom": arn} for n, arn in secrets.items() if n not in given]
    if held:
        flow["secrets"] = [*flow.get("secrets", []), *held]
    return flow


def _family(run: FlowRun, agent: Agent) -> str:
    name = f"prefect_{agent.work_pool}_{run.deployment_id or run.flow_id}"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:255]


def _tags(
    run: FlowRun, agent: Agent, job: Mapping[str, Any], layers: Iterable[Kwargs]
) -> list[dict[str, str]]:
    """Return the task's tags: Prefect's own labels first, then the users', each key once."""
    labels = {
        "prefect.io/flow-run-id": run.id,
        "prefect.io/flow-run-name": run.name,
        "prefect.io/work-pool-name": agent.work_pool,
        "prefect.io/worker-name": agent.name,
        "prefect.io/flow-id": run.flow_id,
        "prefect.io/flow-name": run.flow_name,
        "prefect.io/deployment-id": run.deployment_id,
        "prefect.io/deployment-name": run.deployment_name,
        **_as_labels((job.get("task_run_request") or {}).get("tags")),
        **(job.get("labels") or {}),
    }
    for layer in layers:
        labels |= {tag["key"]: tag["value"] for tag in layer.request.get("tags", [])}
    tags = {_tag_text(str(k), 128): _tag_text(str(v), 256) for k, v in labels.items() if v}
    return [{"key": key, "value": value} for key, value in tags.items()][:MAX_TAGS]


def _as_labels(tags: Any) -> dict[str, Any]:
    """Read a template's tags, which may be a table of labels or ECS's list."""
    if isinstance(tags, list):
        return {tag["key"]: tag["value"] for tag in tags}
    return dict(tags or {})


def _tag_text(text: str, length: int) -> str:
    """Keep what AWS allows in a tag: letters, digits, spaces and ``_.:/=+-@``."""
    return re.sub(r"[^\w .:/=+\-@]", "-", text)[:length]
