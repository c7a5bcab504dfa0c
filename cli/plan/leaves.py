"""A request as single values, each by a path that a person can read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fargate_agent.drift import completed


def leaves_of_definition(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return a definition's values, as ECS would complete them, by their paths.

    Parameters
    ----------
    definition
        Keyword arguments of ``register_task_definition``, or what ECS describes.
    """
    if not definition:
        return {}
    table, containers = completed(definition)
    # Every container is essential that does not say otherwise.
    named = {f"containerDefinitions[{name}]": fields for name, fields in containers.items()}
    return dict(_leaves({**table, **named}))


def leaves_of_request(request: Mapping[str, Any]) -> dict[str, str]:
    """Return a ``run_task`` request's values by their paths."""
    return dict(_leaves(request))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value and all(map(_name_of, value)):
        for item in value:
            yield from _named(item, path)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _named(item: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield what an item says by its name: of a variable or a tag the value, of a table all."""
    name = _name_of(item)
    rest = {key: value for key, value in item.items() if key not in ("name", "key")}
    if rest.keys() <= {"value", "valueFrom"}:
        yield f"{path}[{name}]", next(iter(rest.values()), "")
    else:
        yield from _leaves(rest, f"{path}[{name}]")


def _name_of(item: Any) -> str | None:
    """Return what an item of a list is known by, if it is a table with a name or key."""
    return (item.get("name") or item.get("key")) if isinstance(item, Mapping) else None
