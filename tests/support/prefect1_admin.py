"""Lets another process fill and inspect a stand-in for Prefect 1, as JSON.

- ``POST /_admin/flows`` takes what ``add_flow`` does and answers with the flow;
- ``POST /_admin/runs`` takes what ``add_run`` does, with ``flow_id`` and, as the time it is due,
  ``due`` (ISO 8601) or ``due_in`` (seconds), and answers with the run;
- ``POST /_admin/task_runs`` takes what ``add_task_run`` does, with ``flow_run_id``;
- ``GET /_admin/runs`` answers with all runs, their history, logs and task runs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.json_http import Answer, Request
from tests.support.prefect1_schema import Row
from tests.support.prefect1_state import Prefect1Store


def administer(store: Prefect1Store, request: Request) -> Answer:
    """Answer a call of the endpoints above."""
    try:
        with store.lock:
            return _administer(store, request, json.loads(request.body or b"{}"))
    except (KeyError, TypeError, ValueError) as error:
        return Answer(400, repr(error))


def _administer(store: Prefect1Store, request: Request, given: dict[str, Any]) -> Answer:
    due_in = given.pop("due_in", None)
    if due_in is not None:
        given["due"] = datetime.now(UTC) + timedelta(seconds=due_in)
    elif "due" in given:
        given["due"] = datetime.fromisoformat(given["due"])
    match request.method, request.path:
        case "POST", "/_admin/flows":
            return Answer.json(201, store.add_flow(**given))
        case "POST", "/_admin/runs":
            flow = store.flows[given.pop("flow_id")]
            return Answer.json(201, _plain(store.add_run(flow, **given)))
        case "POST", "/_admin/task_runs":
            run = store.runs[given.pop("flow_run_id")]
            return Answer.json(201, _plain(store.add_task_run(run, **given)))
        case "GET", "/_admin/runs":
            return Answer.json(200, [_overview(store, run) for run in store.runs.values()])
    return Answer(404, f"no {request.method} {request.path}")


def _overview(store: Prefect1Store, run: Row) -> Row:
    return {
        **_plain(run),
        "history": store.history(run["id"]),
        "logs": store.logs(run["id"]),
        "task_runs": [
            {**_plain(task_run), "history": store.history(task_run["id"])}
            for task_run in run["task_runs"]
        ],
    }


def _plain(row: Row) -> Row:
    """Leave out what a row refers to: rows that refer back to it."""
    return {name: row[name] for name in row.keys() - {"flow_run", "task_runs"}}
