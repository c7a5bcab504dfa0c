"""``make demo-prefect1``: runs of a Prefect 1 server through the deployed agent, on this machine.

Prefect 1's server is played by the stand-in that the tests use, its images by ``local/prefect1``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3

from fargate_agent.external_kwargs import external_key
from fargate_agent.runs import parse_time
from local import processes
from local.cloud import PROJECT, Cloud, cloud
from local.demo import (
    Expected,
    Planned,
    console,
    in_a_folder_of_its_own,
    table,
    tell_delays,
    watch,
)
from local.loop import PREFIX, Row

COMMANDS = PROJECT / "local" / "prefect1" / "bin"
TOKEN = "demo-runner-token"
LABEL = "fargate"
FINAL = frozenset({"Success", "Failed", "Cancelled"})

SETTINGS = """
[agent]
labels = ["{label}"]
url = true

[prefect]
version = 1
api_url = "{api_url}"
api_key_secret = "{secret}"

[ecs]
enable_task_revisions = true

[ecs.kwargs]
cpu = 512
memory = "1024"
containerDefinitions = "[{{'environment': [{{'name': 'GREETING', 'value': 'agent.toml'}}]}}]"
"""
"""The legacy agent's options, with one of its literal strings."""

SMALL = "512 / 1024"
FLOWS = {
    "hello": Expected("Success", SMALL),
    "needs-more": Expected("Success", "2048 / 8192"),
    "task-environment": Expected("Success", "256 / 512"),
    "retries-later": Expected("Success", SMALL),
    "fails-on-purpose": Expected("Failed", SMALL),
    "is-killed": Expected("Failed", SMALL),
}
PLAN = [
    # flow, seconds ahead, runs
    ("hello", 0, 3),
    ("needs-more", 0, 1),
    ("task-environment", 0, 1),
    ("retries-later", 0, 1),
    ("fails-on-purpose", 0, 1),
    ("is-killed", 0, 1),
    ("hello", 20, 3),
    ("needs-more", 20, 1),
]
KWARGS: dict[str, dict[str, Any]] = {
    "needs-more": {
        "cpu": 2048,
        "memory": 8192,
        "containerDefinitions": "[{'environment': [{'name': 'GREETING', 'value': 'S3'}]}]",
    },
    "task-environment": {
        "family": "task-environment",
        "cpu": "256",
        "memory": "512",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [
            {"environment": [{"name": "PYTHONPATH", "value": str(COMMANDS.parent)}]},
            {
                "name": "sidecar",
                "image": "busybox",
                "command": ["sleep", "300"],
                "essential": False,
            },
        ],
    },
}


