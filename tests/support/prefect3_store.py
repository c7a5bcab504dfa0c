"""What a Prefect 3 server keeps, and the users who put it there."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.support.prefect3_state import Row, stamped
from tests.support.prefect3_states import States
from tests.support.prefect3_templates import ecs_template


class NotFound(Exception):
    """There is no such row."""


class Prefect3Store:
    """Work pools, deployments and flow runs, as dicts of what the API serves.

    Rows stay live: a row returned once shows what later calls did to it.

    Parameters
    ----------
    now
        The server's clock.
    version
        The server's version; with one of Prefect 2 it lacks what that lacks.
    """

    def __init__(self, *, now: Callable[[], datetime], version: str) -> None:
        self.now = now
        self.version = version
        self.lock = threading.RLock()
        self.pools: dict[str, Row] = {}
        self.queues: dict[str, Row] = {}
        self.flows: dict[str, Row] = {}
        self.deployments: dict[str, Row] = {}
        self.runs: dict[str, Row] = {}
        self.blocks: dict[str, Row] = {}
        self.variables: dict[str, Row] = {}
        self.workers: dict[tuple[str, str], Row] = {}
        self.log_lines: list[Row] = []
        self._events: dict[str, Row] = {}
        self.states = States(self.deployments, now, is_2=self.is_2)

    @property
    def is_2(self) -> bool:
        """Whether it is a server of Prefect 2."""
        return self.version.startswith("2.")

    @property
    def events(self) -> list[Row]:
        """The events that were recorded, each once."""
        return list(self._events.values())

    def record(self, event: Row) -> None:
        """Keep an event, unless it is there already."""
        self._events.setdefault(event["id"], event)

    # -- what a user makes ---------------------------------------------------------------------

    def add_work_pool(self, name: str = "fargate", **fields: Any) -> Row:
        """Make a pool with its default queue; without a template it has the server's own."""
        with self.lock:
            pool = self._row(
                name=name,
                type="ecs",
                description=None,
                is_paused=False,
                concurrency_limit=None,
                status="NOT_READY",
            )
            pool.update({key: value for key, value in fields.items() if value is not None})
            pool.setdefault("base_job_template", ecs_template())
            self.pools[name] = pool
            pool["default_queue_id"] = self.add_queue("default", pool=name)["id"]
            return pool

    def add_queue(
        self, name: str, *, pool: str = "fargate", priority: int | None = None, **fields: Any
    ) -> Row:
        """Make a queue of a pool, by default behind all others."""
        with self.lock:
            owner = found(self.pools, pool, f'Work pool "{pool}"')
            others = [q for q in self.queues.values() if q["work_pool_name"] == pool]
            if priority is None:
                priority = max((queue["priority"] for queue in others), default=0) + 1
            for other in others:
                other["priority"] += other["priority"] >= priority
            queue = self._row(
                name=name,
                description="",
                is_paused=False,
                concurrency_limit=None,
                priority=priority,
                work_pool_id=owner["id"],
                work_pool_name=pool,
                **fields,
            )
            self.queues[queue["id"]] = queue
            return queue

    def queue(self, pool: str, name: str) -> Row:
        """Return a queue by its name."""
        for queue in self.queues.values():
            if (queue["work_pool_name"], queue["name"]) == (pool, name):
                return queue
        raise NotFound(f"Work pool queue '{pool}/{name}' not found.")

    def add_flow(self, name: str = "etl") -> Row:
        """Register a flow, or return the one of that name."""
        with self.lock:
            for flow in self.flows.values():
                if flow["name"] == name:
                    return flow
            flow = self._row(name=name, tags=[], labels={})
            self.flows[flow["id"]] = flow
            return flow

    def add_deployment(
        self,
        flow: Row | None = None,
        *,
        name: str | None = None,
        pool: str = "fargate",
        queue: str = "default",
        job_variables: Mapping[str, Any] | None = None,
        concurrency_limit: int | None = None,
        **fields: Any,
    ) -> Row:
        """Deploy a flow; the flow, the pool and the queue are made if missing."""
        with self.lock:
            flow = flow or self.add_flow()
            if pool not in self.pools:
                self.add_work_pool(pool)
            try:
                held = self.queue(pool, queue)
            except NotFound:
                held = self.add_queue(queue, pool=pool)
            variables = {"image": "example/flows:1"} if job_variables is None else job_variables
            deployment = self._row(
                name=name or f"d-{uuid.uuid4().hex[:8]}",
                flow_id=flow["id"],
                paused=False,
                parameters={},
                tags=[],
                labels={},
                work_pool_name=pool,
                work_queue_name=queue,
                work_queue_id=held["id"],
                concurrency_limit=concurrency_limit,
                job_variables=None if self.is_2 else dict(variables),
                **({"infra_overrides": dict(variables)} if self.is_2 else {}),
                **fields,
            )
            self.deployments[deployment["id"]] = deployment
            return deployment

    def add_run(
        self,
        deployment: Row,
        *,
        due: datetime | None = None,
        name: str | None = None,
        job_variables: Mapping[str, Any] | None = None,
        retries: int | None = None,
        retry_delay: int | None = None,
        id: str | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Row:
        """Schedule a run of a deployment, due now unless told.

        Parameters
        ----------
        retries, retry_delay
            How often, and after how many seconds, the flow is run again in its process.
        state
            Its first one, if not that.
        """
        with self.lock:
            queue = self.queues[deployment["work_queue_id"]]
            run = self._row(id)
            run.update(
                name=name or f"run-{run['id'][:6]}",
                flow_id=deployment["flow_id"],
                deployment_id=deployment["id"],
                work_queue_id=queue["id"],
                work_queue_name=queue["name"],
                work_pool_id=queue["work_pool_id"],
                work_pool_name=queue["work_pool_name"],
                parameters=dict(deployment["parameters"]),
                tags=list(deployment["tags"]),
                labels={},
                job_variables=dict(job_variables or {}),
                empirical_policy={
                    "max_retries": 0,
                    "retry_delay_seconds": 0.0,
                    "retries": retries,
                    "retry_delay": retry_delay,
                    "pause_keys": [],
                    "resuming": False,
                    "retry_type": None,
                },
                infrastructure_pid=None,
                **dict.fromkeys(("state", "state_id", "state_type", "state_name")),
                **dict.fromkeys(("expected_start_time", "next_scheduled_start_time")),
                **dict.fromkeys(("start_time", "end_time", "parent_task_run_id")),
                run_count=0,
                total_run_time=0.0,
            )
            self.runs[run["id"]] = run
            first = {"type": "SCHEDULED", **(state or {})}
            if due is not None:
                first["state_details"] = {"scheduled_time": due.isoformat()}
            self.states.begin(run, first)
            return run

    def add_variable(self, name: str, value: Any) -> Row:
        """Make a Prefect variable."""
        with self.lock:
            row = self._row(name=name, value=value, tags=[])
            self.variables[name] = row
            return row

    def add_block(self, value: Any, *, type_slug: str = "secret", name: str | None = None) -> Row:
        """Make a block: of the type ``secret`` with this value, of others with these fields."""
        with self.lock:
            row = self._row(
                name=name or f"block-{uuid.uuid4().hex[:8]}",
                data={"value": value} if type_slug == "secret" else dict(value),
                block_type={"slug": type_slug, "name": type_slug},
                block_type_name=type_slug,
                block_document_references={},
                is_anonymous=False,
            )
            self.blocks[row["id"]] = row
            return row

    # -- what a user changes -------------------------------------------------------------------

    def change(self, row: Row, **fields: Any) -> None:
        """Change a pool, a queue, a deployment, a variable or a block."""
        with self.lock:
            row.update(fields, updated=stamped(self.now()))

    def change_pool(self, name: str = "fargate", **fields: Any) -> None:
        """Change a pool's concurrency limit, say."""
        self.change(found(self.pools, name, f'Work pool "{name}"'), **fields)

    def change_queue(self, id: str, **fields: Any) -> None:
        """Change a queue."""
        self.change(found(self.queues, id, "Work queue"), **fields)

    def change_deployment(self, id: str, **fields: Any) -> None:
        """Change a deployment; its job variables by that name, also in Prefect 2."""
        if self.is_2 and "job_variables" in fields:
            fields["infra_overrides"] = fields.pop("job_variables")
        self.change(found(self.deployments, id, "Deployment"), **fields)

    def change_variable(self, name: str, value: Any) -> None:
        """Give a variable another value."""
        self.change(found(self.variables, name, "Variable"), value=value)

    def change_block(self, id: str, value: Any) -> None:
        """Give a block other data; see :meth:`add_block`."""
        block = found(self.blocks, id, "Block document")
        is_secret = block["block_type"]["slug"] == "secret"
        self.change(block, data={"value": value} if is_secret else dict(value))

    def delete_run(self, id: str) -> None:
        """Delete a run."""
        with self.lock:
            run = found(self.runs, id, "Flow run")
            del self.runs[id]
            self.states.forget(run)

    def delete_deployment(self, id: str) -> None:
        """Delete a deployment, and its runs that are Scheduled."""
        with self.lock:
            found(self.deployments, id, "Deployment")
            del self.deployments[id]
            for run in list(self.runs.values()):
                if run["deployment_id"] == id and run["state_type"] == "SCHEDULED":
                    self.delete_run(run["id"])

    # -- what is kept --------------------------------------------------------------------------

    def run(self, id: str) -> Row:
        """Return a run."""
        return found(self.runs, id, "Flow run")

    def state(self, run_id: str) -> str:
        """Return the type of a run's state."""
        return str(self.run(run_id)["state_type"])

    def history(self, run_id: str) -> list[Row]:
        """Return the states a run had, the earliest first."""
        return self.states.history(run_id)

    def logs(self, run_id: str) -> list[str]:
        """Return what was logged for a run."""
        with self.lock:
            return [line["message"] for line in self.log_lines if line["flow_run_id"] == run_id]

    def _row(self, id: str | None = None, **fields: Any) -> Row:
        now = stamped(self.now())
        return {"id": id or str(uuid.uuid4()), "created": now, "updated": now, **fields}


def found(rows: Mapping[str, Row], key: str, what: str) -> Row:
    """Return a row, or raise :class:`NotFound`."""
    if key not in rows:
        raise NotFound(f"{what} not found")
    return rows[key]
