"""The agent, the real ECS worker and the real legacy agent in one run: ``make benchmarks``.

All three call the same AWS on loopback, which answers at once. Agent and worker serve pools of the
same real Prefect server, on SQLite and then on PostgreSQL; the legacy agent serves a stand-in of
Prefect 1's server, for no real one can be had. Loads are played one contender after the other;
delays with all of them at work, for they are idle then. The functions run in a process each and
dispatch in several, as on Lambda, but with whole cores.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console
from rich.table import Table

from benchmarks import legacy_agent, results
from benchmarks.aws_endpoint import SECRET, AwsEndpoint
from benchmarks.calls import Bench, Measured, Running, agent, ecs_worker
from benchmarks.cold_start import peak, processor_seconds
from benchmarks.postgres import NoPostgres, postgres_server
from local import processes
from local.prefect_server import prefect_server
from tests.support.prefect1_server import Prefect1Server

INSTANCES = 4
"""Batches that are handed to dispatch at once; eight when deployed, on more cores than two."""

DUE_RUNS, AHEAD_SECONDS, APART_SECONDS = 20, 35.0, 1.37
PATIENCE_SECONDS = 60.0
LOGS = {"PREFECT_LOGGING_SERVER_LEVEL": "INFO"}
SCHEDULED = {"worker": ecs_worker, "agent": agent}


def load(bench: Bench, name: str, runs: int) -> dict[str, Any]:
    """Let a contender launch runs that are all due, after one to warm up."""
    pool = f"{name}-load"
    bench.make_pool(pool)
    options = {"instances": INSTANCES} if name == "agent" else {}
    with SCHEDULED[name](bench, pool, **options) as running:  # type: ignore[operator]
        bench.measure(pool, INSTANCES * 10, 1)
        bench.measure(pool, INSTANCES * 10, 1)
        before = _used(running)
        measured = bench.measure(pool, runs, 1)
        used = {role: seconds - before[role] for role, seconds in _used(running).items()}
        return {
            **told(measured),
            "failed": bench.failed(pool),
            "processor ms a run": round(1000 * sum(used.values()) / runs, 1),
            "peak MB": {role: round(peak(p.pid), 1) for role, p in running.items()},
        }


def _used(running: Running) -> dict[str, float]:
    return {role: processor_seconds(process.pid) for role, process in running.items()}


def told(measured: Measured) -> dict[str, Any]:
    """Return what is told of a load."""
    return {
        "runs": measured.runs,
        "launched": measured.launched,
        "runs a second": round(measured.rate, 2),
        "AWS calls a run": _a_run(measured.aws, measured.runs),
        "Prefect calls a run": _a_run(measured.prefect, measured.runs),
        "answered with 5xx, a run": round(measured.refused / measured.runs, 3),
    }


def _a_run(calls: Counter[str], runs: int) -> dict[str, float]:
    parts = {name: round(count / runs, 3) for name, count in calls.most_common()}
    return {"all": round(sum(calls.values()) / runs, 2), **parts}


def legacy_load(
    server: Prefect1Server, aws: AwsEndpoint, process: Any, flow: Any, runs: int
) -> dict[str, Any]:
    """Let the legacy agent launch runs that are all due, after one to warm up."""
    for count in (1, runs):
        before = processor_seconds(process.pid)
        aws.forget_calls()
        server.calls.clear()
        made = {server.add_run(flow, labels=["fargate"])["id"] for _ in range(count)}
        _wait(lambda made=made: made <= {run for _, run in list(aws.launches)})  # type: ignore[misc]
        time.sleep(2)  # its last words
    times = [at for at, _ in aws.launches]
    graphql = Counter(call.operation for call in server.calls)
    return {
        "runs": runs,
        "launched": len(times),
        "runs a second": round((len(times) - 1) / (times[-1] - times[0]), 2),
        "AWS calls a run": _a_run(Counter(aws.calls), runs),
        "Prefect calls a run": _a_run(graphql, runs),
        "failed": sum(run["state"] == "Failed" for run in server.runs.values()),
        "processor ms a run": round(1000 * (processor_seconds(process.pid) - before) / runs, 1),
        "peak MB": {"agent": round(peak(process.pid), 1)},
    }


def _wait(met: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# -- delays

Submit = Callable[[datetime], str]
"""Makes a run that is due at a time; returns its id."""


def delays(aws: AwsEndpoint, contenders: Mapping[str, Submit]) -> dict[str, Any]:
    """Schedule runs ahead, and make others that are due at once; tell when each was launched."""
    start = datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS)
    ahead: dict[str, dict[str, datetime]] = {name: {} for name in contenders}
    at_once: dict[str, dict[str, datetime]] = {name: {} for name in contenders}
    for number in range(DUE_RUNS):
        due = start + timedelta(seconds=number * APART_SECONDS)
        for name, submit in contenders.items():
            ahead[name][submit(due)] = due
    window = AHEAD_SECONDS + DUE_RUNS * APART_SECONDS
    chance = random.Random(1)
    moments = sorted(chance.uniform(0, window - 15) for _ in range(DUE_RUNS))
    began = time.monotonic()
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        for name, submit in contenders.items():
            now = datetime.now(UTC)
            at_once[name][submit(now)] = now
    wanted = {run for runs in (*ahead.values(), *at_once.values()) for run in runs}
    _wait(lambda: wanted <= {run for _, run in list(aws.launches)})
    return {
        name: {
            "scheduled ahead": _delays(aws, ahead[name]),
            "ad hoc": _delays(aws, at_once[name]),
        }
        for name in contenders
    }


def with_pokes(aws: AwsEndpoint, submit: Submit, url: str) -> dict[str, float]:
    """Make runs that are due at once, and poke the agent for each, as an automation would."""
    made: dict[str, datetime] = {}
    chance = random.Random(2)
    for _ in range(DUE_RUNS):
        time.sleep(chance.uniform(0.5, 2.5))
        now = datetime.now(UTC)
        made[submit(now)] = now
        headers = {"Authorization": f"Bearer {SECRET}"}
        asked = threading.Thread(
            target=urllib3.request, args=("POST", url), kwargs={"headers": headers}, daemon=True
        )
        asked.start()
    _wait(lambda: set(made) <= {run for _, run in list(aws.launches)})
    return _delays(aws, made)


def _delays(aws: AwsEndpoint, due: Mapping[str, datetime]) -> dict[str, float]:
    started: dict[str, float] = {}
    for at, run in list(aws.launches):
        started.setdefault(run, at)
    found = sorted(started[run] - at.timestamp() for run, at in due.items() if run in started)
    return {"runs": len(due), "launched": len(found), **_quantiles(found)}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    last = len(values) - 1
    shares = {"least": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}
    return {
        **{name: round(values[round(last * share)], 2) for name, share in shares.items()},
        "mean": round(sum(values) / len(values), 2),
    }


def _submitting(bench: Bench, pool: str) -> Submit:
    deployment = bench.deploy(pool, 0)

    def submit(due: datetime) -> str:
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        body = {"state": state, "idempotency_key": str(uuid.uuid4())}
        path = f"/deployments/{deployment}/create_flow_run"
        return str(bench.send("POST", path, body)["id"])

    return submit


# -- the whole


def on_sqlite(aws: AwsEndpoint, runs: int, *, only_loads: bool = False) -> dict[str, Any]:
    """Play the loads on SQLite, and the delays of all three contenders."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(prefect_server(folder, settings=LOGS))
        bench = Bench(folder, url, aws)
        found = {who: load(bench, who, runs) for who in SCHEDULED}
        if only_loads:
            return {"SQLite": found}
        server = stack.enter_context(Prefect1Server())
        old = stack.enter_context(legacy_agent.running(server, aws, folder))
        flow = server.add_flow(name="etl")
        legacy = legacy_load(server, aws, old, flow, runs)
        port = processes.free_port()
        for who in SCHEDULED:
            bench.make_pool(f"{who}-delays")
        again = Bench(folder, url, aws, homes="-again")
        stack.enter_context(ecs_worker(again, "worker-delays"))
        stack.enter_context(agent(again, "agent-delays", url_port=port))
        submits: dict[str, Submit] = {who: _submitting(bench, f"{who}-delays") for who in SCHEDULED}
        submits["legacy agent"] = lambda due: str(
            server.add_run(flow, due=due, labels=["fargate"])["id"]
        )
        for submit in submits.values():  # all are warm then
            submit(datetime.now(UTC))
        _wait(lambda: len({run for _, run in list(aws.launches)}) >= runs + 3)
        told = delays(aws, submits)
        poke = f"http://127.0.0.1:{port}/api/poke"
        told["agent"]["ad hoc, with poke"] = with_pokes(aws, submits["agent"], poke)
        return {"SQLite": found, "stand-in of Prefect 1": {"legacy agent": legacy}, "delays": told}


