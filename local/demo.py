"""``make demo``: twenty runs of three flows through the deployed agent, on this machine."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fargate_agent.kwargs import external_key
from fargate_agent.runs import parse_time
from local import prefect_server as prefect
from local.cloud import PROJECT, Cloud, cloud
from local.processes import ProcessFailed

WORK_POOL = "fargate"
PREFIX = "kwargs"
KWARGS = {
    "cpu": 2048,
    "memory": 8192,
    "containerDefinitions": [{"environment": [{"name": "GREETING", "value": "from S3"}]}],
}
EXPECTED = {"hello": "COMPLETED", "needs-more": "COMPLETED", "fails-on-purpose": "FAILED"}
SIZES = {"hello": "1024 / 2048", "needs-more": "2048 / 8192", "fails-on-purpose": "1024 / 2048"}
PLAN = [
    # flow, seconds ahead, runs
    ("hello", 0, 4),
    ("needs-more", 0, 2),
    ("fails-on-purpose", 0, 2),
    ("hello", 10, 4),
    ("needs-more", 10, 2),
    ("hello", 30, 3),
    ("needs-more", 30, 2),
    ("fails-on-purpose", 30, 1),
]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
PATIENCE_SECONDS = 300

console = Console(width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run, as Prefect and ECS tell of it."""

    name: str
    flow: str
    ahead: int
    scheduled: datetime
    state: str
    launched: datetime | None
    revision: str
    size: str

    @property
    def delay(self) -> float | None:
        """Seconds from the scheduled time to RunTask."""
        return (self.launched - self.scheduled).total_seconds() if self.launched else None

    @property
    def as_expected(self) -> bool:
        """Whether the run ended as it should, in a task of the right size, and never early."""
        on_time = self.delay is not None and self.delay >= 0
        return self.state == EXPECTED[self.flow] and self.size == SIZES[self.flow] and on_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The running loop: the server's API, the cloud, and what was deployed into it."""

    api: Any
    url: str
    cloud: Cloud
    outputs: dict[str, str]


@contextmanager
def deployed_loop(folder: Path) -> Iterator[Loop]:
    """Start Prefect and the cloud, and deploy the stack."""
    with prefect.prefect_server(folder) as url, cloud(folder) as aws:
        console.print(f"Prefect {prefect.client(url).get('/admin/version')} is up: {url}")
        console.print("Deploying the stack with the stock CDK command line ...")
        outputs = aws.deploy({"prefect.api_url": url, "prefect.work_pool": WORK_POOL})
        # A new schedule first fires after a minute; the very first poll is asked for.
        aws.client("lambda").invoke(FunctionName=outputs["PollFunction"], Payload=b"{}")
        yield Loop(api=prefect.client(url), url=url, cloud=aws, outputs=outputs)


def deploy_flows(loop: Loop, folder: Path) -> dict[str, dict[str, Any]]:
    """Deploy the sample flows; return their deployments by the flow's name."""
    done = subprocess.run(
        [
            *(prefect.PREFECT_BIN / "python", PROJECT / "local" / "deploy_flows.py", WORK_POOL),
            *(name.replace("-", "_") for name in EXPECTED),
        ],
        env=prefect.environment(folder, loop.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProcessFailed(f"deploying the flows:\n{done.stdout[-3000:]}")
    flows = {flow["id"]: flow["name"] for flow in loop.api.post("/flows/filter", {})}
    return {flows[d["flow_id"]]: d for d in loop.api.post("/deployments/filter", {})}


def drop_kwargs(loop: Loop, flow: str, flow_id: str, kwargs: dict[str, Any]) -> str:
    """Put a flow's kwargs file into the stack's bucket, and return its key."""
    key = external_key(PREFIX, flow, flow_id)
    bucket = loop.outputs["KwargsBucket"]
    loop.cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(kwargs))
    return f"s3://{bucket}/{key}"


def schedule(loop: Loop, deployment: dict[str, Any], due: datetime) -> str:
    """Schedule one run, and return its id."""
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
    made = loop.api.post(f"/deployments/{deployment['id']}/create_flow_run", {"state": state})
    return str(made["id"])


def rows(loop: Loop, runs: dict[str, tuple[str, int]]) -> list[Row]:
    """Tell how every run stands now. ``runs``: its id to its flow's name and seconds ahead."""
    body = {"flow_runs": {"id": {"any_": list(runs)}}, "limit": 200}
    states = {run["id"]: run for run in loop.api.post("/flow_runs/filter", body)}
    tasks = {task["startedBy"]: task for task in all_tasks(loop)}
    told = []
    for id, (flow, ahead) in runs.items():
        run, task = states[id], tasks.get(id, {})
        told.append(
            Row(
                name=run["name"],
                flow=flow,
                ahead=ahead,
                scheduled=parse_time(run["expected_start_time"]),
                state=run["state_type"],
                launched=task["createdAt"].astimezone(UTC) if task else None,
                revision=task.get("taskDefinitionArn", "").rpartition("/")[2],
                size=f"{task['cpu']} / {task['memory']}" if task else "",
            )
        )
    return sorted(told, key=lambda row: row.scheduled)


def all_tasks(loop: Loop) -> list[dict[str, Any]]:
    """Describe every task of the cluster, stopped ones too."""
    ecs, cluster = loop.cloud.client("ecs"), loop.outputs["Cluster"]
    arns = [
        arn
        for status in ("RUNNING", "STOPPED")
        for arn in ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
    ]
    return list(ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]) if arns else []


