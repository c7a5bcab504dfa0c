"""Applies the rules, and compares."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from tests.parity.ecs_worker.aws.calls import Call

NAMED = ({"name", "value"}, {"name", "valueFrom"}, {"key", "value"})
"""The keys of list items whose order means nothing to ECS."""

OVERRIDES = "containerOverrides"


def normalized(value: Any) -> Any:
    """Put lists of variables, secrets, tags and overridden containers in an order."""
    if isinstance(value, dict):
        made = {key: normalized(value[key]) for key in sorted(value)}
        if isinstance(made.get(OVERRIDES), list):
            made[OVERRIDES] = sorted(made[OVERRIDES], key=lambda c: str(c.get("name")))
        return made
    if isinstance(value, str) and value.startswith("{'"):
        return _of_a_table(value)
    if not isinstance(value, list | tuple):
        return value
    items = [normalized(item) for item in value]
    named = all(isinstance(item, dict) and item.keys() in NAMED for item in items)
    return sorted(items, key=lambda item: json.dumps(item, default=repr)) if named else items


def _of_a_table(text: str) -> str:
    """Put the text of a table in an order: a recording does not tell in which its keys were."""
    try:
        return f"{normalized(literal_eval(text))}"
    except (SyntaxError, ValueError):
        return text


def difference(did: Sequence[Call], expected: Sequence[Call]) -> str | None:
    """Describe where calls first differ from those that are expected, or None."""
    for number, (ours, theirs) in enumerate(zip_longest(did, expected), start=1):
        if ours is None or theirs is None or ours.operation != theirs.operation:
            return (
                f"call {number} is {ours and ours.operation} and not "
                f"{theirs and theirs.operation}:\n  {[c.operation for c in did]}\nand not\n  "
                f"{[c.operation for c in expected]}"
            )
        lines = list(_lines("", normalized(ours.params), normalized(theirs.params)))
        if ours[2:] != theirs[2:]:
            lines.append(f"  is made as {ours[2:]} and not as {theirs[2:]}")
        if lines:
            return f"call {number}, {ours.operation}:\n" + "\n".join(lines)
    return None


def _lines(place: str, ours: Any, theirs: Any) -> Iterable[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _lines(f"{place}.{key}", ours.get(key, ...), theirs.get(key, ...))
    elif isinstance(ours, list) and isinstance(theirs, list):
        more = [item for item in ours if item not in theirs]
        less = [item for item in theirs if item not in ours]
        if len(more) == 1 and len(less) == 1 and isinstance(more[0], dict):
            yield from _lines(f"{place}[]", more[0], less[0])
        elif more or less or len(ours) != len(theirs):
            yield f"  {place}: has {more} more and lacks {less}"
    elif ours != theirs:
        yield f"  {place}: is {ours!r} and not {theirs!r}"
