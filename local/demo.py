"""``make demo``: twenty runs of five flows through the deployed agent, on this machine."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local import pool
from local.cloud import Cloud
from local.loop import WORK_POOL, Loop, Row, deployed_loop
from local.processes import ProcessFailed

KWARGS = {
    "cpu": 2048,
    "memory": 8192,
    "containerDefinitions": [{"environment": [{"name": "GREETING", "value": "from S3"}]}],
}
PATIENCE_SECONDS = 300

console = Console(width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True, slots=True)
class Expected:
    """How a flow's runs should end, in a task of which size."""

    state: str
    size: str = "1024 / 2048"


FLOWS = {
    "hello": Expected("COMPLETED"),
    "needs-more": Expected("COMPLETED", "2048 / 8192"),
    "uses-the-pool": Expected("COMPLETED"),
    "fails-on-purpose": Expected("FAILED"),
    "is-killed": Expected("CRASHED"),
}
PLAN = [
    # flow, seconds ahead, runs
    ("hello", 0, 3),
    ("uses-the-pool", 0, 1),
    ("needs-more", 0, 2),
    ("fails-on-purpose", 0, 1),
    ("is-killed", 0, 1),
    ("hello", 10, 3),
    ("uses-the-pool", 10, 1),
    ("needs-more", 10, 2),
    ("hello", 30, 3),
    ("needs-more", 30, 2),
    ("fails-on-purpose", 30, 1),
]


@dataclass(frozen=True, slots=True)
class Planned:
    """One scheduled run of the plan."""

    flow: str
    ahead: int
    expected: Expected

    def is_met_by(self, row: Row) -> bool:
        """Tell whether the run ended as it should, in a task of its size, started not early."""
        on_time = row.delay is not None and row.delay >= 0
        return (row.state, row.size) == (self.expected.state, self.expected.size) and on_time


def table(rows: list[Row], plan: dict[str, Planned]) -> Table:
    """Draw the runs."""
    drawn = Table(title="Flow runs")
    for column in ("run", "flow", "scheduled", "launched", "delay", "task definition"):
        drawn.add_column(column, no_wrap=True, justify="right" if column == "delay" else "left")
    drawn.add_column("cpu / memory", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    for row in rows:
        planned = plan[row.id]
        final = "green" if planned.is_met_by(row) else "red"
        colour = final if row.ended else "yellow"
        drawn.add_row(
            row.name,
            planned.flow + (f" (+{planned.ahead} s)" if planned.ahead else ""),
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
    family, colon, number = revision.partition(":")
    return f"{family[:23]}{'…' if len(family) > 23 else ''}{colon}{number}"


def watch(rows_of: Callable[[Iterable[str]], list[Row]], plan: dict[str, Planned]) -> list[Row]:
    """Show the runs until all have ended, or patience has."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while True:
            rows = rows_of(plan)
            live.update(table(rows, plan))
            if all(row.ended for row in rows) or time.monotonic() > deadline:
                return rows
            time.sleep(1)


def play(loop: Loop) -> bool:
    """Deploy the flows, schedule the plan, watch it; tell whether every run ended as it should."""
    pool.customise(loop.api, WORK_POOL)
    console.print(
        f"Gave the work pool a sidecar ({pool.SIDECAR['name']}), and variables from the block "
        f"secret/{pool.TOKEN} and the Prefect variable {pool.WAREHOUSE}."
    )
    deployments = loop.deploy_flows(*(name.replace("-", "_") for name in FLOWS))
    url = loop.drop_kwargs("needs-more", deployments["needs-more"]["flow_id"], KWARGS)
    console.print(f"Dropped {url}: {json.dumps(KWARGS)}")
    now = datetime.now(UTC)
    plan = {
        loop.schedule(deployments[flow], now + timedelta(seconds=ahead)): Planned(
            flow, ahead, FLOWS[flow]
        )
        for flow, ahead, count in PLAN
        for _ in range(count)
    }
    rows = watch(loop.rows, plan)
    console.print(table(rows, plan))
    return _summary(loop, rows, plan)


def _summary(loop: Loop, rows: list[Row], plan: dict[str, Planned]) -> bool:
    good = sum(plan[row.id].is_met_by(row) for row in rows)
    console.print(f"{good} of {len(rows)} runs ended as they should.")
    told = [
        _printed(loop, plan, "needs-more", "GREETING=from S3", "variable from S3"),
        _printed(loop, plan, "uses-the-pool", "10 letters for the blue one", "block and variable"),
    ]
    with_sidecar = sum(len(task["containers"]) == 2 for task in loop.tasks())
    console.print(f"{with_sidecar} of {len(rows)} tasks had the sidecar.")
    tell_delays(rows, plan)
    return all(told) and good == with_sidecar == len(rows)


def _printed(loop: Loop, plan: dict[str, Planned], flow: str, words: str, what: str) -> bool:
    """Tell whether every run of a flow has printed some words."""
    ids = [id for id, planned in plan.items() if planned.flow == flow]
    count = sum(words in line for line in loop.logs(*ids))
    console.print(f"{count} of {len(ids)} runs of {flow} printed the {what}.")
    return count == len(ids)


def tell_delays(rows: list[Row], plan: dict[str, Planned]) -> None:
    """Print how late the runs started that were scheduled ahead."""
    delays = [row.delay for row in rows if plan[row.id].ahead and row.delay is not None]
    if delays:
        console.print(
            f"Start delay of the {len(delays)} runs scheduled ahead: min {min(delays):.2f} s, "
            f"median {statistics.median(delays):.2f} s, max {max(delays):.2f} s."
        )


def tell_environment(aws: Cloud) -> None:
    """Print what makes the command line, in another shell, see the agent that runs here."""
    variables = " ".join(f"{name}={value}" for name, value in aws.environment.items())
    console.print("For ./fargate-agent in another shell:")
    console.print(f"export {variables}", soft_wrap=True)


def main() -> int:
    """Parse the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    keep = parser.parse_args().keep

    def run(folder: Path) -> bool:
        started = time.monotonic()
        with deployed_loop(folder, say=console.print) as loop:
            good = play(loop)
            console.print(f"Took {time.monotonic() - started:.0f} s.")
            if keep:
                tell_environment(loop.cloud)
                console.print(f"Prefect's UI: {loop.url.removesuffix('/api')} (Ctrl-C ends it)")
                signal.pause()
        return good

    return in_a_folder_of_its_own(run)


def in_a_folder_of_its_own(run: Callable[[Path], bool]) -> int:
    """Run a program that starts others, so that nothing is left of it; return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="fargate-agent-", ignore_cleanup_errors=True) as folder:
        try:
            good = run(Path(folder))
        except ProcessFailed as error:
            console.print(str(error), style="red", markup=False)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
