"""One of two servers on which a script is played, and what it is seen to answer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fargate_agent.orchestrators.http import RETRIES, ApiError, JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RUN_FIELDS = (
    *("state_type", "state_name", "infrastructure_pid", "run_count", "start_time", "end_time"),
    *("expected_start_time", "next_scheduled_start_time", "empirical_policy", "deployment_id"),
    *("job_variables", "work_queue_name", "work_pool_name", "parameters", "tags"),
)
"""What is compared of a run, beside its state."""

Row = dict[str, Any]


class Side:
    """A server with a work pool of the script's own.

    Ids and times are compared by the names that the script has given them; what it has not named is
    *an id* or *a time*.
    """

    def __init__(self, url: str) -> None:
        # On SQLite a real server answers 503 easily.
        self.api = JsonClient(url, lambda _: None, retries=RETRIES.new(total=10))
        self._names: dict[str, str] = {}
        self._began = datetime.now(UTC).replace(microsecond=0)
        self.pool = f"pool-{uuid.uuid4().hex[:8]}"
        self._names[self.pool] = "the pool"
        self._has_pool = False
        self.agent = Prefect3(self.api, work_pool=self.pool, worker_name="an agent")

    # -- names

    def id(self, name: str) -> str:
        """Return a new id, known by a name."""
        return self._named(name, str(uuid.uuid4()))

    def time(self, name: str, seconds: float) -> str:
        """Return a time so long after the script began, known by a name."""
        time = (self._began + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        return self._named(name, time)

    def _named(self, name: str, value: str) -> str:
        self._names[value] = name
        return value

    def seen(self, value: Any) -> Any:
        """Return what is compared of an answer."""
        match value:
            case dict():
                return {key: self.seen(held) for key, held in value.items()}
            case list():
                return [self.seen(held) for held in value]
            case str() if value in self._names:
                return f"<{self._names[value]}>"
            case str():
                for known, name in self._names.items():
                    value = value.replace(known, f"<{name}>")
                value = value.replace("StateType.", "")  # as some versions of Python write it
                return ID.sub("<an id>", TIME.sub("<a time>", value))
        return value

    # -- calls

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call; return its answer, or the status of its refusal."""
        try:
            return self.api.send(method, path, body)
        except ApiError as error:
            return error.status

    def make_pool(self) -> None:
        """Make the pool, with a template of nothing; an agent's heartbeat makes a whole one."""
        if not self._has_pool:
            self.call("POST", "/work_pools/", {"name": self.pool, "type": "ecs"})
            self._has_pool = True

    def deployment(self, name: str = "a deployment", **fields: Any) -> str:
        """Deploy a flow to the pool, which is made if nobody made it."""
        self.make_pool()
        flow = self.api.post("/flows/", {"name": "etl"})["id"]
        self._named("the flow", flow)
        body = {
            "name": f"d-{uuid.uuid4().hex[:8]}",
            "flow_id": flow,
            "work_pool_name": self.pool,
            "job_variables": {"image": "example/flows:1"},
            **fields,
        }
        made = self.api.post("/deployments/", body)
        self._named(f"the queue of {name}", made["work_queue_id"])
        return self._named(name, str(made["id"]))

    def run(
        self,
        deployment: str,
        name: str = "a run",
        type: str = "SCHEDULED",
        *,
        details: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        **body: Any,
    ) -> str:
        """Make a run in this state."""
        first = {"type": type, **(state or {})}
        if type == "SCHEDULED":
            first["state_details"] = {"scheduled_time": self.time("its time", -1)}
        if details is not None:
            first["state_details"] = details
        path = f"/deployments/{deployment}/create_flow_run"
        return self._named(name, str(self.api.post(path, {"state": first, **body})["id"]))

    def propose(self, run: str, type: str, *, force: bool = False, **state: Any) -> Any:
        """Propose a state; return what is compared of the answer."""
        body = {"state": {"type": type, **state}, "force": force}
        answer = self.call("POST", f"/flow_runs/{run}/set_state", body)
        if not isinstance(answer, dict):
            return answer
        found = answer["state"] and self.state(answer["state"])
        details = {key: answer["details"].get(key) for key in ("reason", "delay_seconds")}
        return {"status": answer["status"], "state": found, **self.seen(details)}

    def state(self, state: Row) -> Any:
        """Return what is compared of a state."""
        told = {key: state[key] for key in ("type", "name", "message")}
        names = ("scheduled_time", "transition_id", "pause_reschedule", "flow_run_id")
        return self.seen(told | {name: state["state_details"][name] for name in names})

    def read(self, run: str) -> Any:
        """Return what is compared of a run."""
        row = self.call("GET", f"/flow_runs/{run}")
        if not isinstance(row, dict):
            return row
        fields: Row = self.seen({name: row[name] for name in RUN_FIELDS})
        keys = fields["empirical_policy"].pop("pause_keys")
        return {**fields, "pauses": len(keys), "state": self.state(row["state"])}

    def history(self, run: str) -> Any:
        """Return what is compared of the states that a run had, the earliest first."""
        states = self.api.get(f"/flow_run_states/?flow_run_id={run}")
        return [self.state(state) for state in sorted(states, key=lambda s: str(s["timestamp"]))]

    def due(self, seconds: float = 60, **asked: Any) -> Any:
        """Return which runs are due within so many seconds."""
        before = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        body = {"scheduled_before": before, "work_queue_names": [], "limit": 200, **asked}
        found = self.call("POST", f"/work_pools/{self.pool}/get_scheduled_flow_runs", body)
        if not isinstance(found, list):
            return found
        return [
            self.seen([item["flow_run"]["id"], item["flow_run"]["state"], item["work_queue_id"]])
            for item in found
        ]
