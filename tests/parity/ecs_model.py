"""What botocore's model of ECS says of users' kwargs: the suite's own reading of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

_MODEL = botocore.session.get_session().get_service_model("ecs")
DEFINITION: Any = _MODEL.operation_model("RegisterTaskDefinition").input_shape
REQUEST: Any = _MODEL.operation_model("RunTask").input_shape
CONTAINER: Any = DEFINITION.members["containerDefinitions"].member

OURS = frozenset({"clientToken", "count", "referenceId", "startedBy", "taskDefinition"})
"""The parameters that a user may not set."""


def shape_of(key: str) -> Any:
    """Return the shape of a parameter of either call, or None."""
    return DEFINITION.members.get(key) or REQUEST.members.get(key)


def is_text(key: str) -> bool:
    """Tell whether ECS wants a parameter as text."""
    shape = shape_of(key)
    return shape is not None and shape.type_name == "string"


def literal(value: Any) -> Any:
    """Parse a Python literal as the legacy agent did, whatever the parameter."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def structure(value: Any) -> Any:
    """Parse a Python literal or JSON, for a parameter that is no text."""
    if not isinstance(value, str):
        return value
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(value)
        except (ValueError, SyntaxError, TypeError):
            continue
    return value


def text(value: Any) -> Any:
    """Take the quotes off a text that is a Python literal of one."""
    read = literal(value)
    return read if isinstance(read, str) else value


def parsed(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return kwargs with text parsed where ECS wants no text, and integer sizes as text."""
    made = {k: text(v) if is_text(k) else structure(v) for k, v in kwargs.items()}
    for size in ("cpu", "memory"):
        if type(made.get(size)) is int:
            made[size] = str(made[size])
    containers = made.get("containerDefinitions")
    if isinstance(containers, list):
        made["containerDefinitions"] = [
            {
                key: text(value)
                if getattr(CONTAINER.members.get(key), "type_name", "string") == "string"
                else structure(value)
                for key, value in container.items()
            }
            if isinstance(container, dict)
            else container
            for container in containers
        ]
    return made


def not_ours_to_set(kwargs: Mapping[str, Any]) -> list[str]:
    """Name the parameters that only the agent sets; one that says the same as it may stay."""
    left = parsed(kwargs)
    named = sorted(OURS & left.keys())
    if left.get("count") == 1 and left["count"] is not True:
        named.remove("count")
    if "taskDefinition" in left and left["taskDefinition"] == left.get("family", ...):
        named.remove("taskDefinition")
    return named


def unknown(kwargs: Mapping[str, Any]) -> list[str]:
    """Name the parameters that ECS does not have."""
    return [key for key in kwargs if shape_of(key) is None]


def wrong(kwargs: Mapping[str, Any], *, several: bool) -> list[str]:
    """Name the parameters with a value that botocore refuses, or that cannot be merged.

    Parameters
    ----------
    several
        There may be any number of container definitions.
    """
    values = parsed(kwargs)
    found = [key for key, value in values.items() if _is_wrong(key, value)]
    if found:
        return found
    containers = values.get("containerDefinitions", [{}])
    entries = [
        entry
        for container in containers
        for key in ("environment", "secrets")
        for entry in container.get(key, [])
    ]
    if not all(entry.get("name") for entry in entries) or (not several and len(containers) != 1):
        return ["containerDefinitions"]
    return []


def _is_wrong(key: str, value: Any) -> bool:
    if key in DEFINITION.members:
        return not is_valid({"family": "", "containerDefinitions": [], key: value}, DEFINITION)
    return key in REQUEST.members and not is_valid({"taskDefinition": "", key: value}, REQUEST)


def is_valid(params: Mapping[str, Any], shape: Any) -> bool:
    """Tell whether botocore would send these parameters."""
    return not ParamValidator().validate(params, shape).has_errors()
