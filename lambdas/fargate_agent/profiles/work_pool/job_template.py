"""A work pool's base job template, filled in with a run's job variables.

Follows what Prefect's workers do: pool defaults, then the deployment's variables, then the run's;
``env`` merges, all else replaces; a placeholder without a value drops its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.templating import References, fill, parts_of, resolve


def job_configuration(
    base_job_template: Mapping[str, Any],
    *layers: Mapping[str, Any],
    references: References,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Fill a base job template in.

    Parameters
    ----------
    base_job_template
        The pool's: ``variables`` is a JSON schema with defaults, ``job_configuration`` the
        template.
    layers
        Job variables, the weakest first: the deployment's, then the flow run's.
    references
        Reads the blocks and variables that the template or a job variable refers to.
    environment
        What ``{{ $NAME }}`` reads.

    Raises
    ------
    PermanentError
        A job variable has a name that cannot be, or refers to what does not exist.
    """
    template = dict(base_job_template.get("job_configuration", {}))
    values = _defaults(base_job_template)
    default_env, given = values.get("env"), merge_variables(*layers)
    values |= given
    if default_env and isinstance(template.get("env"), Mapping):
        template["env"] = {**template["env"], **_table("env", default_env)}
    elif default_env:
        template["env"] = default_env
    if isinstance(template.get("env"), Mapping) and values.get("env"):
        template["env"] = {**template["env"], **_table("env", values["env"])}
    filled = resolve(fill(template, values, environment), references)
    return filled if isinstance(filled, dict) else {}


def _defaults(base_job_template: Mapping[str, Any]) -> dict[str, Any]:
    properties = (base_job_template.get("variables") or {}).get("properties") or {}
    defaults = {name: schema.get("default") for name, schema in properties.items()}
    return {name: default for name, default in defaults.items() if default is not None}


def merge_variables(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge job variables, the weakest first: ``env`` by name, all else whole.

    A dotted key, as ``env.NAME``, sets one entry of a table: over a weaker layer's, under what its
    own layer or a stronger one says of the whole table.

    Raises
    ------
    PermanentError
        A dotted key leads into a value that is no table.
    """
    nested: dict[str, Any] = {}
    for layer in layers:
        plain = {key: value for key, value in layer.items() if "." not in key}
        if isinstance(nested.get("env"), Mapping) and "env" in plain:
            plain["env"] = {**nested["env"], **_table("env", plain["env"] or {})}
        nested |= plain
    dotted: dict[str, Any] = {}
    for key, value in _dotted(layers):
        _set(dotted, key, value)
    merged = deepcopy(_deep(dotted, nested))
    for index, layer in enumerate(layers):
        for key, value in _dotted([layer]):
            table = parts_of(key)[0]
            if any(table in above for above in layers[index:]):
                continue
            if merged[table] is None:
                merged[table] = {}
            if isinstance(merged[table], Mapping):
                _set(merged, key, value)
    return merged


def _dotted(layers: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for layer in layers for key, value in layer.items() if "." in key)


def _set(table: dict[str, Any], path: str, value: Any) -> None:
    *tables, name = parts_of(path)
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise PermanentError(
                f"The job variable {path!r} leads into another, {part!r}, which is no table. "
                "Remove one of the two."
            )
    table[name] = value


def _deep(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _deep(merged[key], value) if both else value
    return merged


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PermanentError(
            f"The job variable {name!r} is a {type(value).__name__}; it must be a table, such as "
            '{"NAME": "value"}.'
        )
    return value
