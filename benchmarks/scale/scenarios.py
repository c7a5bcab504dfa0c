"""The loads that are played, and what is told of each."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.prices import MAPPINGS_POLL, MEMORY_GB, SECONDS_A_MONTH, Usage
from benchmarks.scale.limits import PREFECT_CLOUD_PRO, Limits
from benchmarks.scale.traffic import Traffic
from fargate_agent.observability import logger
from fargate_agent.poll import SCHEDULE_SECONDS

DAY = 86_400.0
MILLION_A_DAY = 1e6 / DAY
LOG_BYTES = 1800
"""What a launch writes to CloudWatch: four lines of JSON and one of metrics."""

RAISED = Limits(
    run_task=(200, 200),
    fargate_tasks=(500, 200),
    register=(50, 10),
    describe_definition=(400, 200),
    tasks_read=(400, 100),
)
"""Ten times AWS's rates where they bind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load by name."""

    name: str
    text: str
    make: Callable[[float], Traffic]
    """Makes it in a size from 0 to 1."""
    patience: float = 4 * 3600.0
    """For so many seconds after midnight the agent is let work."""


def evenly(rate: float, seconds: float) -> list[float]:
    """Return when runs are due that come one after the other, so many a second."""
    return [number / rate for number in range(int(rate * seconds))]


def on_the_minute(rate: float, minutes: int) -> list[float]:
    """Return when runs are due whose schedules are cron's: all at the beginning of a minute."""
    return [60.0 * minute for minute in range(minutes) for _ in range(int(rate * 60))]


def _minutes(size: float, most: int) -> int:
    return max(2, round(size * most))


def _burst(size: float, **options: Any) -> Traffic:
    count = int(50_000 * size)
    return Traffic([0.0] * count, deployments=int(10_000 * size), **options)


def _backlog(size: float) -> Traffic:
    count = int(50_000 * size)
    due = [(number - count) / MILLION_A_DAY for number in range(count)]
    return Traffic(due, deployments=int(10_000 * size), quiet=0.0)


SCENARIOS = [
    Scenario(
        name="steady",
        text="1,000,000 runs a day, evenly; 10,000 deployments; ten minutes of it, with events",
        make=lambda size: Traffic(
            evenly(MILLION_A_DAY, 60 * _minutes(size, 10)),
            deployments=max(1, int(10_000 * size)),
            watched=True,
        ),
    ),
    Scenario(
        name="cron",
        text="1,000,000 runs a day, all due on the minute (694 each); ten minutes of it",
        make=lambda size: Traffic(
            on_the_minute(MILLION_A_DAY, _minutes(size, 10)), deployments=max(1, int(10_000 * size))
        ),
    ),
    Scenario(
        name="burst",
        text="50,000 runs at midnight, of 10,000 deployments",
        make=_burst,
    ),
    Scenario(
        name="burst, limits raised",
        text="the same with ten times the rates of ECS, and 80 batches at once in place of 8",
        make=lambda size: _burst(size, limits=RAISED, concurrency=80),
    ),
    Scenario(
        name="burst, only RunTask raised",
        text="10,000 runs at midnight, of 10,000 deployments, ten times RunTask and Fargate's rate",
        make=lambda size: Traffic(
            [0.0] * int(10_000 * size),
            deployments=int(10_000 * size),
            limits=Limits(run_task=RAISED.run_task, fargate_tasks=RAISED.fargate_tasks),
            concurrency=80,
        ),
    ),
    Scenario(
        name="backlog",
        text="50,000 runs that came due in the 72 minutes before, as after an outage",
        make=_backlog,
    ),
    Scenario(
        name="new deployments",
        text="2,000 runs at midnight, each of a deployment that was never launched before",
        make=lambda size: Traffic(
            [0.0] * int(2000 * size), deployments=int(2000 * size), registered=False
        ),
    ),
]


