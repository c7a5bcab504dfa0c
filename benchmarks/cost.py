"""Reckons what the agent costs in a month, idle and by runs a day, beside an always-on worker.

What it uses is counted in virtual time (:mod:`benchmarks.scale`); prices are AWS's list prices.
The tasks that flows run in cost the same whoever starts them, and are left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.prices import PRICES, Usage, always_on
from benchmarks.results import drawn, keep, load
from benchmarks.scale.scenarios import evenly, usage
from benchmarks.scale.traffic import Traffic
from fargate_agent.observability import logger

DAY = 86_400
RATES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
PLAYED = {1_000: 60, 10_000: 300, 100_000: 1_000, 1_000_000: 3_500}
"""Rates that are played, and how many runs of each; in between, cost grows in proportion."""

DEPLOYMENTS = 100
IDLE_SECONDS = 1800
SECRET = Usage(secrets=1, secret_reads=3000)
"""The API key of Prefect Cloud, read at each cold start."""

ALARMS = Usage(alarms=10)
"""Nine alarms look at ten metrics."""
DASHBOARD = Usage(dashboards=1)
METRICS = 5
"""Custom metrics that an agent writes whose runs do not fail, paid for the hours it does."""

WORKER = {"vCPU": 0.25, "GB": 0.5}
BUSY_WORKER = {"vCPU": 1.0, "GB": 2.0}
WORKERS_RATE = 4.3
"""Runs a second that one worker launches, where :mod:`benchmarks.side_by_side` was not run."""


COLUMNS = ("with all monitoring", "workers that keep up", "those, x86_64", "those, arm64")


def played(rate: int, seconds_between_polls: int) -> Usage:
    """Return what a month uses at a rate; of 0, when nothing is due."""
    logger.setLevel("CRITICAL")
    if rate:
        due = evenly(rate / DAY, PLAYED[rate] * DAY / rate + 1e-6)
        traffic = Traffic(
            due, deployments=DEPLOYMENTS, watched=True, poll_seconds=seconds_between_polls
        )
        return usage(traffic.run(patience=2 * DAY))
    traffic = Traffic([0.0], deployments=1, quiet=IDLE_SECONDS, poll_seconds=seconds_between_polls)
    return usage(traffic.run(patience=DAY), seconds=IDLE_SECONDS)


def between(rate: float, known: Mapping[int, Usage]) -> Usage:
    """Return what a rate uses, in proportion to the next ones that were played."""
    above = min(r for r in known if r >= rate)
    below = max((r for r in known if r <= rate), default=0)
    if above == below:
        return known[above]
    share = (rate - below) / (above - below)
    return known[below].times(1 - share) + known[above].times(share)


def workers(rate: float, launched_a_second: float) -> int:
    """Return how many workers keep up with so many runs a day."""
    return max(1, math.ceil(rate / DAY / launched_a_second))


def monitoring(rate: float) -> Usage:
    """Return what alarms, dashboard and metrics come to, of an agent with so many runs a day."""
    return ALARMS + DASHBOARD + Usage(metrics=METRICS * min(1.0, rate / 24))


def curve(known: Mapping[int, Usage], launched_a_second: float) -> list[dict[str, Any]]:
    """Return the cost of a month by runs a day."""
    rows = []
    for rate in RATES:
        count = workers(rate, launched_a_second)
        used = between(rate, known)
        rows.append(
            {
                "runs a day": rate,
                "agent": _rounded(used.cost()),
                "with all monitoring": round((used + monitoring(rate)).cost()["total"], 2),
                "workers that keep up": count,
                "those, x86_64": round(_worker(BUSY_WORKER, "x86_64", count), 2),
                "those, arm64": round(_worker(BUSY_WORKER, "arm64", count), 2),
            }
        )
    return rows


def _worker(size: Mapping[str, float], architecture: str, count: int = 1) -> float:
    return always_on(size["vCPU"], size["GB"], architecture, tasks=count)


def _rounded(cost: Mapping[str, float]) -> dict[str, float]:
    return {service: round(dollars, 2) for service, dollars in cost.items() if dollars >= 0.005}


def _launched_a_second() -> float:
    measured = load().get("side by side", {}).get("result", {}).get("PostgreSQL", {})
    return float(measured.get("worker", {}).get("runs a second", WORKERS_RATE))


def measure() -> dict[str, Any]:
    """Reckon the idle agent, at three intervals, and the curve."""
    asked = [(0, 10), (0, 30), (0, 60), *((rate, 10) for rate in PLAYED)]
    with ProcessPoolExecutor(2, max_tasks_per_child=1) as processes:
        found = dict(zip(asked, processes.map(played, *zip(*asked, strict=True)), strict=True))
    known = {rate: found[rate, 10] for rate in (0, *PLAYED)}
    rate = _launched_a_second()
    return {
        "idle": {
            f"poll every {seconds} s": _rounded(found[0, seconds].cost())
            for seconds in (10, 30, 60)
        },
        "besides": {
            "an API key in Secrets Manager": round(SECRET.cost()["total"], 2),
            "the alarms": round(ALARMS.cost()["total"], 2),
            "the dashboard": round(DASHBOARD.cost()["total"], 2),
            "custom metrics, of an agent with a run in every hour": METRICS * PRICES["metrics"][0],
        },
        "always-on worker": {
            f"{size['vCPU']} vCPU, {size['GB']} GB, {architecture}": round(
                _worker(size, architecture), 2
            )
            for size in (WORKER, BUSY_WORKER)
            for architecture in ("x86_64", "arm64")
        },
        "runs a second of one worker": rate,
        "by runs a day": curve(known, rate),
        "prices": {name: {"price": p, "source": source} for name, (p, source) in PRICES.items()},
    }


def tables(found: Mapping[str, Any]) -> Sequence[Table]:
    """Show the idle agent and the curve."""
    idle = Table("dollars a month", *found["idle"], title="Idle")
    services = list(dict.fromkeys(name for cost in found["idle"].values() for name in cost))
    for service in services:
        idle.add_row(service, *(f"{cost.get(service, 0):.2f}" for cost in found["idle"].values()))
    rows = Table("runs a day", "agent", "monitored", "workers that keep up", "x86_64", "arm64")
    for row in found["by runs a day"]:
        rows.add_row(
            f"{row['runs a day']:,}",
            f"{row['agent']['total']:,.2f}",
            *(str(row[name]) for name in COLUMNS),
        )
    return idle, rows


def plot(found: Mapping[str, Any]) -> None:
    """Draw the curve, by service and beside the workers."""
    rows = found["by runs a day"]
    rates = [row["runs a day"] for row in rows]
    small = found["always-on worker"]
    with drawn("cost") as (_, axes):
        axes.plot(
            rates, [row["agent"]["total"] for row in rows], "o-", label="agent", color="#2563eb"
        )
        axes.plot(
            rates,
            [row["those, x86_64"] for row in rows],
            "s-",
            color="#b45309",
            label="workers that keep up, 1 vCPU and 2 GB, x86",
        )
        axes.plot(
            rates,
            [row["those, arm64"] for row in rows],
            "s--",
            color="#d97706",
            label="the same, arm",
        )
        for name, style in (("x86_64", "-"), ("arm64", "--")):
            axes.axhline(
                small[f"0.25 vCPU, 0.5 GB, {name}"],
                color="#999999",
                linestyle=style,
                linewidth=1,
                label=f"a worker of 0.25 vCPU and 0.5 GB, {name}",
            )
        axes.set(xscale="log", yscale="log", xlabel="runs a day", ylabel="dollars a month")
        axes.legend(frameon=False, fontsize=7)


def main() -> None:
    """Reckon, print, keep and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--try", dest="dry", action="store_true", help="keep nothing")
    given = parser.parse_args()
    found = measure()
    console = Console(width=130)
    for shown in tables(found):
        console.print(shown)
    if given.dry:
        console.print_json(data=found["by runs a day"])
    else:
        keep("cost", found)
        plot(found)


if __name__ == "__main__":
    main()
