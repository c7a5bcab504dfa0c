"""What sets a definition apart from a registered revision, each difference by its name. Pure.

ECS fills in what a registration leaves out, and returns lists in an order of its own; neither is a
difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fargate_agent.placement import in_units

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
"""Values of a definition or a container that an error may repeat; any other may hold a secret."""

_NAMED = {"dockerLabels", "environment", "secrets", "tags"}
"""Tables of the users' own names: no name in them means anything here, and no value is empty."""

_HEALTH_CHECK = {"interval": 30, "timeout": 5, "retries": 3}

OWN_TAGS = "fargate-agent/"
"""Tags of this prefix are the agent's, and no difference; nor are those of AWS itself."""


def differences(wanted: Mapping[str, Any], registered: Mapping[str, Any]) -> list[str]:
    """Name every difference between a definition and a revision.

    Parameters
    ----------
    wanted
        Keyword arguments of ``register_task_definition``.
    registered
        The answer's ``taskDefinition`` of ``describe_task_definition``, with its tags by key.
    """
    ours, our_containers = completed(wanted)
    theirs, their_containers = completed(registered)
    found = list(_compare("", ours, theirs))
    for name in sorted({*our_containers, *their_containers}):
        given, there = our_containers.get(name), their_containers.get(name)
        if given is None or there is None:
            found.append(f"container {name!r} is {_how(given, there)}")
        else:
            found += _compare(f"container {name!r}.", given, there)
    return found


def _compare(place: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*ours, *theirs}):
        given, found = ours.get(key), theirs.get(key)
        if given == found or (key.endswith("RoleArn") and _same_role(given, found)):
            continue
        if key in _SHOWN:
            yield f"{place}{key} is {given!r} here and {found!r} there"
        else:
            yield from _inside(f"{place}{key}", given, found)


def _inside(place: str, given: Any, found: Any) -> Iterator[str]:
    if not (isinstance(given, Mapping) and isinstance(found, Mapping)):
        yield f"{place} is {_how(given, found)}"
        return
    for key in sorted({*given, *found}):
        if given.get(key) != found.get(key):
            yield from _inside(f"{place}.{key}", given.get(key), found.get(key))


def _how(given: Any, found: Any) -> str:
    if found is None:
        return "only here"
    return "only there" if given is None else "another"


def _same_role(given: Any, found: Any) -> bool:
    """Tell whether two names of a role, of which one may lack its ARN's prefix, mean the same."""
    if not given or not found or (given.startswith("arn:") and found.startswith("arn:")):
        return False
    return str(given).rpartition("/")[2] == str(found).rpartition("/")[2]


def completed(
    definition: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return a definition and its containers by name, both as ECS would complete them.

    Of tags the agent's own and AWS's are left out.
    """
    made = {key: value for key, value in definition.items() if key not in _ECS_OWN}
    containers = made.pop("containerDefinitions", [])
    tags = made.pop("tags", None) or {}
    if not isinstance(tags, Mapping):
        tags = {tag["key"]: tag["value"] for tag in tags}
    made["tags"] = {k: v for k, v in tags.items() if not k.startswith((OWN_TAGS, "aws:"))}
    made.setdefault("networkMode", "bridge")
    for size in made.keys() & {"cpu", "memory"}:
        made[size] = in_units(made[size])
    made["volumes"] = [_volume(volume) for volume in made.get("volumes") or []]
    # There a container's ports are the host's, or those of a network interface of its own.
    same_ports = made.get("networkMode") in ("awsvpc", "host")
    return _pruned(made), {str(c.get("name")): _container(c, same_ports) for c in containers}


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    efs = volume.get("efsVolumeConfiguration")
    if not efs:
        return dict(volume)
    return {**volume, "efsVolumeConfiguration": {"rootDirectory": "/", **efs}}


def _container(container: Mapping[str, Any], same_ports: bool) -> dict[str, Any]:
    made = dict(container)
    made["not essential"] = not made.pop("essential", True)
    made["cpu"] = made.get("cpu") or None
    made["portMappings"] = [_port(port, same_ports) for port in made.get("portMappings") or []]
    if made.get("healthCheck"):
        made["healthCheck"] = {**_HEALTH_CHECK, **made["healthCheck"]}
    for key in ("environment", "secrets"):
        made[key] = {e.get("name"): e.get("value", e.get("valueFrom")) for e in made.get(key) or []}
    return _pruned(made)


def _port(port: Mapping[str, Any], same_ports: bool) -> dict[str, Any]:
    made = {"protocol": "tcp", **port}
    if not made.get("hostPort") or (same_ports and made["hostPort"] == made.get("containerPort")):
        made.pop("hostPort", None)
    return made


def _pruned(table: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what says nothing, at every depth, and put lists of tables in an order."""
    made = {}
    for key, value in table.items():
        pruned = dict(value) if key in _NAMED else _pruned_value(value)
        if pruned is not None and pruned is not False and pruned not in ([], {}):
            made[key] = pruned
    return made


def _pruned_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _pruned(value)
    if isinstance(value, list | tuple):
        items = [_pruned_value(item) for item in value]
        if items and all(isinstance(item, dict) for item in items):
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
        return items
    return value
