"""What the demo's Prefect 1 images would hold: a ``prefect`` that runs the sample flows.

Prefect 1 itself does not run on today's Python. This speaks its API as its flow runs do: Running,
lines of log, and how the run ends. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

RETRY_SECONDS = 15


def graphql(query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run one operation as the flow: the token comes from Secrets Manager, through ECS."""
    api = os.environ.get("PREFECT__CLOUD__API") or os.environ["PREFECT__CLOUD__GRAPHQL"]
    headers = {"Content-Type": "application/json"}
    if os.environ.get("PREFECT__CLOUD__AUTH_TOKEN"):
        headers["Authorization"] = f"Bearer {os.environ['PREFECT__CLOUD__AUTH_TOKEN']}"
    body = json.dumps({"query": query, "variables": json.dumps(variables)}).encode()
    with urllib.request.urlopen(urllib.request.Request(api, body, headers)) as answer:
        decoded = json.loads(answer.read())
    if decoded.get("errors"):
        raise RuntimeError(str(decoded["errors"]))
    return dict(decoded["data"])


def propose(mutation: str, proposal: dict[str, Any], state: dict[str, Any]) -> None:
    """Propose one state."""
    graphql(
        f"mutation($input: {mutation}_input!) "
        f"{{ {mutation}(input: $input) {{ states {{ status }} }} }}",
        {"input": {"states": [{**proposal, "state": state}]}},
    )


class Run:
    """The run that this container is of."""

    def __init__(self) -> None:
        self.id = os.environ["PREFECT__CONTEXT__FLOW_RUN_ID"]
        where = f"where: {{ id: {{ _eq: {json.dumps(self.id)} }} }}"
        found = graphql(
            f"query {{ flow_run({where}) {{ version flow {{ name }} "
            "task_runs(where: {}) { id version serialized_state } } }"
        )["flow_run"][0]
        self.flow, self.version = found["flow"]["name"], found["version"]
        self.task_runs = found["task_runs"]

    def set(self, state: str, message: str = "") -> None:
        """Set the run's state."""
        proposal = {"flow_run_id": self.id, "version": self.version}
        propose("set_flow_run_states", proposal, {"type": state, "message": message})
        self.version += 1

    def set_task(self, task_run: dict[str, Any], state: str, **more: Any) -> None:
        """Set a task run's state."""
        proposal = {"task_run_id": task_run["id"], "version": task_run["version"]}
        propose("set_task_run_states", proposal, {"type": state, "message": "", **more})
        task_run["version"] += 1

    def log(self, message: str) -> None:
        """Write a line to the run's log, and to the container's."""
        print(message, flush=True)
        line = {"flow_run_id": self.id, "name": "flow", "message": message, "level": "INFO"}
        graphql(
            "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }",
            {"input": {"logs": [line]}},
        )


def run_flow() -> None:
    """Run the flow by its name, as ``prefect execute flow-run`` does."""
    run = Run()
    run.set("Running")
    run.log(f"Hello from {run.flow}, with GREETING={os.environ.get('GREETING', 'none')}")
    if run.flow == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif run.flow == "fails-on-purpose":
        run.set("Failed", "on purpose")
    elif run.flow == "retries-later" and _first_try(run):
        start = datetime.now(UTC) + timedelta(seconds=RETRY_SECONDS)
        run.set_task(run.task_runs[0], "Retrying", start_time=start.isoformat(), run_count=1)
        run.log(f"The task is tried again in {RETRY_SECONDS} s, by another container")
    else:
        run.set("Success")


def _first_try(run: Run) -> bool:
    return bool(run.task_runs[0]["serialized_state"]["type"] == "Pending")


environments = SimpleNamespace(execution=SimpleNamespace(load_and_run_flow=run_flow))
"""The path by which a ``FargateTaskEnvironment``'s command calls it."""