def on_postgres(aws: AwsEndpoint, runs: int) -> dict[str, Any]:
    """Play the loads on PostgreSQL, or say that there is none."""
    try:
        with postgres_server() as database, tempfile.TemporaryDirectory() as name:
            settings = {**LOGS, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
            with prefect_server(Path(name), settings=settings) as url:
                bench = Bench(Path(name), url, aws)
                return {who: load(bench, who, runs) for who in SCHEDULED}
    except NoPostgres as missing:
        return {"missing": str(missing)}


def measure(runs: int, *, only_loads: bool = False) -> dict[str, Any]:
    """Measure all three."""
    legacy_agent.python()
    with AwsEndpoint() as aws:
        found = on_sqlite(aws, runs, only_loads=only_loads)
        return {"PostgreSQL": on_postgres(aws, runs), **found}


def table(found: Mapping[str, Any]) -> Table:
    """Show what each load cost."""
    shown = Table("", "runs/s", "launched", "failed", "AWS calls", "Prefect calls", "peak MB")
    for where in ("SQLite", "PostgreSQL", "stand-in of Prefect 1"):
        for who, one in found[where].items():
            if who == "missing":
                shown.add_row(f"{where}: missing", one)
                continue
            shown.add_row(
                f"{who}, {where}",
                str(one["runs a second"]),
                f"{one['launched']} of {one['runs']}",
                str(one["failed"]),
                str(one["AWS calls a run"]["all"]),
                str(one["Prefect calls a run"]["all"]),
                str(max(one["peak MB"].values())),
            )
    return shown


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="of each load")
    parser.add_argument("--try", dest="dry", action="store_true", help="keep nothing")
    parser.add_argument("--only-loads", action="store_true", help="the rest stays as it was")
    given = parser.parse_args()
    kept = results.load().get("side by side", {}).get("result", {}) if given.only_loads else {}
    found = {**kept, **measure(given.runs, only_loads=given.only_loads)}
    console = Console(width=130)
    console.print(table(found))
    console.print(found["delays"])
    if given.dry:
        console.print_json(data=found)
    else:
        results.keep("side by side", found)


if __name__ == "__main__":
    main()
