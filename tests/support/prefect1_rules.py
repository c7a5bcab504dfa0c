"""The rules of a Prefect 1 server: what agents and flows get when they ask for a change."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from tests.support.graphql_text import GraphqlError
from tests.support.prefect1_schema import Row, find
from tests.support.prefect1_state import OCCUPYING, SCHEDULED, Prefect1Store, new_state


def register_agent(store: Prefect1Store, agent: Mapping[str, Any], core_version: str | None) -> str:
    """Return the id of the agent that is equal in all but its settings, or of a new one."""
    key = {
        "tenant_id": agent.get("tenant_id"),
        "name": agent.get("name"),
        "type": agent.get("type"),
        "core_version": core_version,
        "labels": sorted(agent.get("labels") or []),
    }
    with store.lock:
        for known in store.agents:
            if key.items() <= known.items():
                return str(known["id"])
        config = agent.get("agent_config_id")
        new = {**key, "id": str(uuid.uuid4()), "agent_config_id": config, "last_queried": None}
        store.agents.append(new)
        return str(new["id"])


def runs_in_queue(
    store: Prefect1Store,
    tenant_id: str,
    before: str | None,
    labels: Iterable[str],
    agent_id: str | None,
) -> list[str]:
    """Return the ids of runs that are due, or have a task run that is, and fit the labels."""
    before = before or store.now().isoformat()
    waiting = {"state": {"_in": SCHEDULED}, "state_start_time": {"_lte": before}}
    running = {"state": {"_eq": "Running"}, "task_runs": waiting}
    where = {"tenant_id": {"_eq": tenant_id}, "_or": [waiting, running]}
    order = {"state_start_time": "asc"}
    with store.lock:
        # The server looks at three times the limit, and at labels only then: runs with other
        # labels can hide a run that fits.
        rows = find(
            "flow_run",
            list(store.runs.values()),
            {"where": where, "order_by": order, "limit": 3 * store.queue_limit},
        )
        for agent in store.agents:
            if agent["id"] == agent_id:
                agent["last_queried"] = store.now().isoformat()
    wanted = set(labels)
    fitting = [run["id"] for run in rows if _fits(set(run["labels"]), wanted)]
    return fitting[: store.queue_limit]


def set_flow_run_state(
    store: Prefect1Store, change: Mapping[str, Any], agent_id: str | None
) -> Row:
    """Apply one of ``set_flow_run_states``' changes and return its payload."""
    id_, state = change["flow_run_id"], change["state"]
    with store.lock:
        run = store.runs.get(id_)
        failure = f"State update failed for flow run ID {id_}"
        if run is None:
            raise GraphqlError(failure)
        if not _version_fits(run["flow"], run, change.get("version")):
            raise GraphqlError(failure, store.conflict_code)
        if state.get("type") == "Cancelled":
            store.cancel_task_runs(run)
        if state.get("type") in {"Submitted", "Running"} and not _has_slot(store, run):
            if store.full_slots == "refuse" and state.get("type") == "Submitted":
                raise GraphqlError("Unable to get flow run concurrency slot. Aborting.")
            _queue(store, run, agent_id)
        else:
            store.put(run, state, agent_id)
            if state.get("type") == "Submitted" and agent_id:
                run["agent_id"] = agent_id
        status = "QUEUED" if run["state"] == "Queued" else "SUCCESS"
        return {"id": id_, "status": status, "message": None}


def set_task_run_state(
    store: Prefect1Store, change: Mapping[str, Any], agent_id: str | None
) -> Row:
    """Apply one of ``set_task_run_states``' changes and return its payload."""
    id_, state = change["task_run_id"], dict(change["state"])
    failure = f"State update failed for task run ID {id_}"
    with store.lock:
        task_run = store.task_runs.get(id_)
        if task_run is None:
            raise GraphqlError(failure)
        run = task_run["flow_run"]
        if not (
            _version_fits(run["flow"], task_run, change.get("version"))
            and _version_fits(run["flow"], run, change.get("flow_run_version"))
        ):
            raise GraphqlError(failure, store.conflict_code)
        if state.get("type") == "Running" and run["state"] != "Running":
            raise GraphqlError(
                f"{failure}: provided a running state but associated flow run {run['id']} "
                "is not in a running state."
            )
        if not state.get("cached_inputs"):
            state["cached_inputs"] = task_run["serialized_state"].get("cached_inputs")
        store.put(task_run, state, agent_id)
        return {"id": id_, "status": "SUCCESS", "message": None}


def _has_slot(store: Prefect1Store, run: Row) -> bool:
    own = run["state"] in OCCUPYING
    occupied = [one for one in store.runs.values() if one["state"] in OCCUPYING]
    return all(
        store.concurrency_limits[label] > sum(label in one["labels"] for one in occupied) - own
        for label in run["labels"]
        if label in store.concurrency_limits
    )


def _queue(store: Prefect1Store, run: Row, agent_id: str | None) -> None:
    if run["state"] == "Queued":
        return  # stays as it is, so that its time does not move on for ever
    queued = new_state(
        "Queued",
        "Queued by flow run concurrency limit",
        store.now() + timedelta(seconds=store.queue_seconds),
    )
    store.put(run, {**queued, "state": run["serialized_state"]}, agent_id)


def _version_fits(flow: Row, row: Row, version: int | None) -> bool:
    """Whether a version is current, where the flow asks for it; null is not compared."""
    return not flow["version_locking"] or version is None or version == row["version"]


def _fits(run_labels: set[str], agent_labels: set[str]) -> bool:
    return run_labels <= agent_labels and bool(run_labels) == bool(agent_labels)
