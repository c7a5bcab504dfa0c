"""How the worker fills templates in: values first, then blocks, then Prefect's variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PLACEHOLDER = re.compile(r"{{\s*([\w.\-\[\]$]+)\s*}}")
BLOCK, VARIABLE, ENVIRONMENT = "prefect.blocks.", "prefect.variables.", "$"

MISSING: Any = object()

Look = Callable[[str], Any]
"""Finds what a placeholder stands for, or :data:`MISSING`."""


class Refusal(Exception):
    """The worker cannot go on with what it was given.

    Parameters
    ----------
    cause
        A word that must be in what the run is told.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


def filled(template: Any, values: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """Put values in the place of plain placeholders; a key that has none is left out."""
    if isinstance(template, dict):
        made = {key: filled(item, values, environ) for key, item in template.items()}
        return {key: item for key, item in made.items() if item is not MISSING}
    if isinstance(template, list):
        items = [filled(item, values, environ) for item in template]
        return [item for item in items if item is not MISSING]
    if not isinstance(template, str):
        return template
    alone = PLACEHOLDER.fullmatch(template)
    if alone and not alone[1].startswith((BLOCK, VARIABLE, ENVIRONMENT)):
        return at(values, alone[1])

    def text(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith((BLOCK, VARIABLE)):
            return match[0]
        is_env = name.startswith(ENVIRONMENT)
        found = environ.get(name.lstrip("$"), MISSING) if is_env else at(values, name)
        return "" if found is MISSING else str(found)

    return PLACEHOLDER.sub(text, template)


def with_blocks(template: Any, blocks: Sequence[Mapping[str, Any]]) -> Any:
    """Put blocks in the place of references and placeholders."""

    def look(name: str) -> Any:
        slug, _, rest = name.removeprefix(BLOCK).partition(".")
        block_name, _, path = rest.partition(".")
        data = _data(blocks, {"block_type_slug": slug, "name": block_name})
        if data.keys() == {"value"} and not re.match(r"value($|\.|\[)", path):
            data = data["value"]
        found = at(data, path) if path else data
        if found is MISSING:
            raise Refusal(f"no {path} in the block {block_name}", path)
        return found

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            reference = value.get("$ref")
            id = reference.get("block_document_id") if isinstance(reference, dict) else None
            if id:
                return _data(blocks, {"id": id})
            return {key: resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item) for item in value]
        return _substituted(value, BLOCK, look, refuses_tables=True)

    return resolved(template)


def with_variables(template: Any, variables: Mapping[str, Any]) -> Any:
    """Put Prefect's variables in the place of their placeholders; a missing one is empty."""
    if isinstance(template, dict):
        return {key: with_variables(item, variables) for key, item in template.items()}
    if isinstance(template, list):
        return [with_variables(item, variables) for item in template]

    def look(name: str) -> Any:
        return variables.get(name.removeprefix(VARIABLE), "")

    return _substituted(template, VARIABLE, look, refuses_tables=False)


def _substituted(value: Any, prefix: str, look: Look, *, refuses_tables: bool) -> Any:
    if not isinstance(value, str):
        return value
    alone = PLACEHOLDER.fullmatch(value)
    if alone and alone[1].startswith(prefix):
        return look(alone[1])

    def text(match: re.Match[str]) -> str:
        if not match[1].startswith(prefix):
            return match[0]
        found = look(match[1])
        if refuses_tables and isinstance(found, dict | list):
            raise Refusal(f"{match[0]} is no text", match[1])
        return str(found)

    return PLACEHOLDER.sub(text, value)


def _data(blocks: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> dict[str, Any]:
    for block in blocks:
        if wanted.items() <= block.items():
            return dict(block["data"])
    raise Refusal(f"no block {wanted}", list(wanted.values())[-1])


def at(held: Any, path: str) -> Any:
    """Return what lies at a path such as ``a.b[0].c``, or :data:`MISSING`."""
    for part in path.replace("[", ".").replace("]", "").split("."):
        try:
            held = held[int(part) if part.lstrip("-").isdecimal() else part]
        except (IndexError, KeyError, TypeError):
            return MISSING
    return held
