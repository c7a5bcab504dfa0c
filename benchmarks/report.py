"""Writes the tables of ``docs/performance.md`` and ``docs/cost.md`` from the results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.budgets import rows
from benchmarks.results import DOCS, load


def markdown(heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a table."""
    table = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in table)


def replaced(text: str, name: str, content: str) -> str:
    """Return a page with other content between the marks of a name.

    Raises
    ------
    ValueError
        The page has no such marks.
    """
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no <!-- begin {name} --> … <!-- end {name} -->")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def write() -> None:
    """Bring the tables of both pages up to date, so far as there are results."""
    results = load()
    for page, make in (("performance", performance), ("cost", cost)):
        path = DOCS / f"{page}.md"
        text = path.read_text()
        for name, content in make(results).items():
            text = replaced(text, name, content)
        path.write_text(text)


def performance(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of the page on performance."""
    made = {}
    if found := rows(results):
        made["budgets"] = markdown(
            ["", "budget", "agent", "ECS worker", "legacy agent", ""],
            [[r.what, r.budget, r.agent, r.worker, r.legacy, r.verdict] for r in found],
        )
    if "cold start" in results:
        made["cold-start"] = _cold_start(results["cold start"]["result"])
    if "scale" in results:
        made["scale"] = _scale(results["scale"]["result"]["loads"])
        made["limits"] = markdown(
            ["limit", "documented", "can be raised"],
            [
                [f"[{one['limit']}]({one['source']})", one["rate"], one["can be raised"]]
                for one in results["scale"]["result"]["limits"]
            ],
        )
    if results:
        made["machine"] = markdown(
            ["part", "measured", "load before", "machine"],
            [[part, *_machine(kept["machine"])] for part, kept in results.items()],
        )
    return made


def _machine(told: Mapping[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items())
    machine = (
        f"{told['cores']} cores of {told['processor']}, {told['memory, GB']} GB, "
        f"{told['system']}, Python {told['Python']}, {packages}"
    )
    return [told["date"], str(told["load before"]), machine]


def _cold_start(found: Mapping[str, Any]) -> str:
    lines = []
    for handler in found["as deployed"]:
        cells = [handler]
        for how in ("as deployed", "with byte code"):
            one = found[how][handler]["ms until the first answer"]
            cells.append(f"{one['median']} / {one['p90']} ms")
        parts = found["imports, ms"][handler].items()
        cells.append(", ".join(f"{name} {ms:.0f}" for name, ms in list(parts)[:6]))
        lines.append(cells)
    heads = ["", "as deployed, median / p90", "with byte code", "imports as deployed, ms"]
    return markdown(heads, lines)


def _scale(loads: Mapping[str, Any]) -> str:
    lines = []
    for name, found in loads.items():
        delay, polls = found["delay in seconds"], found["functions"]["poll"]
        throttled = ", ".join(f"{key} {count:,}" for key, count in found["throttled"].items())
        lines.append(
            [
                f"**{name}**: {found['load']}",
                f"{found['launched']:,} of {found['runs']:,}",
                " / ".join(f"{delay[key]:,.1f}" for key in ("p50", "p90", "p99", "most")),
                found["launches a second"],
                throttled or "none",
                f"{found['Prefect calls a minute']:,}",
                f"{polls['timed out']} of {polls['invocations']}",
            ]
        )
    return markdown(
        [
            "load",
            "launched once",
            "delay p50 / p90 / p99 / most, s",
            "launches/s",
            "calls throttled",
            "Prefect calls a minute",
            "polls timed out",
        ],
        lines,
    )


def cost(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of the page on cost."""
    if "cost" not in results:
        return {}
    found = results["cost"]["result"]
    services = list(dict.fromkeys(name for one in found["idle"].values() for name in one))
    idle = markdown(
        ["a month, idle", *found["idle"]],
        [
            [name, *(f"${one.get(name, 0):.2f}" for one in found["idle"].values())]
            for name in services
        ],
    )
    names = list(dict.fromkeys(name for row in found["by runs a day"] for name in row["agent"]))
    names.remove("total")
    by_runs = markdown(
        [
            "runs a day",
            *names,
            "**agent**",
            "with monitoring",
            "workers that keep up",
            "x86",
            "arm",
        ],
        [
            [
                f"{row['runs a day']:,}",
                *(f"${row['agent'].get(name, 0):,.2f}" for name in names),
                f"**${row['agent']['total']:,.2f}**",
                f"${row['with all monitoring']:,.2f}",
                row["workers that keep up"],
                f"${row['those, x86_64']:,.2f}",
                f"${row['those, arm64']:,.2f}",
            ]
            for row in found["by runs a day"]
        ],
    )
    extra = {
        **found["besides"],
        **{f"worker: {k}": v for k, v in found["always-on worker"].items()},
    }
    besides = markdown(["", "a month"], [[name, f"${price:.2f}"] for name, price in extra.items()])
    return {"idle": idle, "by-runs": by_runs, "besides": besides}


if __name__ == "__main__":
    write()
