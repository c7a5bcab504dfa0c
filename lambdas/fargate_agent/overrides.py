"""Renders what one run tells its task beyond the definition: ``overrides`` of RunTask. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from fargate_agent.agent import Agent
from fargate_agent.kwargs import Kwargs
from fargate_agent.runs import FlowRun

COMMAND = ["prefect", "flow-run", "execute"]

CLAIM_ENV = "FARGATE_AGENT_CLAIM_ID"
"""Names the claim a task was started for, in the container and in ECS's events of it."""


def render_overrides(
    run: FlowRun, job: Mapping[str, Any], agent: Agent, external: Kwargs, container_name: str
) -> dict[str, Any]:
    """Return the run's overrides.

    ECS puts an override above the definition, and S3 stands above all: what the external kwargs
    say in the definition is therefore left out of the weaker layers' overrides.
    """
    asked = _without(_asked_by_job(job, container_name), external, container_name)
    layers = [
        agent.kwargs.request.get("overrides", {}),
        asked,
        _told_by_agent(run, job, agent, external, container_name),
        external.request.get("overrides", {}),
    ]
    merged: dict[str, Any] = {}
    containers: dict[str, dict[str, Any]] = {container_name: {"name": container_name}}
    for layer in layers:
        merged |= layer
        for container in layer.get("containerOverrides", []):
            name = container.get("name") or container_name
            containers[name] = _over(containers.get(name, {"name": name}), container)
    _identify(containers[container_name], run)
    return {**merged, "containerOverrides": list(containers.values())}


def _asked_by_job(job: Mapping[str, Any], container_name: str) -> dict[str, Any]:
    """Return the template's overrides in ECS's types: a task's size is text, a container's not."""
    asked = present((job.get("task_run_request") or {}).get("overrides") or {})
    containers = [present(c) for c in asked.pop("containerOverrides", None) or []]
    for size in ("cpu", "memory"):
        asked.update({size: str(asked[size])} if size in asked else {})
        for container in containers:
            container.update({size: int(container[size])} if size in container else {})
    for container in containers:
        if container.setdefault("name", container_name) == container_name:
            # The job configuration has these two itself, and they are rendered from there.
            container.pop("environment", None)
            container.pop("command", None)
    return {**asked, "containerOverrides": containers}


def _without(asked: Mapping[str, Any], external: Kwargs, container_name: str) -> dict[str, Any]:
    stronger = {*external.definition, *external.container} - {"name"}
    return {
        **{key: value for key, value in asked.items() if key not in external.definition},
        "containerOverrides": [
            {k: v for k, v in container.items() if k not in stronger}
            if container["name"] == container_name
            else container
            for container in asked["containerOverrides"]
        ],
    }


def _told_by_agent(
    run: FlowRun, job: Mapping[str, Any], agent: Agent, external: Kwargs, container_name: str
) -> dict[str, Any]:
    written = {entry["name"] for entry in external.container.get("environment", [])}
    return {
        "containerOverrides": [
            {
                "name": container_name,
                "command": _command(job, agent, external),
                "environment": [
                    {"name": name, "value": value}
                    for name, value in _environment(run, job, agent).items()
                    if name not in written
                ],
            }
        ]
    }


def _command(job: Mapping[str, Any], agent: Agent, external: Kwargs) -> list[str]:
    command = (
        external.container.get("command")
        or job.get("command")
        or agent.kwargs.container.get("command")
        or COMMAND
    )
    return shlex.split(command) if isinstance(command, str) else list(command)


def _environment(run: FlowRun, job: Mapping[str, Any], agent: Agent) -> dict[str, str]:
    """Return what Prefect's worker sets, then the agent's own variables, then the job's.

    A variable set to null is removed.
    """
    base = {
        "PREFECT_API_URL": agent.api_url,
        "PREFECT__WORKER_NAME": agent.name,
        "PREFECT__FLOW_ID": run.flow_id,
        "PREFECT__FLOW_NAME": run.flow_name,
        "PREFECT__DEPLOYMENT_ID": run.deployment_id,
        "PREFECT__DEPLOYMENT_NAME": run.deployment_name,
    }
    env = {**base, **agent.env, **(job.get("env") or {})}
    return {name: str(value) for name, value in env.items() if value is not None}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one container's override over another: environment by name, all else whole."""
    merged = {**below, **above, "name": below["name"]}
    entries = [*below.get("environment", []), *above.get("environment", [])]
    if entries:
        merged["environment"] = list({entry["name"]: entry for entry in entries}.values())
    return merged


def _identify(container: dict[str, Any], run: FlowRun) -> None:
    """Tell the container which run it is of; no layer's variable replaces that."""
    identity = {"PREFECT__FLOW_RUN_ID": run.id, CLAIM_ENV: run.claim_id}
    others = [e for e in container["environment"] if e["name"] not in identity]
    told = [{"name": name, "value": value} for name, value in identity.items()]
    container["environment"] = [*told, *others]


def present(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is null or empty, as Prefect's worker does before it calls AWS."""
    return {k: v for k, v in mapping.items() if v is not None and v not in ("", [], {})}
