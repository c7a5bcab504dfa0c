"""Endpoints of a Prefect 3 server about flow runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.json_http import Answer
from tests.support.prefect3_answers import NOTHING, Body, Store, shown
from tests.support.prefect3_queries import filtered
from tests.support.prefect3_state import Invalid
from tests.support.prefect3_store import NotFound

RUN_FIELDS = ("name", "flow_version", "parameters", "tags", "infrastructure_pid", "job_variables")

# -- flow runs


def read_run(store: Store, _body: Body, id: str) -> Any:
    return shown(store.run(id))


def change_run(store: Store, body: Body, id: str) -> Any:
    run = store.run(id)
    if body.get("job_variables") is not None and run["state_type"] != "SCHEDULED":
        reason = f"Job variables for a flow run in state {run['state_type']} cannot be updated"
        return Answer.json(400, {"detail": reason})
    changes = {key: value for key, value in body.items() if key in RUN_FIELDS}
    if "empirical_policy" in body:
        changes["empirical_policy"] = {**run["empirical_policy"], **body["empirical_policy"]}
    unknown = body.keys() - {*RUN_FIELDS, "empirical_policy"}
    if unknown:
        raise Invalid(f"Extra inputs are not permitted: {sorted(unknown)}")
    store.change(run, **changes)
    return NOTHING


def label_run(store: Store, body: Body, id: str) -> Any:
    if store.is_2:
        raise NotFound("Not Found")
    run = store.run(id)
    run["labels"] = {**run["labels"], **body}
    return NOTHING


def delete_run(store: Store, _body: Body, id: str) -> Any:
    store.delete_run(id)
    return NOTHING


def find_runs(store: Store, body: Body) -> Any:
    return [shown(run) for run in filtered("flow_runs", store.runs.values(), body)]


def set_state(store: Store, body: Body, id: str) -> Any:
    run = store.run(id)
    held = run["state_id"]
    answer = store.states.propose(run, body["state"], force=body.get("force", False))
    is_new = answer["state"] is not None and run["state_id"] != held
    return Answer.json(201 if is_new else 200, answer)


def resume(store: Store, _body: Body, id: str) -> Any:
    run = store.run(id)
    if run["state_type"] != "PAUSED":
        reason = "Cannot resume a flow run that is not paused."
        details = {"type": "abort_details", "reason": reason}
        return {"state": None, "status": "ABORT", "details": details}
    if run["state"]["state_details"]["pause_reschedule"]:
        return store.resume(id)
    return store.running(id)


def read_states(store: Store, _body: Body, query: Mapping[str, str]) -> Any:
    return store.history(query["flow_run_id"])
