"""``-c section.key=value``: settings given on the CDK command line, above those of the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

_FLAG = re.compile(r"[a-z][a-z_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


def settings_among(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of the CDK context that name a setting, by their dotted key."""
    return {key: value for key, value in context.items() if _FLAG.fullmatch(key)}


def apply(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in a settings file's tables.

    Raises
    ------
    ValueError
        A part of the key is no table in the file.
    """
    *sections, name = key.split(".")
    table = raw
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ValueError(f"{section} is not a table")
    table[name] = value


def read(value: Any, *, as_text: bool) -> Any:
    """Read a flag's value as TOML would, or as text where the setting wants text.

    What ``cdk.json`` holds in its context may be typed already, and stays so.
    """
    if as_text or not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def wants_text(model: type[BaseModel], key: str) -> bool:
    """Tell whether a setting is text, so that ``5`` or ``true`` given for it are text too."""
    section, _, name = key.partition(".")
    field = model.model_fields.get(section)
    fields = getattr(field.annotation, "model_fields", {}) if field else {}
    found = fields.get(name.partition(".")[0])
    if found is None:
        return False
    kinds = {found.annotation, *get_args(found.annotation)}
    if get_origin(found.annotation) is dict:  # agent.env.NAME: text to text
        return get_args(found.annotation)[1] is str
    return get_origin(found.annotation) is not list and (
        str in kinds or any(isinstance(kind, str) for kind in kinds)
    )
