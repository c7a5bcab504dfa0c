"""Measures cold starts: from the start of a process to the function's first answer.

Each is a process of its own with the bundle as it is deployed, ``awslambdaric`` and boto3 of their
own, and a Runtime API on loopback; Prefect and AWS answer at once. On Lambda a bundle is read-only:
no byte code of it is kept, so that every start compiles it. This machine's cores are whole ones, as
Lambda gives a function while it starts; while it answers, one with 256 MB has a seventh of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.aws_endpoint import ACCOUNT, REGION, AwsEndpoint
from benchmarks.results import drawn, keep
from benchmarks.runtime_api import RuntimeApi
from fargate_agent.runs import FlowRun, claim_id
from infra.bundling import build
from infra.config import load, runtime_settings
from infra.fargate_agent import MEMORY_MB
from tests.faults.back_pressure.prefect import UPDATED, Prefect, id_of
from tests.support import values
from tests.support.json_http import Answer, JsonHttpServer, Request

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = PROJECT / ".venv-lambda"
REQUIREMENTS = ("awslambdaric==4.2.2", "boto3==1.43.106")
"""As in requirements-dev.txt and in Lambda's runtime: nothing else is found by a function."""

HANDLERS = ("poll", "dispatch", "watch")
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/default"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": []}}
WARM_INVOCATIONS = 200
BUDGET_MS, BUDGET_BUNDLE_MB, BUDGET_MEMORY_MB = 400, 2, 90
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")


def python() -> Path:
    """Return an interpreter that has what Lambda's runtime has, made once."""
    made, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "done"
    if not done.exists() or done.read_text() != " ".join(REQUIREMENTS):
        uv, quiet = Path(sys.executable).with_name("uv"), "--quiet"
        subprocess.run(
            [uv, "venv", quiet, "--clear", "--python", sys.executable, ENVIRONMENT], check=True
        )
        install = [uv, "pip", "install", quiet, "--compile-bytecode", "--python", made]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        done.write_text(" ".join(REQUIREMENTS))
    return made


def sizes(bundle: Path) -> tuple[int, int]:
    """Return the bundle's size in bytes, zipped and not."""
    with tempfile.TemporaryFile() as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            files = [file for file in bundle.rglob("*") if file.is_file()]
            for file in files:
                zipped.write(file, file.relative_to(bundle))
        return archive.tell(), sum(file.stat().st_size for file in files)


# -- the world of a function


