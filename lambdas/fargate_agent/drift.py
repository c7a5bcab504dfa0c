"""What sets a definition apart from a registered revision, each difference by its name. Pure.

ECS fills in what a registration leaves out, and returns lists in an order of its own; neither is a
difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ECS_OWN = {
    "compatibilities",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "taskDefinitionArn",
}
"""What a described revision has and a registration has not."""

_SHOWN = {"cpu", "executionRoleArn", "image", "memory", "networkMode", "taskRoleArn"}
"""Values that an error may repeat; any other may hold a secret."""

OWN_TAGS = "fargate-agent/"
"""Tags of this prefix are the agent's, and no difference."""


def differences(wanted: Mapping[str, Any], registered: Mapping[str, Any]) -> list[str]:
    """Name every difference between a definition and a revision.

    Parameters
    ----------
    wanted
        Keyword arguments of ``register_task_definition``.
    registered
        The answer's ``taskDefinition`` of ``describe_task_definition``, with its tags by key.
    """
    ours, theirs = _comparable(wanted), _comparable(registered)
    found = _compare("", ours.pop("containers"), theirs.pop("containers"))
    return [*_compare("", ours, theirs), *found]


def _compare(place: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*ours, *theirs}):
        given, found = ours.get(key), theirs.get(key)
        if given == found or (key.endswith("RoleArn") and _same_role(given, found)):
            continue
        if key in _SHOWN:
            yield f"{place}{key} is {given!r} here and {found!r} there"
        elif isinstance(given, Mapping) and isinstance(found, Mapping):
            yield from _compare(f"{place}{key}.", given, found)
        else:
            yield f"{place}{key} is {_how(given, found)}"


def _how(given: Any, found: Any) -> str:
    if found is None:
        return "only here"
    return "only there" if given is None else "another"


def _same_role(given: Any, found: Any) -> bool:
    """Tell whether two names of a role, of which one may lack its ARN's prefix, mean the same."""
    if not given or not found or (given.startswith("arn:") and found.startswith("arn:")):
        return False
    return str(given).rpartition("/")[2] == str(found).rpartition("/")[2]


def _comparable(definition: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in definition.items() if key not in _ECS_OWN}
    containers = made.pop("containerDefinitions", [])
    tags = made.pop("tags", None) or {}
    if not isinstance(tags, Mapping):
        tags = {tag["key"]: tag["value"] for tag in tags}
    made["tags"] = {key: value for key, value in tags.items() if not key.startswith(OWN_TAGS)}
    return {
        **_pruned(made),
        "containers": {
            f"container {container.get('name')!r}": _container(container)
            for container in containers
        },
    }


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(container)
    made["not essential"] = not made.pop("essential", True)
    ports = [{"protocol": "tcp", **port} for port in made.get("portMappings") or []]
    for port in ports:
        if port.get("hostPort") == port.get("containerPort"):
            del port["hostPort"]
    made["portMappings"] = ports
    for key in ("environment", "secrets"):
        made[key] = {e.get("name"): e.get("value", e.get("valueFrom")) for e in made.get(key) or []}
    return dict(_pruned(made))


def _pruned(value: Any) -> Any:
    """Drop what says nothing, at every depth, and put lists of tables in an order."""
    if isinstance(value, Mapping):
        pruned = {key: _pruned(item) for key, item in value.items()}
        return {k: v for k, v in pruned.items() if v not in (None, "", [], {}, 0)}
    if isinstance(value, list | tuple):
        items = [_pruned(item) for item in value]
        if items and all(isinstance(item, dict) for item in items):
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
        return items
    return value
