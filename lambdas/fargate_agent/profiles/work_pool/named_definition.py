"""A task definition that a run names itself (``task_definition_arn``): it is run as it is. Pure.

Only overrides of RunTask change anything about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import EcsJob

_TASK = {"cpu", "ephemeralStorage", "executionRoleArn", "memory", "taskRoleArn"}
_CONTAINER = {
    *("command", "cpu", "environment", "environmentFiles"),
    *("memory", "memoryReservation", "resourceRequirements"),
}
"""What RunTask can override, of a task and of a container; see
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html."""


def flow_container(found: Mapping[str, Any], job: EcsJob, agent: Agent) -> dict[str, Any]:
    """Return the container that runs the flow: as the job names it, ``prefect``, or the first.

    Parameters
    ----------
    found
        The task definition as ECS describes it.

    Raises
    ------
    PermanentError
        There is no container of the name, or it is not given the agent's API key.
    """
    containers = {container["name"]: container for container in found["containerDefinitions"]}
    name = job.container_name or next(
        (n for n in containers if n == "prefect"), next(iter(containers))
    )
    if name not in containers:
        raise PermanentError(
            f"The task definition {_name(found)} has no container {name!r} (container_name); it "
            f"has {', '.join(map(repr, containers))}. Correct one of the two."
        )
    container: dict[str, Any] = containers[name]
    given = {
        entry["name"] for key in ("environment", "secrets") for entry in container.get(key, [])
    }
    for secret, arn in {**agent.secrets, **job.secrets}.items():
        if secret not in given | job.env.keys():
            raise PermanentError(
                f"The task definition {_name(found)} does not give its container {name!r} the "
                f"secret {secret}, without which the flow cannot reach Prefect. Add to the "
                f'container\'s secrets {{"name": "{secret}", "valueFrom": "{arn}"}}.'
            )
    return container


def check_external(external: Kwargs, named: str, source: str) -> None:
    """Check that a kwargs file changes only what RunTask can override.

    Raises
    ------
    PermanentError
        It changes more.
    """
    beyond = {*external.definition} - _TASK - {"tags"} | {*external.container} - _CONTAINER
    for key in sorted(beyond):
        raise PermanentError(
            f"{source}: {key}: cannot be changed in the task definition {named}, which the run "
            "names. Remove it, or task_definition_arn."
        )


def as_overrides(external: Kwargs) -> Kwargs:
    """Turn what the external kwargs say of a definition into overrides of the one named."""
    task = {key: value for key, value in external.definition.items() if key != "tags"}
    asked = external.request.get("overrides", {})
    containers = [external.container] if external.container else []
    overrides = {
        **task,
        **asked,
        "containerOverrides": [*containers, *asked.get("containerOverrides", [])],
    }
    return Kwargs(request={**external.request, "overrides": overrides})


def _name(found: Mapping[str, Any]) -> str:
    return str(found["taskDefinitionArn"]).rpartition("/")[2]
