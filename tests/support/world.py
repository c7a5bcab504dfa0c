"""An agent on a real Prefect 3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fargate_agent.external_kwargs import deployment_key
from fargate_agent.orchestrators.http import RETRIES, JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3
from infra.config import AgentConfig
from tests.support import stack_template
from tests.support.functions import Functions

DUE_NOW = timedelta(seconds=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block on the server, and how templates refer to it."""

    id: str
    name: str
    type_slug: str

    @property
    def placeholder(self) -> str:
        """Return the placeholder that names it."""
        return self.attribute()

    def attribute(self, path: str = "") -> str:
        """Return the placeholder that names one of its attributes, as ``.value``."""
        return f"{{{{ prefect.blocks.{self.type_slug}.{self.name}{path} }}}}"

    @property
    def reference(self) -> dict[str, Any]:
        """Return the reference to it by its id."""
        return {"$ref": {"block_document_id": self.id}}


class World(Functions):
    """One agent on one work pool of its own.

    Parameters
    ----------
    prefect_url
        The real server's API.
    agent
        The ``[agent]`` section; ``prefect``, ``ecs`` and ``external_kwargs`` likewise.
    """

    def __init__(
        self,
        prefect_url: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        **sections: Mapping[str, Any],
    ) -> None:
        self.pool = f"pool-{uuid.uuid4().hex[:8]}"
        patient = RETRIES.new(total=10)  # on SQLite the server answers 503 easily
        self.prefect = JsonClient(prefect_url, lambda _: None, retries=patient)
        given = sections.pop("prefect", {})
        prefect = {"api_url": prefect_url, "work_pool": self.pool, **given}
        config = stack_template.config(prefect=prefect, **sections)
        changed = sections or given
        template = (
            stack_template.template(_with_pool(config, "fargate"))
            if changed
            else stack_template.default_template()
        )
        super().__init__(config, template, tmp_path, monkeypatch)

    # -- Prefect

    def deployment(self, flow: str = "etl", name: str | None = None, **job_variables: Any) -> str:
        """Deploy a flow to the pool, which the agent's heartbeat makes; return its id."""
        self.make_pool()
        flow_id = self.prefect.post("/flows/", {"name": flow})["id"]
        body = {
            "name": name or f"d-{uuid.uuid4().hex[:8]}",
            "flow_id": flow_id,
            "work_pool_name": self.pool,
            "job_variables": {"image": "example/flows:1", **job_variables},
        }
        return str(self.prefect.post("/deployments/", body)["id"])

    def make_pool(self) -> None:
        """Make the pool, as the agent's heartbeat does, from the server's own template."""
        Prefect3(self.prefect, work_pool=self.pool, worker_name="test").heartbeat(10)

    def change_pool(self, **fields: Any) -> None:
        """Change the pool's concurrency limit, say."""
        self.prefect.send("PATCH", f"/work_pools/{self.pool}", fields)

    def customise(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the pool's base job template, in place."""
        self.make_pool()
        template = self.prefect.get(f"/work_pools/{self.pool}")["base_job_template"]
        change(template)
        self.change_pool(base_job_template=template)

    def set_default(self, **defaults: Any) -> None:
        """Set defaults of the pool's variables."""

        def change(template: dict[str, Any]) -> None:
            for name, value in defaults.items():
                template["variables"]["properties"].setdefault(name, {})["default"] = value

        self.customise(change)

    def change_deployment(self, id: str, **fields: Any) -> None:
        """Change a deployment's fields, such as its job variables."""
        self.prefect.send("PATCH", f"/deployments/{id}", fields)

    def queue(self, name: str, **fields: Any) -> str:
        """Make a queue of the pool; return its id."""
        self.make_pool()
        path = f"/work_pools/{self.pool}/queues"
        return str(self.prefect.post(path, {"name": name, **fields})["id"])

    def block(self, value: Any, type_slug: str = "secret", *, anonymous: bool = False) -> Block:
        """Make a block: of the type ``secret`` with this value, of others with these fields."""
        kind = self.prefect.get(f"/block_types/slug/{type_slug}")["id"]
        asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        (schema, *_) = self.prefect.post("/block_schemas/filter", asked)
        name = f"block-{uuid.uuid4().hex[:8]}"
        body = {
            "name": None if anonymous else name,
            "data": {"value": value} if type_slug == "secret" else value,
            "block_type_id": kind,
            "block_schema_id": schema["id"],
            "is_anonymous": anonymous,
        }
        made = self.prefect.post("/block_documents/", body)
        return Block(id=made["id"], name=name, type_slug=type_slug)

    def change_block(self, block: Block, value: Any) -> None:
        """Give a block of the type ``secret`` another value."""
        data = {"value": value} if block.type_slug == "secret" else value
        self.prefect.send("PATCH", f"/block_documents/{block.id}", {"data": data})

    def variable(self, value: Any) -> str:
        """Make a Prefect variable; return its name."""
        name = f"variable_{uuid.uuid4().hex[:8]}"
        self.prefect.post("/variables/", {"name": name, "value": value})
        return name

    def change_variable(self, name: str, value: Any) -> None:
        """Give a Prefect variable another value."""
        self.prefect.send("PATCH", f"/variables/name/{name}", {"value": value})

    def schedule(self, deployment: str, ahead: timedelta = DUE_NOW, **body: Any) -> str:
        """Schedule a run, due a second ago unless told otherwise; return its id."""
        due = (datetime.now(UTC) + ahead).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        path = f"/deployments/{deployment}/create_flow_run"
        return str(self.prefect.post(path, {"state": state, **body})["id"])

    def run(self, id: str) -> dict[str, Any]:
        """Read a flow run."""
        return dict(self.prefect.get(f"/flow_runs/{id}"))

    def logs(self, id: str) -> list[str]:
        """Read the lines of a run's log."""
        body = {"logs": {"flow_run_id": {"any_": [id]}}}
        return [line["message"] for line in self.prefect.post("/logs/filter", body)]

    def set_state(self, id: str, type: str, **state: Any) -> dict[str, Any]:
        """Propose a state, as another party does."""
        body = {"state": {"type": type, **state}, "force": False}
        return dict(self.prefect.post(f"/flow_runs/{id}/set_state", body))

    def cancel(self, id: str) -> str:
        """Cancel a run as Prefect's UI does; return the state that it is in then."""
        self.set_state(id, "CANCELLING", name="Cancelling")
        return str(self.run(id)["state_type"])

    def state(self, id: str) -> str:
        """Return the type of a run's state."""
        return str(self.run(id)["state_type"])

    def states(self, id: str) -> list[str]:
        """Return the names of all states that a run had."""
        found = self.prefect.get(f"/flow_run_states/?flow_run_id={id}")
        return [state["name"] for state in sorted(found, key=lambda s: str(s["timestamp"]))]

    def launched(self, deployment: str, **body: Any) -> dict[str, Any]:
        """Take one run of a deployment all the way, and return its task."""
        run = self.schedule(deployment, **body)
        self.poll()
        assert self.deliver() == []
        return self.task_of(run)

    def task_of(self, run: str) -> dict[str, Any]:
        """Return the one task of a run."""
        (task,) = [task for task in self.tasks() if task["startedBy"] == run]
        return task

    def message(self, run: str) -> str:
        """Return the text of a run's state."""
        return str(self.run(run)["state"]["message"])

    def put_kwargs(self, deployment: str, body: Any, flow: str = "etl") -> str:
        """Put the kwargs file of a deployment's flow; see :meth:`put_file`."""
        flow_id = self.prefect.get(f"/deployments/{deployment}")["flow_id"]
        return self.put_file(flow, flow_id, body)

    def put_deployment_kwargs(self, deployment: str, body: Any, flow: str = "etl") -> str:
        """Put the kwargs file of a deployment itself; see :meth:`put_file`."""
        name = self.prefect.get(f"/deployments/{deployment}")["name"]
        return self.put_object(deployment_key("kwargs", flow, name), body)


def environment(task: Mapping[str, Any]) -> dict[str, str]:
    """Return what a task's flow container is told by its request."""
    container = task["overrides"]["containerOverrides"][0]
    return {entry["name"]: entry["value"] for entry in container["environment"]}


def _with_pool(config: AgentConfig, name: str) -> AgentConfig:
    """Return the settings with another pool, of which the template knows nothing."""
    prefect = config.prefect.model_copy(update={"work_pool": name})
    return config.model_copy(update={"prefect": prefect})