class _Clock:
    """What the played server wants of a clock; nothing waits here."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class World:
    """Prefect and AWS on loopback, with runs of one deployment."""

    bundle: Path
    aws: AwsEndpoint
    prefect: Prefect
    url: str

    def environment(self, api: RuntimeApi, handler: str) -> dict[str, str]:
        """Return the environment of a deployed function."""
        return {
            "PATH": os.environ["PATH"],
            **self.aws.environment(),
            "AWS_REGION": REGION,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": handler,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "LAMBDA_TASK_ROOT": str(self.bundle),
            "PYTHONPATH": str(self.bundle),
            "RUNS_QUEUE_URL": f"{self.aws.url}/{ACCOUNT}/runs.fifo",
            "TICKS_QUEUE_URL": f"{self.aws.url}/{ACCOUNT}/ticks",
            "TASK_EVENTS_QUEUE_URL": f"{self.aws.url}/{ACCOUNT}/task-events",
            "MAX_RECEIVES": "200",
            "CLAIMANT": "agent",
            "CLUSTERS": json.dumps([CLUSTER]),
            "STACK_KWARGS": json.dumps({"cluster": CLUSTER, "networkConfiguration": NETWORK}),
            "KWARGS_BUCKET": "kwargs",
        }

    def event(self, handler: str, number: int) -> dict[str, Any]:
        """Return what a function is invoked with: a tick, a due run, or a change of a task."""
        now = datetime.now(UTC)
        if handler == "poll":
            return {"Records": [{"body": '{"tick": 10}'}]}
        if handler == "watch":
            detail = values.stopped_task(
                startedBy=id_of("run", number),
                clusterArn=CLUSTER,
                taskDefinitionArn=CLUSTER.replace("cluster/default", "task-definition/etl:1"),
                lastStatus="RUNNING",
                taskArn=CLUSTER.replace("cluster", "task") + f"/{number}",
            )
            body = json.dumps({"id": f"e{number}", "time": now.isoformat(), "detail": detail})
            return {"Records": [values.sqs_record(body, group=None, sent=now)]}
        run = FlowRun(
            id=id_of("run", number),
            name="brave-otter",
            scheduled_time=now,
            claim_id=claim_id(id_of("run", number), now),
            flow_id=id_of("flow", 1),
            flow_name="etl",
            deployment_id=id_of("deployment", 0),
            deployment_name="nightly",
            deployment_updated=UPDATED,
            work_pool_updated=UPDATED,
        )
        return {"Records": [values.sqs_record(run.to_message(), group=run.id, sent=now)]}


@contextmanager
def world() -> Iterator[World]:
    """Build the bundle as it is deployed, and let Prefect and AWS answer."""
    prefect = Prefect(_Clock(), 5000, 1)  # type: ignore[arg-type]
    due = prefect._due
    prefect._due = lambda given: due(given)[:0]  # type: ignore[method-assign]
    lock = threading.Lock()

    def answer(request: Request) -> Answer:
        path = request.path.removeprefix("/api")
        with lock:
            found = prefect._answer(request.method, path, json.loads(request.body or b"null"))
        return Answer.json(200, found)

    server = JsonHttpServer(answer)
    server.start()
    url = f"{server.url}/api"
    with tempfile.TemporaryDirectory() as folder, AwsEndpoint() as aws:
        bundle = Path(folder)
        overrides = {"prefect.api_url": url, "prefect.work_pool": "fargate"}
        config = load(PROJECT / "agent.toml", overrides, {})
        build(bundle, json.dumps(runtime_settings(config)))
        try:
            yield World(bundle, aws, prefect, url)
        finally:
            server.stop()


# -- what is measured


@contextmanager
def started(world: World, handler: str, *options: str) -> Iterator[tuple[RuntimeApi, float, Any]]:
    """Start a function; give its Runtime API, when it was started, and its process."""
    with RuntimeApi() as api, tempfile.TemporaryFile() as errors:
        command = [
            python(),
            "-B",
            *options,
            "-m",
            "awslambdaric",
            f"fargate_agent.{handler}.handler",
        ]
        environment = world.environment(api, handler)
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=world.bundle,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        process.told = lambda: _content(errors)  # type: ignore[attr-defined]
        try:
            yield api, began, process
        finally:
            process.kill()
            process.wait()


def _content(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))


def start(world: World, handler: str, number: int) -> dict[str, float]:
    """Start a function: milliseconds until it asks for an event, and until it has answered."""
    with started(world, handler) as (api, began, process):
        answered, _ = api.invoke(world.event(handler, number))
        return {
            "ready": 1000 * (api.asked_at - began),
            "answered": 1000 * (answered - began),
            "processor": 1000 * processor_seconds(process.pid),
            "MB": peak(process.pid),
        }


def peak(pid: int) -> float:
    """Return the most memory that a process had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


def warm(world: World, handler: str) -> dict[str, float]:
    """Invoke a function many times: milliseconds of one, its processor time, and its memory."""
    with started(world, handler) as (api, _, process):
        api.invoke(world.event(handler, 0))
        before, began = processor_seconds(process.pid), time.monotonic()
        for number in range(1, WARM_INVOCATIONS + 1):
            api.invoke(world.event(handler, number))
        taken = time.monotonic() - began
        used = processor_seconds(process.pid) - before
        return {
            "milliseconds": round(1000 * taken / WARM_INVOCATIONS, 2),
            "of processor": round(1000 * used / WARM_INVOCATIONS, 2),
            "peak MB": round(peak(process.pid), 1),
        }


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def imports(world: World, handler: str) -> dict[str, float]:
    """Return milliseconds of a start's imports, by package, the longest first."""
    with started(world, handler, "-X", "importtime") as (api, _, process):
        api.invoke(world.event(handler, 0))
        told = process.told()
    by_package: Counter[str] = Counter()
    for taken, module in IMPORTED.findall(told):
        name = module.partition(".")[0]
        by_package["standard library" if name in sys.stdlib_module_names else name] += int(taken)
    return {name: round(taken / 1000, 1) for name, taken in by_package.most_common(8)}


