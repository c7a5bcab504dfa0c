"""The part of Prefect 1's GraphQL schema that agents use, and what Hasura does for its rows.

Names and types are those of the open-source server.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.graphql_text import Field, GraphqlError

Row = dict[str, Any]

_STATE_COLUMNS = (
    "id version state serialized_state state_start_time state_message state_timestamp tenant_id"
)


def _scalars(names: str) -> dict[str, str | None]:
    return dict.fromkeys(names.split())


#: The fields of each type; a field with fields of its own names their type.
TYPES: dict[str, dict[str, str | None]] = {
    "query_root": {
        "hello": None,
        "auth_info": "auth_info",
        "tenant": "tenant",
        "agent_config": "agent_config",
        "flow": "flow",
        "flow_run": "flow_run",
        "flow_run_by_pk": "flow_run",
        "flow_run_state": "flow_run_state",
        "task_run": "task_run",
    },
    "mutation_root": {
        "register_agent": "agent_id_payload",
        "get_runs_in_queue": "runs_in_queue_payload",
        "set_flow_run_states": "set_states_payload",
        "set_task_run_states": "set_states_payload",
        "write_run_logs": "success_payload",
    },
    "auth_info": _scalars("api_token_scope tenant_id"),
    "tenant": _scalars("id name slug"),
    "agent_config": _scalars("id name settings"),
    "flow": _scalars("id name version core_version storage environment run_config"),
    "flow_run": {
        **_scalars(_STATE_COLUMNS),
        **_scalars("name labels parameters context scheduled_start_time run_config"),
        **_scalars("flow_id agent_id"),
        "flow": "flow",
        "task_runs": "task_run",
    },
    "task_run": {
        **_scalars(_STATE_COLUMNS),
        **_scalars("task_id flow_run_id map_index"),
        "flow_run": "flow_run",
    },
    "flow_run_state": _scalars("flow_run_id state message version timestamp start_time"),
    "agent_id_payload": _scalars("id"),
    "runs_in_queue_payload": _scalars("flow_run_ids"),
    "set_states_payload": {"states": "set_state_payload"},
    "set_state_payload": _scalars("id status message"),
    "success_payload": _scalars("success error"),
}

#: The fields of each input type, in the schema's own words.
INPUTS: dict[str, dict[str, str]] = {
    "register_agent": {
        "tenant_id": "UUID",
        "labels": "[String!]",
        "agent_config_id": "UUID",
        "type": "String!",
        "name": "String",
    },
    "get_runs_in_queue": {"tenant_id": "UUID", "before": "DateTime", "labels": "[String!]"},
    "set_flow_run_states": {"states": "[set_flow_run_state!]!"},
    "set_flow_run_state": {"flow_run_id": "UUID!", "version": "Int", "state": "JSON!"},
    "set_task_run_states": {"states": "[set_task_run_state!]!"},
    "set_task_run_state": {
        "task_run_id": "UUID!",
        "version": "Int",
        "state": "JSON!",
        "flow_run_version": "Int",
    },
    "write_run_logs": {"logs": "[write_run_log!]!"},
    "write_run_log": {
        "flow_run_id": "UUID!",
        "task_run_id": "UUID",
        "timestamp": "DateTime",
        "message": "String",
        "name": "String",
        "level": "log_level",
        "info": "JSON",
    },
}

_LOG_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
_INSTANTS = {"state_start_time", "state_timestamp", "scheduled_start_time", "timestamp"}
_ROW_ARGUMENTS = {"where", "order_by", "limit", "offset"}
_DEEPEST = 7  # the gateway's limit
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "_eq": operator.eq,
    "_neq": operator.ne,
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
    "_in": lambda value, many: value in many,
    "_nin": lambda value, many: value not in many,
    "_contains": lambda value, part: all(item in value for item in part),
}


def instant(text: str) -> datetime:
    """Read a DateTime; one without an offset is UTC."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def validate(type_name: str, fields: Iterable[Field], depth: int = 0) -> None:
    """Refuse fields, arguments and depths the schema does not have."""
    if depth > _DEEPEST:
        raise _invalid(f"'' exceeds maximum operation depth of {_DEEPEST}")
    for field in fields:
        if field.name not in TYPES[type_name]:
            raise _invalid(f'Cannot query field "{field.name}" on type "{type_name}".')
        target = TYPES[type_name][field.name]
        if target is None and field.selections:
            raise _invalid(f'Field "{field.name}" must not have a selection.')
        if target is not None and not field.selections:
            raise _invalid(f'Field "{field.name}" of type "{target}" must have a selection.')
        for name in field.arguments:
            if name not in _arguments_of(type_name, field.name):
                raise _invalid(f'Unknown argument "{name}" on field "{field.name}".')
        if target is not None:
            validate(target, field.selections, depth + 1)


