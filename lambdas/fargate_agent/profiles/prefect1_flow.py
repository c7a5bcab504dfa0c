"""What a Prefect 1 flow says of its own container: the image and the command. Pure.

Follows ``get_flow_image`` and ``get_flow_run_command`` of Prefect 0.14
(``prefect.utilities.agent``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import did_you_mean

STORAGES = (
    "Azure",
    "Bitbucket",
    "CodeCommit",
    "Docker",
    "GCS",
    "Git",
    "GitHub",
    "GitLab",
    "Local",
    "Module",
    "S3",
    "Webhook",
)
RUN_CONFIGS = ("DockerRun", "ECSRun", "KubernetesRun", "LocalRun", "UniversalRun")
TASK_ENVIRONMENT = "FargateTaskEnvironment"
ENVIRONMENTS = (
    "CustomEnvironment",
    "DaskKubernetesEnvironment",
    "Environment",
    "KubernetesJobEnvironment",
    "LocalEnvironment",
    "RemoteDaskEnvironment",
    "RemoteEnvironment",
    TASK_ENVIRONMENT,
)


def check(details: Mapping[str, Any]) -> None:
    """Refuse what no Prefect 1 wrote, before a container is paid for.

    Raises
    ------
    PermanentError
        The storage, the run config or the environment is of a type that does not exist.
    """
    flow = details["flow"]
    storage = flow.get("storage") or {}
    _check_type("storage", storage, STORAGES)
    if details.get("run_config") is not None:
        if storage["type"] != "Docker":  # which names the image, whatever the run config is
            _check_type("run_config", details["run_config"], RUN_CONFIGS)
    elif flow.get("environment") is not None:
        _check_type("environment", flow["environment"], ENVIRONMENTS)


def _check_type(what: str, value: Mapping[str, Any], known: Collection[str]) -> None:
    if value.get("type") not in known:
        raise PermanentError(
            f"The flow's {what} is of type {value.get('type')!r}, which this agent does not know. "
            f"{did_you_mean(str(value.get('type')), known)} Then register the flow again."
        )


def image(details: Mapping[str, Any], default: str | None) -> str:
    """Return the image a flow runs in.

    A flow of a run config, or of nothing: its Docker storage, the run config's image, ``default``,
    Prefect's own image of the flow's version. A flow of an environment: the environment's metadata,
    its Docker storage. An empty name names nothing.

    Raises
    ------
    PermanentError
        The environment leaves open which image to run.
    """
    flow = details["flow"]
    storage = flow.get("storage") or {}
    run_config, environment = details.get("run_config"), flow.get("environment")
    if run_config is None and environment is not None:
        named = (environment.get("metadata") or {}).get("image") or _docker_image(storage)
        if not named:
            raise PermanentError(
                f"The flow {flow['name']!r} is not in Docker storage and its environment's "
                "metadata names no image. Register the flow with "
                'metadata={"image": "..."}.'
            )
        return str(named)
    version = (flow.get("core_version") or "latest").split("+")[0]
    asked = (run_config or {}).get("image")
    return _docker_image(storage) or asked or default or f"prefecthq/prefect:{version}"


def _docker_image(storage: Mapping[str, Any]) -> str | None:
    if storage.get("type") != "Docker":
        return None
    name, tag = storage.get("image_name"), storage.get("image_tag")
    if not name or not tag:
        raise PermanentError(
            "The flow's Docker storage has no image_name or no image_tag. Register the flow again."
        )
    return f"{PurePosixPath(storage.get('registry_url') or '', name)}:{tag}"


def command(core_version: str | None) -> list[str]:
    """Return the command that runs a flow in its image; it was renamed in Prefect 0.13.0."""
    numbers = re.match(r"\d+(\.\d+)*", core_version or "0.0.0")
    old = numbers is not None and [int(n) for n in numbers[0].split(".")] < [0, 13, 0]
    return ["/bin/sh", "-c", f"prefect execute {'cloud-flow' if old else 'flow-run'}"]
