"""What one run tells its task beyond the definition, ``overrides`` of RunTask, in layers. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from fargate_agent.placement import as_number, as_text


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
        asked[size] = as_text(asked[size])
        if asked[size] == "0":  # which is none
            del asked[size]
    for container in containers:
        make_sizes_numbers(container)
        if container.get("name") in (None, flow, templated):
            container["name"] = flow
        if "environment" in container:
            container["environment"] = variables(container["environment"])
            if not container["environment"]:
                del container["environment"]
        if isinstance(container.get("command"), str):
            container["command"] = words(container["command"])
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


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one container's override over another: environment by name, all else whole."""
    merged = {**below, **above, "name": below["name"]}
    entries = [*below.get("environment", []), *above.get("environment", [])]
    if entries:
        merged["environment"] = list({entry["name"]: entry for entry in entries}.values())
    return merged


def words(command: str) -> list[str]:
    """Split a command into its words, as a shell does.

    Raises
    ------
    PermanentError
        A quotation mark has no other.
    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PermanentError(
            f"The command cannot be split into words: {error}. Correct it in the work pool, the "
            "deployment or the run."
        ) from error


def variables(environment: Any) -> list[dict[str, Any]]:
    """List variables, which may be written as a table too; one without a value is none."""
    if isinstance(environment, Mapping):
        environment = [{"name": name, "value": text} for name, text in environment.items()]
    given = [entry for entry in environment if entry.get("value") is not None]
    return [{**entry, "value": str(entry["value"])} for entry in given]


def make_sizes_numbers(container: dict[str, Any]) -> None:
    """Turn a container's sizes into the numbers ECS wants: a job variable may be text."""
    for size in container.keys() & {"cpu", "memory", "memoryReservation"}:
        container[size] = as_number(size, container[size])
        if not container[size]:  # which is none
            del container[size]


def present(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is null or empty, as Prefect's worker does before it calls AWS."""
    return {k: v for k, v in mapping.items() if v is not None and v not in ("", [], {})}
