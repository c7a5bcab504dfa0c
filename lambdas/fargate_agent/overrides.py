"""Renders what one run tells its task beyond the definition: ``overrides`` of RunTask. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fargate_agent.agent import Agent
from fargate_agent.kwargs import Kwargs
from fargate_agent.runs import CLAIM_ENV, FlowRun

COMMAND = ["prefect", "flow-run", "execute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNames:
    """What the flow's container is called: in the work pool's template, and in the end."""

    templated: str
    final: str


def render_overrides(
    run: FlowRun,
    job: Mapping[str, Any],
    agent: Agent,
    external: Kwargs,
    *,
    names: ContainerNames,
    secrets: Collection[str],
) -> dict[str, Any]:
    """Return the run's overrides.

    ECS puts an override above the definition, and S3 stands above all: what the external kwargs
    say in the definition is therefore left out of the weaker layers' overrides. So is every
    variable that the container has as a secret: ECS takes a name only once.
    """
    weaker = [
        in_ecs_form(agent.kwargs.request.get("overrides"), names.final, names.templated),
        in_ecs_form(
            (job.get("task_run_request") or {}).get("overrides"), names.final, names.templated
        ),
        _told_by_agent(run, job, agent, external, names.final),
    ]
    file = in_ecs_form(external.request.get("overrides"), names.final, names.templated)
    layers = [*(without_stronger(layer, external, names.final) for layer in weaker), file]
    identity = {"PREFECT__FLOW_RUN_ID": run.id, CLAIM_ENV: run.claim_id}
    return laid_over(layers, names.final, identity=identity, secrets=secrets)


def laid_over(
    layers: Iterable[Mapping[str, Any]],
    flow: str,
    *,
    identity: Mapping[str, str],
    secrets: Collection[str],
) -> dict[str, Any]:
    """Lay overrides over each other, the weakest first: variables by name, all else whole.

    Parameters
    ----------
    layers
        In ECS's form.
    flow
        The name of the flow's container.
    identity
        Variables that tell it which run it is of; no layer's variable replaces these, or a secret.
    secrets
        Names of the container's secrets.
    """
    merged: dict[str, Any] = {}
    containers: dict[str, dict[str, Any]] = {flow: {"name": flow}}
    for layer in layers:
        merged |= layer
        for container in layer["containerOverrides"]:
            name = container["name"]
            containers[name] = _over(containers.get(name, {"name": name}), container)
    taken = {*identity, *secrets}
    others = [e for e in containers[flow].get("environment", []) if e["name"] not in taken]
    told = [{"name": name, "value": value} for name, value in identity.items()]
    containers[flow]["environment"] = [*told, *others]
    return {**merged, "containerOverrides": list(containers.values())}


def in_ecs_form(
    overrides: Mapping[str, Any] | None, flow: str, templated: str | None = None
) -> dict[str, Any]:
    """Write overrides as ECS wants them: sizes typed, variables listed, commands in words.

    Parameters
    ----------
    flow
        The name of the flow's container, which is meant where none is named.
    templated
        Another name that it goes by.
    """
    asked = present(overrides or {})
    containers = [present(c) for c in asked.pop("containerOverrides", None) or []]
    for size in asked.keys() & {"cpu", "memory"}:
        asked[size] = str(asked[size])
    for container in containers:
        make_sizes_numbers(container)
        if container.get("name") in (None, flow, templated):
            container["name"] = flow
        if isinstance(container.get("environment"), Mapping):
            container["environment"] = [
                {"name": name, "value": str(value)}
                for name, value in container["environment"].items()
                if value is not None
            ]
        if isinstance(container.get("command"), str):
            container["command"] = shlex.split(container["command"])
    return {**asked, "containerOverrides": containers}


def without_stronger(layer: Mapping[str, Any], external: Kwargs, flow: str) -> dict[str, Any]:
    """Leave out of a layer what the external kwargs say in the definition."""
    stronger = {*external.definition, *external.container} - {"name", "environment", "command"}
    written = {entry["name"] for entry in external.container.get("environment", [])}
    containers = []
    for container in layer["containerOverrides"]:
        left = dict(container)
        if left["name"] == flow:
            left = {key: value for key, value in left.items() if key not in stronger}
            entries = [e for e in left.get("environment", []) if e["name"] not in written]
            left.update({"environment": entries} if "environment" in left else {})
        containers.append(left)
    kept = {key: value for key, value in layer.items() if key not in external.definition}
    return {**kept, "containerOverrides": containers}


def _told_by_agent(
    run: FlowRun, job: Mapping[str, Any], agent: Agent, external: Kwargs, container_name: str
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


def make_sizes_numbers(container: dict[str, Any]) -> None:
    """Turn a container's sizes into the numbers ECS wants: a job variable may be text."""
    for size in container.keys() & {"cpu", "memory", "memoryReservation"}:
        container[size] = int(container[size])


def present(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is null or empty, as Prefect's worker does before it calls AWS."""
    return {k: v for k, v in mapping.items() if v is not None and v not in ("", [], {})}
