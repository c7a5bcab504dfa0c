"""A work pool's base job template, filled in with a run's job variables.

Follows what Prefect's workers do: pool defaults, then the deployment's variables, then the run's;
``env`` merges, all else replaces; a placeholder without a value drops its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fargate_agent.errors import PermanentError

_PLACEHOLDER = re.compile(r"{{\s*([^{}\s]+)\s*}}")
_MISSING = object()


def job_configuration(
    base_job_template: Mapping[str, Any], *layers: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill a base job template in.

    Parameters
    ----------
    base_job_template
        The pool's: ``variables`` is a JSON schema with defaults, ``job_configuration`` the
        template.
    layers
        Job variables, the weakest first: the deployment's, then the flow run's.

    Raises
    ------
    PermanentError
        The template or a variable refers to a block, a Prefect variable or the worker's
        environment, none of which this agent reads.
    """
    properties = base_job_template.get("variables", {}).get("properties", {})
    defaults = {
        name: schema["default"]
        for name, schema in properties.items()
        if schema.get("default") is not None
    }
    variables = merge_variables(defaults, *layers)
    for name, value in variables.items():
        _refuse_references(name, value)
    template = dict(base_job_template.get("job_configuration", {}))
    _refuse_blocks("work pool's base job template", template)
    if isinstance(template.get("env"), dict):  # written out in the template: variables add to it
        template["env"] = {**template["env"], **(variables.get("env") or {})}
    filled = _fill(template, variables)
    return filled if isinstance(filled, dict) else {}


def merge_variables(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge job variables, the weakest first: ``env`` by name, all else whole."""
    merged: dict[str, Any] = {}
    for layer in map(_nested, layers):
        env = {**(merged.get("env") or {}), **(layer.get("env") or {})}
        merged |= layer
        if env:
            merged["env"] = env
    return merged


def _nested(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Expand dotted keys, as ``env.NAME``; what is nested already stands above them."""
    expanded: dict[str, Any] = {}
    for key, value in layer.items():
        *tables, name = key.split(".")
        table = expanded
        for part in tables:
            table = table.setdefault(part, {})
        if tables:
            table[name] = value
    for key, value in layer.items():
        if "." not in key:
            both = isinstance(value, dict) and isinstance(expanded.get(key), dict)
            expanded[key] = {**expanded[key], **value} if both else value
    return expanded


def _fill(template: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        filled = {key: _fill(value, variables) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not _MISSING}
    if isinstance(template, list):
        return [item for item in (_fill(i, variables) for i in template) if item is not _MISSING]
    if not isinstance(template, str):
        return template
    alone = _PLACEHOLDER.fullmatch(template.strip())
    if alone:
        return variables.get(_plain(alone[1]), _MISSING)
    return _PLACEHOLDER.sub(lambda match: str(variables.get(_plain(match[1]), "")), template)


def _plain(name: str) -> str:
    if name.startswith(("prefect.", "$", "ctx.")):
        raise PermanentError(
            f"The work pool's base job template refers to '{{{{ {name} }}}}'. This agent resolves "
            "job variables only, not blocks, Prefect variables or a worker's environment: write "
            "the value into the template or a job variable."
        )
    return name


def _refuse_references(variable: str, value: Any) -> None:
    _refuse_blocks(f"job variable {variable!r}", value)
    for place, text in _texts(value):
        found = _PLACEHOLDER.search(text)
        if found and found[1].startswith(("prefect.", "$")):
            # The whole text may hold a secret beside the placeholder.
            raise PermanentError(
                f"The job variable '{variable}{place}' refers to '{found[0]}'. This agent does not "
                "read blocks, Prefect variables or a worker's environment: write the plain value "
                "into the deployment's or the run's job variables."
            )


def _refuse_blocks(where: str, value: Any) -> None:
    if isinstance(value, dict) and "$ref" in value:
        raise PermanentError(
            f"The {where} refers to a block. This agent does not read blocks: write the plain "
            "value into the deployment's or the run's job variables."
        )
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _refuse_blocks(where, item)


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Return every text in a value, with its place, as ``.NAME`` or ``[0]``."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}[{index}]")
