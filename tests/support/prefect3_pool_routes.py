"""Endpoints of a Prefect 3 server about work pools, queues, flows and deployments."""

from __future__ import annotations

from typing import Any

from tests.support.json_http import Answer
from tests.support.prefect3_answers import NOTHING, Body, Store, created, shown
from tests.support.prefect3_queries import filtered, scheduled
from tests.support.prefect3_state import stamped
from tests.support.prefect3_store import NotFound, found

# -- work pools


def read_pool(store: Store, _body: Body, pool: str) -> Any:
    if pool not in store.pools:
        raise NotFound(f'Work pool "{pool}" not found.')
    return store.pools[pool]


def create_pool(store: Store, body: Body) -> Any:
    if body["name"] in store.pools:
        return Answer.json(409, {"detail": "A work pool with this name already exists."})
    return created(store.add_work_pool(**{"base_job_template": {}, **body}))


def change_pool(store: Store, body: Body, pool: str) -> Any:
    store.change_pool(pool, **body)
    return NOTHING


def heartbeat(store: Store, body: Body, pool: str) -> Any:
    row = read_pool(store, {}, pool)
    if row["status"] != "READY":
        store.change_pool(pool, status="READY")
    worker = {**body, "status": "ONLINE", "last_heartbeat_time": stamped(store.now())}
    store.workers[pool, body["name"]] = worker
    return NOTHING


def due_runs(store: Store, body: Body, pool: str) -> Any:
    return scheduled(store, pool, body)


def find_queues(store: Store, body: Body, pool: str) -> Any:
    read_pool(store, {}, pool)
    rows = (queue for queue in store.queues.values() if queue["work_pool_name"] == pool)
    return filtered("queues", rows, body)


def create_queue(store: Store, body: Body, pool: str) -> Any:
    return created(store.add_queue(pool=pool, **body))


def read_queue(store: Store, _body: Body, pool: str, name: str) -> Any:
    return store.queue(pool, name)


def change_queue(store: Store, body: Body, pool: str, name: str) -> Any:
    store.change(store.queue(pool, name), **body)
    return NOTHING


# -- flows and deployments


def create_flow(store: Store, body: Body) -> Any:
    return created(store.add_flow(body["name"]))


def read_flow(store: Store, _body: Body, id: str) -> Any:
    return found(store.flows, id, "Flow")


def find_flows(store: Store, body: Body) -> Any:
    return filtered("flows", store.flows.values(), body)


def create_deployment(store: Store, body: Body) -> Any:
    given = dict(body)
    flow = found(store.flows, given.pop("flow_id"), "Flow")
    pool, queue = given.pop("work_pool_name"), given.pop("work_queue_name", None) or "default"
    read_pool(store, {}, pool)
    given.setdefault("job_variables", {})
    return created(store.add_deployment(flow, pool=pool, queue=queue, **given))


def read_deployment(store: Store, _body: Body, id: str) -> Any:
    return found(store.deployments, id, "Deployment")


def change_deployment(store: Store, body: Body, id: str) -> Any:
    store.change_deployment(id, **body)
    return NOTHING


def delete_deployment(store: Store, _body: Body, id: str) -> Any:
    store.delete_deployment(id)
    return NOTHING


def find_deployments(store: Store, body: Body) -> Any:
    return filtered("deployments", store.deployments.values(), body)


def create_run(store: Store, body: Body, id: str) -> Any:
    deployment = found(store.deployments, id, "Deployment")
    policy = body.get("empirical_policy") or {}
    run = store.add_run(
        deployment,
        name=body.get("name"),
        job_variables=body.get("job_variables"),
        state=body.get("state"),
        retries=policy.get("retries"),
        retry_delay=policy.get("retry_delay"),
    )
    return created(shown(run))