def quantiles(values: list[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the ends of values in rising order."""
    last = len(values) - 1
    shares = {"least": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}
    return {name: round(values[round(last * share)], 2) for name, share in shares.items()}


def figures(traffic: Traffic) -> dict[str, Any]:
    """Return what is told of a load that was played."""
    runs, seconds = len(traffic.due), traffic.ended + traffic.quiet
    queue, prefect = traffic.queue, sum(traffic.server.calls.values())
    launched = traffic.cloud.started
    last = max((at for at, _ in launched), default=0.0) - traffic.zero + traffic.clock.start
    return {
        "runs": runs,
        "launched": len({run for _, run in launched}),
        "launched twice": traffic.doubled,
        "dead letters": len(queue.dead),
        "failed": sum(traffic.server.counts[type] for type in ("CRASHED", "FAILED")),
        "delay in seconds": quantiles(traffic.delays) if launched else {},
        "seconds until the last launch": round(last, 1),
        "launches a second": round(
            len(launched) / max(last - max(traffic.due[0], -traffic.quiet), 1e-9), 2
        ),
        "AWS calls": dict(sorted(traffic.cloud.calls.items())),
        "throttled": dict(traffic.cloud.throttles),
        "Prefect calls": dict(sorted(_readable(traffic.server.calls).items())),
        "Prefect calls a run": round(prefect / runs, 2),
        "Prefect calls a minute": round(prefect / seconds * 60),
        "of Prefect Cloud's most": round(prefect / seconds * 60 / PREFECT_CLOUD_PRO, 2),
        "messages": {
            "sent": queue.sent,
            "repeats dropped by the queue": queue.repeats,
            "sent again after its five minutes": queue.sent - runs,
            "received": queue.receives,
            "hidden": queue.hidden,
            "most receives of one": queue.most_receives,
            "most waiting": queue.most_messages,
            "most in flight": queue.most_in_flight,
        },
        "functions": {
            name: {
                "invocations": spent.invocations,
                "seconds": round(spent.seconds, 1),
                "longest": round(spent.longest, 1),
                "timed out": spent.timed_out,
                **({"most at once": spent.most_at_once} if name == "poll" else {}),
            }
            for name, spent in traffic.spent.items()
        },
    }


def _readable(calls: Mapping[str, int]) -> dict[str, int]:
    return {operation.replace("([^/]+)", "{id}"): count for operation, count in calls.items()}


def usage(traffic: Traffic, seconds: float | None = None) -> Usage:
    """Return what a month of a steady load uses, by what its minutes used.

    Parameters
    ----------
    seconds
        How long it was; by default for how long runs came due.
    """
    factor = SECONDS_A_MONTH / (seconds or span(traffic))
    queue, spent, runs = traffic.queue, traffic.spent, len(traffic.due)
    polls, dispatched, watched = spent["poll"], spent["dispatch"], spent["watch"]
    fifo = (
        traffic.cloud.calls["SendMessageBatch"]
        - traffic.tick_batches
        + queue.receive_calls
        + dispatched.invocations
        + queue.hidden
    )
    ticks = traffic.tick_batches + 2 * (polls.invocations - traffic.scheduled)
    events = traffic.told + 2 * watched.invocations
    month = Usage(
        lambda_requests=sum(s.invocations for s in spent.values()),
        lambda_gb_seconds=MEMORY_GB * sum(s.seconds for s in spent.values()),
        sqs_fifo_requests=fifo,
        sqs_standard_requests=ticks + events,
        s3_gets=traffic.cloud.calls["GetObject"],
        scheduler_invocations=traffic.scheduled,
        log_gb=runs * LOG_BYTES / 1e9,
    ).times(factor)
    standard = 2 if traffic.poll_seconds < SCHEDULE_SECONDS else 1  # ticks, and task events
    return month + Usage(
        sqs_fifo_requests=MAPPINGS_POLL, sqs_standard_requests=standard * MAPPINGS_POLL
    )


def span(traffic: Traffic) -> float:
    """Return for how many seconds runs come due in a steady load."""
    due = traffic.due
    return (due[-1] - due[0]) * len(due) / (len(due) - 1)


def runs_a_day(traffic: Traffic) -> float:
    """Return how many runs a day a steady load is."""
    return len(traffic.due) / span(traffic) * DAY


def play(number: int, size: float) -> dict[str, Any]:
    """Play a load and return what is told of it."""
    logger.setLevel("CRITICAL")
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)  # most of what there is stays
    scenario = SCENARIOS[number]
    began = time.perf_counter()
    traffic = scenario.make(size).run(patience=scenario.patience)
    zero = traffic.zero - traffic.clock.start
    starts = [round(at - zero, 1) for at, _ in traffic.cloud.started]
    return {
        "load": scenario.text,
        "size": size,
        **figures(traffic),
        "started, every so manieth": starts[:: max(1, len(starts) // 200)],
        "seconds to simulate": round(time.perf_counter() - began),
    }
