"""Environment variables as the legacy agent read them, where its arguments named no value.

Follows ``prefect.agent.fargate`` 0.14: the bare names of the parameters it knew, and
``containerDefinitions_<field>``. Read when the stack is synthesized, with Prefect 1 only: names
such as ``group`` and ``cpu`` are too common to be meant for anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fargate_agent.kwargs import KwargsModel

PARAMETERS = (
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "volumes",
    "placementConstraints",
    "cpu",
    "memory",
    "tags",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "inferenceAccelerators",
    "cluster",
    "count",
    "startedBy",
    "group",
    "placementStrategy",
    "platformVersion",
    "networkConfiguration",
    "enableECSManagedTags",
    "propagateTags",
)
CONTAINER_FIELDS = (
    "mountPoints",
    "secrets",
    "environment",
    "logConfiguration",
    "repositoryCredentials",
)


def fallbacks(
    kwargs: Mapping[str, Any], model: KwargsModel, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the kwargs that the environment names and ``kwargs`` does not.

    Parameters
    ----------
    kwargs
        The user's, parsed.

    Raises
    ------
    PermanentError
        A variable's value is not one that ECS takes, or one that the agent sets itself.
    """
    found: dict[str, Any] = {}
    for name in PARAMETERS:
        if environ.get(name) and not kwargs.get(name):
            given = model.parsed({name: environ[name]})
            model.split(given, "environment variable")
            found |= given
    containers = kwargs.get("containerDefinitions", [{}])
    match containers:
        case [Mapping() as given_container]:
            container = dict(given_container)
        case _:
            return found  # an error of the settings, which is told as such
    for field in CONTAINER_FIELDS:
        name = f"containerDefinitions_{field}"
        if environ.get(name) and not container.get(field):
            given = model.parsed({"containerDefinitions": [{field: environ[name]}]})
            model.split(given, f"environment variable {name}")
            container |= given["containerDefinitions"][0]
            found["containerDefinitions"] = [container]
    return found
