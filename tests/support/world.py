"""An agent on a real Prefect 3 server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3
from tests.support import stack_template
from tests.support.functions import Functions

DUE_NOW = timedelta(seconds=-1)


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
        self.prefect = JsonClient(prefect_url, lambda _: None)
        given = sections.pop("prefect", {})
        prefect = {"api_url": prefect_url, "work_pool": self.pool, **given}
        config = stack_template.config(prefect=prefect, **sections)
        changed = sections or given
        template = (
            stack_template.synthesize(config) if changed else stack_template.default_template()
        )
        super().__init__(config, template, tmp_path, monkeypatch)

    # -- Prefect

    def deployment(self, flow: str = "etl", **job_variables: Any) -> str:
        """Deploy a flow to the pool, which the agent's heartbeat makes; return its id."""
        Prefect3(self.prefect, work_pool=self.pool, worker_name="test").heartbeat(10)
        flow_id = self.prefect.post("/flows/", {"name": flow})["id"]
        body = {
            "name": f"d-{uuid.uuid4().hex[:8]}",
            "flow_id": flow_id,
            "work_pool_name": self.pool,
            "job_variables": {"image": "example/flows:1", **job_variables},
        }
        return str(self.prefect.post("/deployments/", body)["id"])

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

    def put_kwargs(self, deployment: str, body: Any, flow: str = "etl") -> str:
        """Put the kwargs file of a deployment's flow; see :meth:`put_file`."""
        flow_id = self.prefect.get(f"/deployments/{deployment}")["flow_id"]
        return self.put_file(flow, flow_id, body)