def summary(starts: list[dict[str, float]]) -> dict[str, Any]:
    """Return medians and p90 of cold starts."""

    def of(key: str) -> dict[str, float]:
        found = sorted(one[key] for one in starts)
        p90 = statistics.quantiles(found, n=10, method="inclusive")[-1]
        return {"median": round(statistics.median(found)), "p90": round(p90)}

    return {
        "starts": len(starts),
        "ms until ready": of("ready"),
        "ms until the first answer": of("answered"),
        "of processor": of("processor"),
        "peak MB": round(max(one["MB"] for one in starts), 1),
    }


def measure(count: int) -> dict[str, Any]:
    """Measure all handlers, in turn, without and with byte code of the bundle."""
    python()
    with world() as made:
        zipped, unzipped = sizes(made.bundle)
        found: dict[str, Any] = {
            "bundle": {
                "zipped MB": round(zipped / 1e6, 2),
                "unzipped MB": round(unzipped / 1e6, 2),
            }
        }
        found["as deployed"] = _starts(made, count)
        found["imports, ms"] = {handler: imports(made, handler) for handler in HANDLERS}
        found["warm"] = {handler: warm(made, handler) for handler in HANDLERS}
        subprocess.run([python(), "-m", "compileall", "-q", made.bundle], check=True)
        found["with byte code"] = _starts(made, count)
        found["imports with byte code, ms"] = {h: imports(made, h) for h in HANDLERS}
    return found


def _starts(made: World, count: int) -> dict[str, Any]:
    taken: dict[str, list[dict[str, float]]] = {handler: [] for handler in HANDLERS}
    for number in range(count + 1):
        for handler in HANDLERS:
            one = start(made, handler, number)
            if number:  # the first of all fills the disk's cache
                taken[handler].append(one)
    return {handler: summary(starts) for handler, starts in taken.items()}


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Show the starts, and what they import."""
    shown = Table(
        "handler", "ready, ms", "first answer, median", "p90", "peak", title="Cold starts"
    )
    for how in ("as deployed", "with byte code"):
        for handler, one in found[how].items():
            answered = one["ms until the first answer"]
            shown.add_row(
                f"{handler}, {how}",
                str(one["ms until ready"]["median"]),
                f"{answered['median']} ms",
                f"{answered['p90']} ms",
                f"{one['peak MB']} MB",
            )
    yield shown
    split = Table("handler", "milliseconds by package", title="Imports (-X importtime)")
    for how in ("imports, ms", "imports with byte code, ms"):
        for handler, parts in found[how].items():
            split.add_row(
                f"{handler} {how.removeprefix('imports').removesuffix(', ms')}",
                ", ".join(f"{name} {ms:.0f}" for name, ms in parts.items()),
            )
    yield split


def plot(found: Mapping[str, Any]) -> None:
    """Draw the imports of each handler, one above the other."""
    parts = found["imports, ms"]
    names = list(dict.fromkeys(name for one in parts.values() for name in one))[:7]
    with drawn("cold-start") as (_, axes):
        left = dict.fromkeys(parts, 0.0)
        for name in names:
            widths = [one.get(name, 0.0) for one in parts.values()]
            axes.barh(list(parts), widths, left=list(left.values()), label=name, height=0.55)
            left = {h: left[h] + width for h, width in zip(parts, widths, strict=True)}
        for handler, one in found["as deployed"].items():
            axes.plot(one["ms until the first answer"]["median"], handler, "k|", markersize=22)
        axes.axvline(BUDGET_MS, color="#999999", linestyle="--", linewidth=1)
        axes.set(xlabel="milliseconds of imports; | the first answer; dashed: the budget")
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        axes.invert_yaxis()


def main() -> None:
    """Measure, print, keep and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=20, help="of each handler")
    parser.add_argument("--try", dest="dry", action="store_true", help="keep nothing")
    given = parser.parse_args()
    found = measure(given.starts)
    console = Console(width=130)
    console.print(found["bundle"], found["warm"])
    for shown in tables(found):
        console.print(shown)
    if not given.dry:
        keep("cold start", found)
        plot(found)


if __name__ == "__main__":
    main()