def _arguments_of(type_name: str, field: str) -> set[str]:
    if type_name == "mutation_root":
        return {"input"}
    if field == "flow_run_by_pk":
        return {"id"}
    return _ROW_ARGUMENTS if type_name in {"query_root", "flow_run"} else set()


def check_input(kind: str, value: Any, path: str = "input") -> None:
    """Refuse a value that is not of an input type, which may be written ``[name!]!``."""
    if kind.endswith("!"):
        if value is None:
            raise _bad_value(value, path, f'Expected non-nullable type "{kind}" not to be null.')
        kind = kind[:-1]
    if value is None:
        return
    if kind.startswith("["):
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            check_input(kind[1:-1], item, f"{path}[{number}]")
    elif kind in INPUTS:
        _check_fields(kind, value, path)
    elif not _is_scalar(kind, value):
        raise _bad_value(value, path, f'Expected type "{kind}".')


def _check_fields(kind: str, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise _bad_value(value, path, f'Expected type "{kind}_input" to be an object.')
    for name in value.keys() - INPUTS[kind].keys():
        raise _bad_value(value, path, f'Field "{name}" is not defined by type "{kind}_input".')
    for name, field_kind in INPUTS[kind].items():
        check_input(field_kind, value.get(name), f"{path}.{name}")


def _is_scalar(kind: str, value: Any) -> bool:
    if kind == "Int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "JSON":
        return True
    if not isinstance(value, str):
        return False
    if kind == "DateTime":
        try:
            instant(value)
        except ValueError:
            return False
    return kind != "log_level" or value in _LOG_LEVELS


def find(type_name: str, rows: Sequence[Row], arguments: Mapping[str, Any]) -> list[Row]:
    """Return the rows that ``where``, ``order_by``, ``limit`` and ``offset`` leave, in order."""
    found = [row for row in rows if _matches(type_name, row, arguments.get("where") or {})]
    order = arguments.get("order_by") or []
    for keys in reversed(order if isinstance(order, list) else [order]):
        for column, direction in reversed(keys.items()):
            _sort(found, column, descending=direction.startswith("desc"))
    start = arguments.get("offset") or 0
    limit = arguments.get("limit")
    return found[start:] if limit is None else found[start : start + limit]


def _sort(rows: list[Row], column: str, *, descending: bool) -> None:
    """Sort as Postgres does: nulls come last in ascending order."""
    rows.sort(key=lambda row: (row[column] is None, row[column] or ""), reverse=descending)


def _matches(type_name: str, row: Row, where: Mapping[str, Any]) -> bool:
    return all(_holds(type_name, row, key, condition) for key, condition in where.items())


def _holds(type_name: str, row: Row, key: str, condition: Any) -> bool:
    if key in {"_and", "_or"}:
        parts = condition if isinstance(condition, list) else [condition]
        results = [_matches(type_name, row, part) for part in parts]
        return all(results) if key == "_and" else any(results)
    if key == "_not":
        return not _matches(type_name, row, condition)
    if key not in TYPES[type_name]:
        raise _invalid(f'Field "{key}" is not defined by type "{type_name}_bool_exp".')
    target = TYPES[type_name][key]
    if target is not None:
        related = row[key] if isinstance(row[key], list) else [row[key]]
        return any(_matches(target, one, condition) for one in related)
    return all(_compare(key, row[key], name, operand) for name, operand in condition.items())


def _compare(column: str, value: Any, name: str, operand: Any) -> bool:
    if name != "_is_null" and name not in _COMPARISONS:
        raise _invalid(f'Field "{name}" is not defined by type "{column}_comparison_exp".')
    if operand is None:
        return True  # Hasura 1 leaves a comparison with null out
    if name == "_is_null":
        return (value is None) is operand
    if value is None:
        return False
    if column in _INSTANTS:
        value = instant(value)
        operand = [instant(one) for one in operand] if name in {"_in", "_nin"} else instant(operand)
    return bool(_COMPARISONS[name](value, operand))


def select(type_name: str, value: Any, fields: Iterable[Field]) -> Any:
    """Return the selected fields of a row or payload, or of each in a list."""
    if isinstance(value, list):
        return [select(type_name, item, fields) for item in value]
    if value is None:
        return None
    return {field.alias: _selected(type_name, value, field) for field in fields}


def _selected(type_name: str, row: Row, field: Field) -> Any:
    target = TYPES[type_name][field.name]
    value = row.get(field.name)
    if target is None:
        return value
    if type_name == "flow_run" and isinstance(value, list):
        value = find(target, value, field.arguments)
    return select(target, value, field.selections)


def _invalid(message: str) -> GraphqlError:
    return GraphqlError(message, "GRAPHQL_VALIDATION_FAILED", 400)


def _bad_value(value: Any, path: str, why: str) -> GraphqlError:
    shown = "null" if value is None else repr(value)
    message = f'Variable "$input" got invalid value {shown} at "{path}"; {why}'
    return GraphqlError(message, "BAD_USER_INPUT", 400)