@dataclass(frozen=True, slots=True)
class Prefect1Loop:
    """The stand-in, the cloud, and the agent deployed between them."""

    url: str
    cloud: Cloud
    outputs: Mapping[str, str]

    def add_flow(self, name: str) -> str:
        """Register a flow and drop its kwargs file; return its id."""
        environment = None
        if name == "task-environment":
            environment = {"type": "FargateTaskEnvironment", "labels": [LABEL], "metadata": {}}
        image = {"registry_url": "registry.example", "image_name": name, "image_tag": "v1"}
        storage = {"type": "Docker", **image}
        flow = {"name": name, "storage": storage, "environment": environment}
        id = str(self._admin("flows", flow)["id"])
        if name in KWARGS:
            key = external_key(PREFIX, name, id)
            body = json.dumps(KWARGS[name])
            bucket = self.outputs["KwargsBucket"]
            self.cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
            console.print(f"Dropped s3://{bucket}/{key}: {body[:100]} ...")
        return id

    def schedule(self, flow_id: str, due: datetime, *, task_run: bool) -> str:
        """Schedule a run, with a task run that its process will have to retry or without."""
        body = {"flow_id": flow_id, "due": due.isoformat(), "labels": [LABEL]}
        id = str(self._admin("runs", body)["id"])
        if task_run:
            self._admin("task_runs", {"flow_run_id": id, "state": "Pending"})
        return id

    def poke(self) -> int:
        """Tell the agent that there is something to do, by its function URL; return the status."""
        id = self.outputs["Url"].split("//")[1].partition(".")[0]
        secret = self.cloud.client("secretsmanager").get_secret_value(
            SecretId=self.outputs["UrlSecret"]
        )
        answer = urllib3.request(
            "GET",
            f"{self.cloud.endpoint}/_aws/lambda-url/{id}/api/poke",
            headers={"Authorization": f"Bearer {secret['SecretString']}"},
        )
        return answer.status

    def rows(self, ids: Iterable[str]) -> list[Row]:
        """Tell how runs stand now, in the order of their ids."""
        runs = {run["id"]: run for run in self.runs()}
        tasks: dict[str, list[dict[str, Any]]] = {}
        for task in self.cloud.tasks(self.outputs["Cluster"]):
            tasks.setdefault(task["startedBy"], []).append(task)
        return [_row(runs[id], tasks.get(id, [])) for id in ids]

    def runs(self) -> list[dict[str, Any]]:
        """Return every run with its state, history and log."""
        answer = urllib3.request("GET", f"{self.url}/_admin/runs").json()
        return list(answer["runs"] if isinstance(answer, dict) else answer)

    def _admin(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = urllib3.request("POST", f"{self.url}/_admin/{what}", json=dict(body))
        if answer.status >= 300:
            raise processes.ProcessFailed(f"{what}: {answer.status}: {answer.data.decode()}")
        return dict(answer.json())


def _row(run: Mapping[str, Any], tasks: list[dict[str, Any]]) -> Row:
    tasks = sorted(tasks, key=lambda task: task["createdAt"])
    first = tasks[0] if tasks else None
    return Row(
        id=run["id"],
        name=run["name"],
        scheduled=parse_time(run["scheduled_start_time"]),
        state=run["state"],
        ended=run["state"] in FINAL and all(t["lastStatus"] == "STOPPED" for t in tasks),
        launched=first["createdAt"].astimezone(UTC) if first else None,
        revision=first["taskDefinitionArn"].rpartition("/")[2] if first else "",
        size=f"{first['cpu']} / {first['memory']}" if first else "",
    )


@contextmanager
def deployed(folder: Path) -> Iterator[Prefect1Loop]:
    """Start the stand-in and the cloud, and deploy the stack."""
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.support.prefect1_server"]
    with (
        processes.running(
            [*command, "--port", str(port), "--token", TOKEN],
            env={"PYTHONPATH": str(PROJECT)},
            log=folder / "prefect1.log",
            ready=lambda: _answers(url),
        ),
        cloud(folder, commands=COMMANDS) as aws,
    ):
        console.print(f"Prefect 1's stand-in is up: {url}")
        secret = aws.client("secretsmanager").create_secret(Name="token", SecretString=TOKEN)
        settings = folder / "agent.toml"
        settings.write_text(SETTINGS.format(label=LABEL, api_url=url, secret=secret["ARN"]))
        console.print("Deploying the stack with the stock CDK command line ...")
        yield Prefect1Loop(url, aws, aws.deploy({"agent": str(settings)}))


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/_admin/runs", retries=False, timeout=2).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def play(loop: Prefect1Loop) -> bool:
    """Schedule the plan, poke the agent, watch; tell whether every run ended as it should."""
    flows = {name: loop.add_flow(name) for name in FLOWS}
    now = datetime.now(UTC)
    plan = {
        loop.schedule(
            flows[flow], now + timedelta(seconds=ahead), task_run=flow == "retries-later"
        ): Planned(flow, ahead, FLOWS[flow])
        for flow, ahead, count in PLAN
        for _ in range(count)
    }
    loop.cloud.invoke(loop.outputs["PollFunction"], {})  # a new schedule fires after a minute
    console.print(f"GET /api/poke with the agent's secret: {loop.poke()}")
    rows = watch(loop.rows, plan)
    console.print(table(rows, plan))
    good = sum(plan[row.id].is_met_by(row) for row in rows)
    console.print(f"{good} of {len(rows)} runs ended as they should.")
    tell_delays(rows, plan)
    return good == len(rows) and _tells_more(loop, plan)


def _tells_more(loop: Prefect1Loop, plan: Mapping[str, Planned]) -> bool:
    """Print what the logs and the task definitions show, and tell whether they do."""
    logs = {run["id"]: [line["message"] for line in run["logs"]] for run in loop.runs()}

    def logged(flow: str, text: str) -> bool:
        return any(text in line for id, p in plan.items() if p.flow == flow for line in logs[id])

    tasks = loop.cloud.tasks(loop.outputs["Cluster"])
    retried = [id for id, p in plan.items() if p.flow == "retries-later"]
    shown = {
        "agent.toml's literal string reached the containers": logged("hello", "=agent.toml"),
        "the kwargs file in S3 reached its flow": logged("needs-more", "GREETING=S3"),
        "a retry was taken up by a second container": sum(
            task["startedBy"] in retried for task in tasks
        )
        == 2 * len(retried),
        "the killed container's exit code is in its run's log": logged("is-killed", "code 137"),
        "the runner's token is in no task": TOKEN not in str(tasks),
    }
    for what, holds in shown.items():
        console.print(f"{'yes' if holds else 'NO'}: {what}")
    return all(shown.values())


def main() -> int:
    """Play, and return the exit status."""

    def run(folder: Path) -> bool:
        started = time.monotonic()
        with deployed(folder) as loop:
            good = play(loop)
        console.print(f"Took {time.monotonic() - started:.0f} s.")
        return good

    return in_a_folder_of_its_own(run)


if __name__ == "__main__":
    sys.exit(main())
