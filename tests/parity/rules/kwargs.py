"""Kwargs: which there are, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.parity import ecs_model, legacy_agent
from tests.parity.cases import Case
from tests.parity.expectation import Launch, fresh
from tests.parity.rules.base import (
    Layer,
    Rule,
    always,
    container_of,
    each,
    layers,
    of_agent,
    repaired,
)

MERGED = frozenset({*legacy_agent.CONTAINER, "image"})
"""Fields of the flow's container that are more than passed on."""

SPECIAL = frozenset(
    {*ecs_model.OURS, "capacityProviderStrategy", "containerDefinitions", "launchType", "overrides"}
)
"""Parameters that are more than passed on."""


def _as_text(case: Case, launch: Launch) -> Launch:
    raw: dict[str, Any] = {}
    for layer in layers(case, launch.run):
        raw |= {key: value for key, value in layer.kwargs.items() if ecs_model.is_text(key)}
    changes = {key: value for key, value in raw.items() if isinstance(value, str)}
    for key, value in changes.items():
        if not isinstance(launch.definition.get(key, ""), str):
            launch = launch.with_definition(**{key: value})
        if not isinstance(launch.request.get(key, ""), str):
            launch = launch.with_request(**{key: value})
    return repaired(case, launch)


def _json(case: Case, launch: Launch) -> Launch:
    if (launch.error or {}).get("type") == "JSONDecodeError" and _begins_with_a_mark(case, launch):
        return fresh(case, launch.run)
    definition = {k: _structure(k, v) for k, v in launch.definition.items()}
    container = {
        key: ecs_model.structure(value) if key in legacy_agent.CONTAINER else value
        for key, value in launch.container.items()
    }
    definition["containerDefinitions"] = [container]
    asked = {k: _structure(k, v) for k, v in launch.request.items()}
    return repaired(case, launch.changed(definition=definition, request=asked))


def _begins_with_a_mark(case: Case, launch: Launch) -> bool:
    """Tell whether a kwargs file begins with the mark that some editors write."""
    key = legacy_agent.external_key(case, launch.run)
    content = (case.input.get("s3_objects") or {}).get("/".join(key or ()), "")
    return isinstance(content, str) and content.startswith("\ufeff")


def _structure(key: str, value: Any) -> Any:
    return value if ecs_model.is_text(key) else ecs_model.structure(value)


def _every(case: Case, launch: Launch) -> Launch:
    known = (
        (legacy_agent.ENVIRONMENT_DEFINITION, legacy_agent.ENVIRONMENT_REQUEST)
        if case.is_environment
        else (legacy_agent.DEFINITION, legacy_agent.REQUEST)
    )
    for layer in layers(case, launch.run):
        if layer.place == "run":
            continue
        given = ecs_model.parsed(layer.kwargs)
        for key, value in given.items():
            if key in ecs_model.DEFINITION.members and key not in (*known[0], *SPECIAL):
                launch = launch.with_definition(**{key: value})
            if key in ecs_model.REQUEST.members and key not in (*known[1], *SPECIAL):
                launch = launch.with_request(**{key: value})
        launch = _placed(case, _overridden(launch, given), given)
        if not case.is_environment:
            launch = _with_fields(case, launch, layer, container_of(given))
    return launch


def _with_fields(case: Case, launch: Launch, layer: Layer, fields: Mapping[str, Any]) -> Launch:
    more = {k: v for k, v in fields.items() if k not in MERGED and v not in ([], {})}
    if case.validates:  # by a container that is no flow's
        return launch.with_container(**{**more, **launch.container})
    launch = launch.with_container(**more)
    launch = launch.with_override(launch.override, name=launch.container["name"])
    image = fields.get("image")
    by_default = str(launch.container["image"] or "").startswith("prefecthq/prefect:")
    if image and (layer.place == "file" or by_default):
        launch = launch.with_container(image=image)
    return launch


def _placed(case: Case, launch: Launch, given: Mapping[str, Any]) -> Launch:
    chosen = given.get("launchType")
    if chosen:
        launch = launch.with_request(launchType=chosen)
        if not case.is_environment and "requiresCompatibilities" not in given:
            launch = launch.with_definition(requiresCompatibilities=[chosen])
    strategy = given.get("capacityProviderStrategy")
    if strategy:
        launch = launch.with_request(launchType=..., capacityProviderStrategy=strategy)
    return launch


def _overridden(launch: Launch, given: Mapping[str, Any]) -> Launch:
    """Lay a user's overrides under those that tell the container which run it is of."""
    asked = given.get("overrides")
    if not isinstance(asked, Mapping):
        return launch
    (ours,) = launch.request["overrides"]["containerOverrides"]
    told = {entry["name"] for entry in ours["environment"]}
    others: list[Any] = []
    for container in asked.get("containerOverrides") or []:
        if container.get("name", ours["name"]) == ours["name"]:
            more = [e for e in container.get("environment", []) if e["name"] not in told]
            ours = {**container, **ours, "environment": [*ours["environment"], *more]}
        else:
            others.append(container)
    return launch.with_request(overrides={**asked, "containerOverrides": [ours, *others]})


def _size(case: Case, launch: Launch) -> Launch:
    if launch.definition.get("requiresCompatibilities", ["FARGATE"]) != ["FARGATE"]:
        return launch
    cpu, memory = (launch.definition.get(size) for size in ("cpu", "memory"))
    sized = launch.with_definition(cpu=cpu or "1024", memory=memory or "2048")
    told = (launch.error or {}).get("message", "")
    refused = "RegisterTaskDefinition" in told and not (cpu and memory)
    return sized.freed(case) if refused and not case.fault("RegisterTaskDefinition") else sized


KWARGS = (
    Rule(
        name="text stays text",
        why="A parameter that ECS wants as text is never made a number: cluster=12345 names a "
        "cluster, which botocore refused at the first launch.",
        applies=of_agent,
        expect=each(_as_text),
    ),
    Rule(
        name="JSON text",
        why="What is no text for ECS may be written as JSON as well as a Python literal, and a "
        "kwargs file may begin with a byte order mark; the legacy agent sent JSON to ECS as it "
        "was.",
        applies=of_agent,
        expect=each(_json),
    ),
    Rule(
        name="every ECS parameter",
        why="All parameters and container fields that botocore knows are used; the legacy agent "
        "silently dropped what ECS learnt after it was written.",
        applies=always,
        expect=each(_every),
    ),
    Rule(
        name="size default",
        why="Fargate, and the cluster's choice, refuse a definition without cpu or memory: it gets "
        "1024 and 2048.",
        applies=of_agent,
        expect=each(_size),
    ),
)
