"""The container that runs the flow, in the task definition of a work pool's job. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import VARIABLES, Kwargs, stacked
from fargate_agent.overrides import make_sizes_numbers, variables
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import CloudWatchLogs, EcsJob

CONTAINER_NAME = "prefect"


def templated_containers(job: EcsJob, agent: Agent) -> tuple[list[dict[str, Any]], int]:
    """Return the template's containers, and the place of the one that runs the flow.

    That is the one the job names, else ``prefect``, else the one that is left without a name.

    Raises
    ------
    PermanentError
        There is no container of the name.
    """
    templated = job.task_definition.get("containerDefinitions") or [{}]
    containers = [_templated(container) for container in templated]
    flow = _flow_among(containers, job.container_name, agent.kwargs.container.get("name"))
    # Any other that is left without a word is one whose placeholders had no values.
    said = [container for container in containers if container or container is flow]
    return said, next(index for index, container in enumerate(said) if container is flow)


def _templated(container: Mapping[str, Any]) -> dict[str, Any]:
    made = without_empty(container)
    if "environment" in made:
        made["environment"] = variables(container["environment"])  # an empty text is a text
    make_sizes_numbers(made)
    return made


def _flow_among(
    containers: list[dict[str, Any]], asked: str | None, default: str | None
) -> dict[str, Any]:
    named: dict[str | None, dict[str, Any]] = {}
    for container in containers:
        named.setdefault(container.get("name"), container)
    for name in (asked, *((default, CONTAINER_NAME) if not asked else ())):
        if name and name in named:
            return named[name]
    if asked == CONTAINER_NAME and None not in named:
        containers.append({"name": asked})
        return containers[-1]
    if asked and asked != CONTAINER_NAME:
        raise PermanentError(
            f"The work pool's template has no container {asked!r} (container_name); it has "
            f"{', '.join(repr(name) for name in named if name) or 'none with a name'}. Correct "
            "one of the two."
        )
    return named.get(None, containers[0])


def flow_container(
    templated: Mapping[str, Any],
    job: EcsJob,
    agent: Agent,
    external: Kwargs,
    *,
    logs: Mapping[str, Any] | None,
    default_image: Callable[[], str],
) -> dict[str, Any]:
    """Merge the flow's container of the agent's, the job's and the external kwargs.

    Parameters
    ----------
    logs
        The log configuration that the job's variables make.
    default_image
        Called where nobody names an image, for it may ask the server its version.
    """
    removed = {name for name, value in job.env.items() if value is None}
    own = {"secrets": _entries(job.secrets), **({"logConfiguration": logs} if logs else {})}
    lower = [agent.kwargs.container, templated]
    flow = {
        key: value for layer in (*lower, own, external.container) for key, value in layer.items()
    }
    flow["image"] = flow.get("image") or default_image()
    given = [Kwargs(container=_without(layer, removed)) for layer in lower]
    secrets = [e for e in _entries(agent.secrets) if e["name"] not in job.env]
    agents_own = Kwargs(container={"secrets": secrets})
    merged = stacked(agents_own, *given, Kwargs(container=own), external).container
    rest = {key: value for key, value in flow.items() if key not in VARIABLES}
    return rest | {key: merged[key] for key in VARIABLES if key in merged}


def log_configuration(
    logs: CloudWatchLogs | None, *, region: str, default_prefix: str
) -> dict[str, Any] | None:
    """Return what ``configure_cloudwatch_logs`` makes of a container's log, as the worker does."""
    if logs is None:
        return None
    return {
        "logDriver": "awslogs",
        "options": {
            "awslogs-create-group": "true",
            "awslogs-group": "prefect",
            "awslogs-region": region,
            "awslogs-stream-prefix": logs.prefix or default_prefix,
            **logs.options,
        },
    }


def without_empty(table: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is null, empty or zero, at every depth, as the worker does of a definition.

    False stays, for it says something.
    """
    return {key: _without_empty(value) for key, value in table.items() if value or value is False}


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_empty(value)
    if isinstance(value, list):
        return [without_empty(item) if isinstance(item, Mapping) else item for item in value]
    return value


def _without(layer: Mapping[str, Any], removed: Iterable[str]) -> dict[str, Any]:
    entries = [e for e in layer.get("environment", []) if e["name"] not in {*removed}]
    return {**layer, "environment": entries}


def _entries(secrets: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "valueFrom": arn} for name, arn in secrets.items()]