def table(told: list[Row]) -> Table:
    """Draw the runs."""
    drawn = Table(title="Flow runs")
    for column in ("run", "flow", "scheduled", "launched", "delay", "task definition"):
        drawn.add_column(column, no_wrap=True, justify="right" if column == "delay" else "left")
    drawn.add_column("cpu / memory", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    for row in told:
        colour = "green" if row.as_expected else "yellow" if row.state not in FINAL else "red"
        drawn.add_row(
            row.name,
            row.flow + (f" (+{row.ahead} s)" if row.ahead else ""),
            f"{row.scheduled:%H:%M:%S.%f}"[:-3],
            f"{row.launched:%H:%M:%S.%f}"[:-3] if row.launched else "",
            f"{row.delay:+.2f} s" if row.delay is not None else "",
            _shortened(row.revision),
            row.size,
            f"[{colour}]{row.state}[/]",
        )
    return drawn


def _shortened(revision: str) -> str:
    """Keep of ``prefect_pool_<deployment id>:1`` what tells it from the others."""
    family, _, number = revision.partition(":")
    return f"{family[:23]}…:{number}" if number else ""


def watch(loop: Loop, runs: dict[str, tuple[str, int]]) -> list[Row]:
    """Show the runs until all have ended, or patience has."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while True:
            told = rows(loop, runs)
            live.update(table(told))
            if all(row.state in FINAL for row in told) or time.monotonic() > deadline:
                return told
            time.sleep(1)


def run(folder: Path, *, keep: bool) -> bool:
    """Play the demo; tell whether every run ended as it should."""
    with deployed_loop(folder) as loop:
        console.print(f"The kwargs bucket is {loop.outputs['KwargsBucket']}")
        deployments = deploy_flows(loop, folder)
        url = drop_kwargs(loop, "needs-more", deployments["needs-more"]["flow_id"], KWARGS)
        console.print(f"Dropped {url}: {json.dumps(KWARGS)}")
        now = datetime.now(UTC)
        runs = {
            schedule(loop, deployments[flow], now + timedelta(seconds=ahead)): (flow, ahead)
            for flow, ahead, count in PLAN
            for _ in range(count)
        }
        told = watch(loop, runs)
        console.print(table(told))
        greeted = _greetings(loop)
        good = sum(row.as_expected for row in told)
        ahead = [row.delay for row in told if row.ahead and row.delay is not None]
        console.print(f"{good} of {len(told)} runs ended as they should.")
        console.print(
            f"{greeted} of {sum(f == 'needs-more' for f, _ in runs.values())} runs of "
            "needs-more printed the variable from S3."
        )
        if ahead:
            console.print(
                f"Start delay of the {len(ahead)} runs scheduled ahead: min {min(ahead):.2f} s, "
                f"median {statistics.median(ahead):.2f} s, max {max(ahead):.2f} s."
            )
        if keep:
            console.print(f"Prefect's UI: {loop.url.removesuffix('/api')}   (Ctrl-C ends it all)")
            signal.pause()
        return good == len(told) and greeted == sum(f == "needs-more" for f, _ in runs.values())


def _greetings(loop: Loop) -> int:
    logs = loop.api.post("/logs/filter", {"limit": 200, "logs": {"level": {"ge_": 20}}})
    return sum("GREETING=from S3" in line["message"] for line in logs)


def main() -> int:
    """Parse the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fargate-agent-", ignore_cleanup_errors=True) as folder:
        try:
            good = run(Path(folder), keep=arguments.keep)
        except ProcessFailed as error:
            console.print(str(error), style="red", markup=False)
            return 1
        except KeyboardInterrupt:
            return 130
    console.print(f"Took {time.monotonic() - started:.0f} s.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
