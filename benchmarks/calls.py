"""Counts what a launch costs: calls of Prefect's API and of AWS, beside the real ECS worker.

One real Prefect server on SQLite, and an AWS that answers at once. First the worker of prefect-aws
and then this agent, its functions warm, launch 200 runs of one deployment and 200 runs of twenty.
Prefect's calls are those of the server's access log, polls and heartbeats among them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.aws_endpoint import AwsEndpoint
from fargate_agent.orchestrators.http import ApiError
from infra.config import load, runtime_settings
from local import processes
from local.prefect_server import PROJECT, client, prefect_server
from tests.optional.ecs_worker import worker

WIDTH = 120
QUIET_SECONDS = 4
PATIENCE_SECONDS = 60
LINE = re.compile(r'"(?P<method>[A-Z]+) /api(?P<path>[^ ?"]*).*" (?P<status>\d+)')
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": []}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one contender did with one load."""

    runs: int
    launched: int
    seconds: float
    prefect: Counter[str]
    refused: int
    """Of Prefect's calls, those that it answered with 5xx, as it does on SQLite."""
    aws: Counter[str]

    @property
    def rate(self) -> float:
        """Runs a second, from the first claim to the last task."""
        return self.launched / self.seconds if self.seconds else 0.0


class Bench:
    """The server and the AWS that both contenders call."""

    def __init__(self, folder: Path, url: str, aws: AwsEndpoint, *, homes: str = "") -> None:
        self.folder, self.url, self.aws = folder, url, aws
        self._homes = homes
        self._prefect = client(url)
        self._log = folder / "prefect.log"
        self._flow = self.send("POST", "/flows/", {"name": "etl"})["id"]

    def home(self, contender: str) -> Path:
        """Make a folder for a contender."""
        made = self.folder / f"{contender}{self._homes}"
        made.mkdir()
        return made

    def make_pool(self, name: str) -> None:
        """Make a work pool with the default template of ECS, whose runs nobody gets yet."""
        view = self.send("GET", "/collections/views/aggregate-worker-metadata")
        template = view["prefect-aws"]["ecs"]["default_base_job_configuration"]
        body = {"name": name, "type": "ecs", "base_job_template": template}
        self.send("POST", "/work_pools/", body)

    def measure(self, pool: str, runs: int, deployments: int) -> Measured:
        """Schedule runs, let them go, and count until all is quiet."""
        ids = [self.deploy(pool, number) for number in range(deployments)]
        self._pause(pool, True)
        for number in range(runs):
            self._schedule(ids[number % deployments])
        self.aws.forget_calls()
        offset = self._log.stat().st_size
        self._pause(pool, False)
        began = self._wait(runs, offset)
        started, calls = list(self.aws.started), self._calls_since(offset)
        return Measured(
            runs=runs,
            launched=len(started),
            seconds=started[-1] - min(began, started[0]) if started else 0.0,
            prefect=Counter(path for path, _ in calls),
            refused=sum(status >= 500 for _, status in calls),
            aws=Counter(self.aws.calls),
        )

    def deploy(self, pool: str, number: int) -> str:
        """Make a deployment and return its id."""
        body = {
            "name": f"{pool}-{number}-{time.monotonic_ns()}",
            "flow_id": self._flow,
            "work_pool_name": pool,
            "job_variables": {"image": "example/flows:1", "cpu": 512, "memory": 1024},
        }
        return str(self.send("POST", "/deployments/", body)["id"])

    def _pause(self, pool: str, paused: bool) -> None:
        self.send("PATCH", f"/work_pools/{pool}", {"is_paused": paused})

    def _schedule(self, deployment: str) -> None:
        due = {"scheduled_time": datetime.now(UTC).isoformat()}
        state = {"type": "SCHEDULED", "state_details": due}
        body = {"state": state, "idempotency_key": str(uuid.uuid4())}
        self.send("POST", f"/deployments/{deployment}/create_flow_run", body)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call, again where the server is too busy, as it often is on SQLite."""
        for left in reversed(range(10)):
            try:
                return self._prefect.send(method, path, body)
            except ApiError as error:
                if error.status != 503 or not left:
                    raise
                time.sleep(1)
        raise AssertionError("unreachable: the last try returns or raises")

    def failed(self, pool: str) -> int:
        """Count the runs of a pool that were told of a failure, up to 200."""
        asked = {
            "work_pools": {"name": {"any_": [pool]}},
            "flow_runs": {"state": {"type": {"any_": ["CRASHED", "FAILED"]}}},
        }
        return len(self.send("POST", "/flow_runs/filter", asked))

    def _wait(self, runs: int, offset: int) -> float:
        """Wait until all runs are launched and reported, or nothing more comes of them.

        Returns
        -------
        When the first of them was claimed, by :func:`time.monotonic`.
        """
        began = float("inf")
        deadline = time.monotonic() + PATIENCE_SECONDS
        launched = 0
        while launched < runs and time.monotonic() < deadline:
            time.sleep(0.05)
            if began == float("inf") and self._claims_since(offset):
                began = time.monotonic()
            if len(self.aws.started) > launched:
                launched = len(self.aws.started)
                deadline = time.monotonic() + PATIENCE_SECONDS
        told, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.2)
            if (now := self._reports()) != told:
                told, since = now, time.monotonic()
        return began

    def _claims_since(self, offset: int) -> bool:
        return any(path.endswith("/set_state") for path, _ in self._calls_since(offset))

    def _reports(self) -> int:
        """Count what tells of a run, which polls and heartbeats do not."""
        return sum("{id}" in path for path, _ in self._calls_since(0))

    def _calls_since(self, offset: int) -> list[tuple[str, int]]:
        """Return the calls that the server has logged, with the statuses of its answers."""
        with self._log.open(errors="replace") as log:
            log.seek(offset)
            found = [match for line in log if (match := LINE.search(line))]
        calls = [(f"{m['method']} {_template(m['path'])}", int(m["status"])) for m in found]
        return [(path, status) for path, status in calls if path != "PATCH /work_pools/{pool}"]


def _template(path: str) -> str:
    path = re.sub(r"^/work_pools/(?!filter)[^/]+", "/work_pools/{pool}", ID.sub("{id}", path))
    return path.rstrip("/") or "/"


# -- the contenders


Running = dict[str, subprocess.Popen[bytes]]


@contextmanager
def ecs_worker(bench: Bench, pool: str) -> Iterator[Running]:
    """Let the real worker serve the pool; give its process."""
    home = bench.home("worker")
    command = [str(worker.python()), "-m", "prefect", "worker", "start", "--type", "ecs"]
    environment = {
        **_plain_environment(home),
        **bench.aws.environment(),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": bench.url,
        "DO_NOT_TRACK": "1",
    }
    with processes.running(
        [*command, "--pool", pool, "--name", "worker"],
        env=environment,
        log=home / "log",
        ready=lambda: "started!" in (home / "log").read_text(errors="replace"),
    ) as process:
        yield {"worker": process}


@contextmanager
def agent(
    bench: Bench, pool: str, *, instances: int = 1, url_port: int | None = None
) -> Iterator[Running]:
    """Let this agent's functions serve the pool; give their processes.

    Parameters
    ----------
    instances
        How many batches are handed to dispatch at once.
    url_port
        Where poll's function URL is to be served too.
    """
    home = bench.home("agent")
    written = home / "settings.json"
    overrides = {"prefect.api_url": bench.url, "prefect.work_pool": pool}
    written.write_text(json.dumps(runtime_settings(load(PROJECT / "agent.toml", overrides, {}))))
    environment = {
        **_plain_environment(home),
        **bench.aws.environment(),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "lambdas")]),
        "STACK_KWARGS": json.dumps({"cluster": "default", "networkConfiguration": NETWORK}),
        "KWARGS_BUCKET": "kwargs",
        "RUNS_QUEUE_URL": f"{bench.aws.url}/123456789012/runs.fifo",
        "MAX_RECEIVES": "10",
        "URL_SECRET": "arn:aws:secretsmanager:us-east-1:123456789012:secret:url",
        "URL_PORT": str(url_port),
    }
    roles = [*("dispatch" for _ in range(instances)), "poll", *(["url"] if url_port else [])]
    made: Running = {}
    with ExitStack() as stack:
        for number, role in enumerate(roles):
            made[f"{role} {number}"] = stack.enter_context(
                processes.running(
                    [sys.executable, "-m", "benchmarks.invoke", role, written],
                    env=environment,
                    log=home / f"{role}-{number}.log",
                    ready=lambda: True,
                )
            )
        yield made


def _plain_environment(home: Path) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


Contender = Callable[[Bench, str], Any]
CONTENDERS: Mapping[str, Contender] = {"worker": ecs_worker, "agent": agent}


def compare(bench: Bench, runs: int, deployments: int) -> dict[tuple[str, int], Measured]:
    """Let each contender launch both loads, after one run to warm up."""
    made = {}
    for name, contender in CONTENDERS.items():
        pool = f"{name}-pool"
        bench.make_pool(pool)
        with contender(bench, pool):
            bench.measure(pool, 1, 1)
            for count in (1, deployments):
                made[name, count] = bench.measure(pool, runs, count)
    return made


def table(made: Mapping[tuple[str, int], Measured]) -> Table:
    """Show calls per run by operation, and what comes of them."""
    shown = Table("per run")
    for name, count in made:
        shown.add_column(f"{name}\n{count} deployment{'s' * (count > 1)}", justify="right")
    for title, select in (("Prefect", "prefect"), ("AWS", "aws")):
        counts = [getattr(measured, select) for measured in made.values()]
        totals = [sum(c.values()) / m.runs for c, m in zip(counts, made.values(), strict=True)]
        shown.add_row(f"[bold]{title} calls", *(f"[bold]{total:.2f}" for total in totals))
        for operation in sorted(set().union(*counts), key=lambda o: -max(c[o] for c in counts)):
            cells = (c[operation] / m.runs for c, m in zip(counts, made.values(), strict=True))
            shown.add_row(f"  {operation}", *(f"{cell:.2f}" if cell else "" for cell in cells))
        if select == "prefect":
            refused = (f"{m.refused / m.runs:.2f}" for m in made.values())
            shown.add_row("  of these answered with 5xx", *refused)
    shown.add_section()
    shown.add_row("runs/s", *(f"{m.rate:.1f}" for m in made.values()))
    shown.add_row("launched", *(f"{m.launched} of {m.runs}" for m in made.values()))
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--deployments", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, AwsEndpoint() as aws:
        folder = Path(name)
        log = {"PREFECT_LOGGING_SERVER_LEVEL": "INFO"}
        with prefect_server(folder, settings=log) as url:
            made = compare(Bench(folder, url, aws), given.runs, given.deployments)
    Console(width=WIDTH).print(table(made))


if __name__ == "__main__":
    main()
