"""Plays very many runs in virtual time: ``python -m benchmarks.scale``.

Poll, dispatch and watch as deployed, botocore's and urllib3's retries among them, against a Prefect
server and an AWS in memory with the documented limits. What a function with 256 MB computes is
charged as :data:`traffic.CPU_SECONDS` says; cold starts are not played.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import drawn, keep, load
from benchmarks.scale.limits import DOCUMENTED
from benchmarks.scale.scenarios import SCENARIOS, play

LONG = ("burst", "backlog")


def table(made: dict[str, dict[str, Any]]) -> Table:
    """Show what matters most."""
    shown = Table("load", "launched", "delay p50 / p90 / p99 / most, s", "runs/s", "throttled")
    for name, found in made.items():
        delay = found["delay in seconds"]
        shown.add_row(
            name,
            f"{found['launched']:,} of {found['runs']:,}",
            " / ".join(f"{delay[key]:,.1f}" for key in ("p50", "p90", "p99", "most")),
            str(found["launches a second"]),
            ", ".join(f"{key} {count:,}" for key, count in found["throttled"].items()),
        )
    return shown


def plot(made: dict[str, dict[str, Any]]) -> None:
    """Draw launches over time for the large loads."""
    names = [name for name in ("burst", "burst, limits raised", "backlog") if name in made]
    with drawn("scale") as (_, axes):
        for name in names:
            at, runs = made[name]["started, every so manieth"], made[name]["runs"]
            share = [runs * number / len(at) for number in range(1, len(at) + 1)]
            axes.plot([0, *(seconds / 60 for seconds in at)], [0, *share], label=name)
        axes.set(xlabel="minutes after midnight", ylabel="flow runs launched", xlim=0, ylim=0)
        axes.legend(frameon=False, loc="lower right")


def main() -> None:
    """Play what is asked for, two at a time; print, keep and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=float, default=1.0, help="from 0 to 1: a smaller load")
    parser.add_argument("--only", default="", help="names of loads that begin so")
    parser.add_argument("--try", dest="dry", action="store_true", help="keep nothing")
    given = parser.parse_args()
    order = [scenario.name for scenario in SCENARIOS]
    chosen = [n for n, name in enumerate(order) if name.startswith(given.only)]
    chosen.sort(key=lambda n: not order[n].startswith(LONG))
    made = {} if given.dry else load().get("scale", {}).get("result", {}).get("loads", {})
    columns = ("limit", "rate", "source", "can be raised")
    limits = [dict(zip(columns, row, strict=True)) for row in DOCUMENTED]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as processes:
        played = {processes.submit(play, n, given.size): order[n] for n in chosen}
        for future in as_completed(played):
            made[played[future]] = future.result()
            made = {name: made[name] for name in order if name in made}
            if not given.dry:
                keep("scale", {"limits": limits, "loads": made})
    Console(width=130).print(table(made))
    if given.dry:
        Console().print_json(data=made)
    else:
        plot(made)


if __name__ == "__main__":
    main()
