"""What a Prefect 3 server finds when it is asked for flow runs and other rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tests.support.prefect3_state import Invalid, Row
from tests.support.prefect3_store import NotFound, Prefect3Store

LIMIT = 200
"""The most rows that are returned at once."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "flow_runs": {
        "id": "id",
        "name": "name",
        "state.type": "state_type",
        "state.name": "state_name",
        "deployment_id": "deployment_id",
    },
    "work_pools": {"name": "work_pool_name", "id": "work_pool_id"},
    "work_pool_queues": {"name": "work_queue_name", "id": "work_queue_id"},
    "flows": {"id": "id", "name": "name"},
    "deployments": {"id": "id", "name": "name"},
    "variables": {"name": "name", "id": "id"},
    "block_documents": {"name": "name", "id": "id"},
    "logs": {"flow_run_id": "flow_run_id"},
}
"""Which of a row's columns each condition is about."""

RUN_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "flows": {"id": "flow_id"},
    "deployments": {"id": "deployment_id"},
}
"""Where a flow run is asked for by what it belongs to."""


def scheduled(store: Prefect3Store, pool_name: str, asked: Mapping[str, Any]) -> list[Row]:
    """Answer ``get_scheduled_flow_runs``: queues by priority, and in them by time.

    As the server's query does, the limits are counted by what is Pending or Running now, each
    queue's first; it neither locks nor pages.
    """
    pool = store.pools.get(pool_name)
    if pool is None:
        raise NotFound(f'Work pool "{pool_name}" not found.')
    limit = _limit(asked)
    named = asked.get("work_queue_names") or []
    wanted = {store.queue(pool_name, name)["id"] for name in named}
    before, after = (_time(asked.get(key)) for key in ("scheduled_before", "scheduled_after"))
    by_queue: dict[str, list[tuple[datetime, Row]]] = {}
    for run_id, due in store.states.due.items():
        run = store.runs[run_id]
        if run["work_pool_name"] != pool_name or not _is_between(due, after, before):
            continue
        if run["empirical_policy"]["retry_type"] != "in_process":
            by_queue.setdefault(run["work_queue_id"], []).append((due, run))
    found: list[tuple[int, datetime, Row]] = []
    for queue_id, runs in by_queue.items():
        queue = store.queues[queue_id]
        if queue["is_paused"] or pool["is_paused"] or (wanted and queue_id not in wanted):
            continue
        runs.sort(key=lambda item: item[0])
        slots = _slots(store, queue, "work_queue_id")
        found += [(queue["priority"], due, run) for due, run in runs[:slots]]
    found.sort(key=lambda item: item[:2])
    slots = _slots(store, pool, "work_pool_id")
    return [
        {
            "work_pool_id": run["work_pool_id"],
            "work_queue_id": run["work_queue_id"],
            "flow_run": {**run, "state": None},
        }
        for _, _, run in found[:slots][:limit]
    ]


def _slots(store: Prefect3Store, owner: Row, column: str) -> int | None:
    if owner["concurrency_limit"] is None:
        return None
    taken = sum(
        run[column] == owner["id"] and run["state_type"] in ("PENDING", "RUNNING")
        for run in store.runs.values()
    )
    return max(0, owner["concurrency_limit"] - taken)


def filtered(kind: str, rows: Iterable[Row], asked: Mapping[str, Any]) -> list[Row]:
    """Answer a ``filter`` of a kind of rows.

    Raises
    ------
    Invalid
        The server refuses the question; or it would not, but nobody asked it here before.
    """
    limit, offset = _limit(asked), asked.get("offset", 0)
    found = list(rows)
    for about, conditions in asked.items():
        if about in ("limit", "offset", "sort", "include_secrets"):
            continue
        columns = COLUMNS.get(about, {})
        if kind == "flow_runs" and about in RUN_COLUMNS:
            columns = RUN_COLUMNS[about]
        for path, values in _conditions(conditions or {}):
            if path not in columns:
                raise Invalid(f"not played here: {kind} by {about}.{path}")
            held = set(values)
            found = [row for row in found if row[columns[path]] in held]
    sort = asked.get("sort")
    if sort == "ID_DESC":
        found.sort(key=lambda row: str(row["id"]), reverse=True)
    elif sort is not None:
        raise Invalid(f"not played here: the order {sort}")
    return found[offset : offset + limit]


def _conditions(given: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, list[str]]]:
    for key, value in given.items():
        if value is None or key == "is_anonymous":
            continue
        if key == "any_":
            yield path, value
        elif isinstance(value, Mapping):
            yield from _conditions(value, f"{path}.{key}" if path else key)
        else:
            raise Invalid(f"not played here: the condition {path}.{key}")


def _limit(asked: Mapping[str, Any]) -> int:
    limit = asked.get("limit", LIMIT)
    if not isinstance(limit, int) or not 0 <= limit <= LIMIT:
        raise Invalid(f"Invalid limit: must be less than or equal to {LIMIT}.")
    return limit


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _is_between(due: datetime, after: datetime | None, before: datetime | None) -> bool:
    return (after is None or due >= after) and (before is None or due <= before)
