"""Holds what was measured against what was planned, row by row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

POLL_SECONDS = 10
FIRST_TIMES = 0.05
"""Calls a run that are made once by each function, or once for all, and are no part of a run."""

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One budget, and what each contender needs."""

    what: str
    budget: str
    agent: str
    worker: str
    legacy: str
    met: bool

    @property
    def verdict(self) -> str:
        """In a word."""
        return "met" if self.met else "**missed**"


def rows(results: Mapping[str, Any]) -> list[Row]:
    """Return the rows of which there are results, by the parts of ``docs/benchmarks.json``."""
    found = {part: kept["result"] for part, kept in results.items()}
    made: list[Row] = []
    if "side by side" in found:
        made += _calls(found["side by side"])
        made += _delays(found["side by side"]["delays"])
        made += _throughput(found["side by side"])
    if "kills" in found:
        made.append(_kills(found["kills"]))
    if "cold start" in found:
        made += _cold_start(found["cold start"])
    if {"cold start", "side by side"} <= found.keys():
        made.append(_memory(found["cold start"], found["side by side"]))
    if "cost" in found:
        made.append(_idle(found["cost"]))
    return made


def _calls(found: Found) -> list[Row]:
    agent, worker = found["SQLite"]["agent"], found["SQLite"]["worker"]
    legacy = found["stand-in of Prefect 1"]["legacy agent"]
    aws = agent["AWS calls a run"]
    looks = aws.get("GetObject", 0)
    needless = [
        name
        for name, count in aws.items()
        if name.startswith(("Describe", "Register", "List")) and count > FIRST_TIMES
    ]
    each = [name for name, count in agent["Prefect calls a run"].items() if count >= 0.5]
    each.remove("all")
    return [
        Row(
            what="AWS calls a run, warm, unchanged definition",
            budget="1 (`RunTask`), +1 `GetObject` with external kwargs",
            agent=_listed(aws),
            worker=_listed(worker["AWS calls a run"]),
            legacy=_listed(legacy["AWS calls a run"]),
            met=aws["RunTask"] == 1 and looks <= 1 and not needless,
        ),
        Row(
            what="Prefect calls a run",
            budget="≤ 3; poll and reads amortised",
            agent=f"{len(each)} each, {agent['Prefect calls a run']['all']} in all",
            worker=f"{worker['Prefect calls a run']['all']} in all",
            legacy=f"{legacy['Prefect calls a run']['all']} in all",
            met=len(each) <= 3,
        ),
    ]


def _listed(calls: Mapping[str, float]) -> str:
    parts = [
        f"{count:g} `{name}`" for name, count in calls.items() if name != "all" and count > 0.05
    ]
    return ", ".join(parts)


def _delays(delays: Found) -> list[Row]:
    names = ("agent", "worker", "legacy agent")
    ahead = {name: delays[name]["scheduled ahead"] for name in names}
    at_once = {name: delays[name]["ad hoc"] for name in names}
    poked = delays["agent"]["ad hoc, with poke"]
    return [
        Row(
            what="start of a run scheduled ahead",
            budget="never early; p99 ≤ +1 s",
            agent=_from_to(ahead["agent"]),
            worker=_from_to(ahead["worker"]),
            legacy=_from_to(ahead["legacy agent"]),
            met=ahead["agent"]["least"] >= 0
            and ahead["agent"]["p99"] <= 1
            and _all_launched(ahead["agent"]),
        ),
        Row(
            what="delay of an ad-hoc run",
            budget=f"≤ {POLL_SECONDS + 1} s",
            agent=_mean(at_once["agent"]),
            worker=_mean(at_once["worker"]),
            legacy=_mean(at_once["legacy agent"]),
            met=at_once["agent"]["most"] <= POLL_SECONDS + 1 and _all_launched(at_once["agent"]),
        ),
        Row(
            what="the same, with poke",
            budget="≤ 2 s",
            agent=_mean(poked),
            worker="—",
            legacy="—",
            met=poked["most"] <= 2 and _all_launched(poked),
        ),
    ]


def _all_launched(delays: Found) -> bool:
    return bool(delays["launched"] == delays["runs"])


def _from_to(delays: Found) -> str:
    return f"{delays['least']:+.1f} to {delays['most']:+.1f} s, p50 {delays['p50']:+.1f}"


def _mean(delays: Found) -> str:
    return f"mean {delays['mean']:.1f} s, up to {delays['most']:.1f}"


def _throughput(found: Found) -> list[Row]:
    made = []
    legacy = found["stand-in of Prefect 1"]["legacy agent"]
    for database in ("SQLite", "PostgreSQL"):
        if "missing" in found[database]:
            continue
        agent, worker = found[database]["agent"], found[database]["worker"]
        rate, failed = agent["runs a second"], agent["failed"]
        ratio = rate / worker["runs a second"]
        made.append(
            Row(
                what=f"dispatch throughput, {database}",
                budget="≥ 3 times the worker's, none failed",
                agent=f"{rate} runs/s ({ratio:.1f} times), {failed} failed",
                worker=f"{worker['runs a second']} runs/s, {worker['failed']} failed",
                legacy=f"{legacy['runs a second']} runs/s, against a stand-in",
                met=ratio >= 3 and not failed and agent["launched"] == agent["runs"],
            )
        )
    return made


def _kills(found: Found) -> Row:
    agent, worker = found["agent: killed"], found["worker: killed"]
    return Row(
        what="killed at each call of a launch: runs that hang",
        budget="0",
        agent=f"{agent['stuck']} of {agent['runs']}",
        worker=f"{worker['stuck']} of {worker['runs']}",
        legacy="—",
        met=agent["stuck"] == agent["lost"] == agent["doubled"] == 0,
    )


def _cold_start(found: Found) -> list[Row]:
    starts = {name: one["ms until the first answer"] for name, one in found["as deployed"].items()}
    zipped = found["bundle"]["zipped MB"]
    return [
        Row(
            what="cold start, process to first answer, `awslambdaric`",
            budget="≤ 400 ms",
            agent=", ".join(f"{name} {one['median']} ms" for name, one in starts.items()),
            worker="—",
            legacy="—",
            met=all(one["median"] <= 400 for one in starts.values()),
        ),
        Row(
            what="bundle, zipped",
            budget="≤ 2 MB",
            agent=f"{zipped} MB",
            worker="—",
            legacy="—",
            met=zipped <= 2,
        ),
    ]


def _memory(cold_start: Found, side_by_side: Found) -> Row:
    peaks = {name: one["peak MB"] for name, one in cold_start["warm"].items()}
    databases = [side_by_side[name] for name in ("SQLite", "PostgreSQL")]
    worker = [max(one["worker"]["peak MB"].values()) for one in databases if "worker" in one]
    legacy = side_by_side["stand-in of Prefect 1"]["legacy agent"]["peak MB"]
    return Row(
        what="memory, peak",
        budget="≤ 90 MB; every function fits 256 MB",
        agent=", ".join(f"{name} {mb:.0f} MB" for name, mb in peaks.items()),
        worker=f"{max(worker):.0f} MB",
        legacy=f"{max(legacy.values()):.0f} MB",
        met=max(peaks.values()) <= 90,
    )


def _idle(found: Found) -> Row:
    total = found["idle"]["poll every 10 s"]["total"]
    return Row(
        what="idle, a month, no free tier",
        budget="≤ $1 at a 10-second poll",
        agent=f"${total:.2f}",
        worker=f"${found['always-on worker']['0.25 vCPU, 0.5 GB, x86_64']:.2f}",
        legacy="the same task",
        met=total <= 1,
    )
