"""Works off thousands of runs that are due at once, against the limits of ECS, in virtual time.

Poll and dispatch as deployed, botocore's retries among them; see ``tests/faults/back_pressure``.
The limit is what the token buckets of RunTask and Fargate can have let through by then.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from fargate_agent.observability import logger
from tests.faults.back_pressure.drain import Drain

DOCS = Path(__file__).parents[1] / "docs"
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "back-pressure",
}


def figures(drain: Drain) -> dict[str, Any]:
    """Return what is told of a course."""
    waits: dict[int, list[int]] = {}
    for back_off in drain.queue.back_offs:
        waits.setdefault(back_off.receives, []).append(back_off.seconds)
    return {
        "runs": drain.runs,
        "deployments": drain.deployments,
        "launched": len(drain.launches),
        "lost": len(drain.lost),
        "doubled": len(drain.doubled),
        "dead-lettered": len(drain.queue.dead),
        "failed": drain.runs - drain.prefect.states()["PENDING"],
        "seconds until the last launch": round(drain.launches[-1], 1),
        "share of the limit": round(drain.share_of_limit, 4),
        "calls of RunTask": drain.aws.calls["RunTask"],
        "of these throttled": len(drain.aws.throttled),
        "revisions registered": sum(map(len, drain.aws.revisions.values())),
        "registrations refused": drain.aws.refused_registrations,
        "calls of Prefect": sum(drain.prefect.calls.values()),
        "longest invocation, seconds": round(max(drain.invocations), 1),
        "most receives of a message": drain.queue.most_receives,
        "messages hidden, by receives": {
            receives: f"{len(seconds)} for {min(seconds)} to {max(seconds)} s"
            for receives, seconds in sorted(waits.items())
        },
    }


def plot(drain: Drain, path: Path) -> None:
    """Draw launched over time, against the limit."""
    mpl.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the backend is chosen

    with mpl.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(6.2, 3.2), layout="constrained")
        full = drain.launches[-1]
        reached = next(t for t in range(10**6) if drain.aws.allowed(t) >= drain.runs)
        axes.plot(
            [0, reached, full],
            [drain.aws.allowed(0), drain.runs, drain.runs],
            label="limit of ECS",
            color="#999999",
            linestyle="--",
            linewidth=1,
        )
        steps = range(0, len(drain.launches), 20)
        axes.plot(
            [*(drain.launches[step] for step in steps), full],
            [*steps, drain.runs],
            label=f"launched, {drain.share_of_limit:.1%} of the limit",
            color="#2563eb",
            linewidth=1.5,
        )
        axes.set(xlabel="seconds after all were due", ylabel="flow runs", xlim=0, ylim=0)
        axes.legend(frameon=False, loc="lower right")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--deployments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency", type=int, help="of dispatch; by default as deployed")
    parser.add_argument("--json", type=Path, default=DOCS / "back-pressure.json")
    parser.add_argument("--svg", type=Path, default=DOCS / "back-pressure.svg")
    given = parser.parse_args()
    logger.setLevel("CRITICAL")
    chosen = {"concurrency": given.concurrency} if given.concurrency else {}
    drain = Drain(given.runs, given.deployments, given.seed, **chosen).run()
    found = figures(drain)
    table = Table(show_header=False)
    for name, value in found.items():
        lines = [f"{key}: {text}" for key, text in value.items()] if isinstance(value, dict) else []
        table.add_row(name, "\n".join(lines) or str(value))
    Console().print(table)
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    plot(drain, given.svg)


if __name__ == "__main__":
    main()
