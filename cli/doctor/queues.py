"""The queues: what waits, how long, and what was given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cli import queues
from cli.doctor.findings import Finding, ok, warning
from cli.doctor.subject import Subject
from cli.figures import figures

OLD = timedelta(minutes=15)


def depths(subject: Subject) -> Iterator[Finding]:
    """Tell how full the queues are."""
    sqs = subject.client("sqs")
    found = {
        "queue of runs": queues.runs(subject.agent),
        "queue of task events": queues.task_events(subject.agent, sqs),
    }
    for check, queue in found.items():
        depth = queues.depth(sqs, queue)
        told = f"{depth.visible} waiting, {depth.in_flight + depth.delayed} hidden or in flight"
        if depth.dead_letters:
            yield warning(
                check,
                f"{depth.dead_letters} dead letters; {told}",
                "'./fargate-agent redrive' tells what they are, and puts back those you choose.",
            )
        else:
            yield ok(check, f"{told}, no dead letters")


def oldest(subject: Subject) -> Iterator[Finding]:
    """Tell how long the oldest message waits."""
    found = figures(
        subject.client("cloudwatch"),
        "AWS/SQS",
        "ApproximateAgeOfOldestMessage",
        {"QueueName": queues.runs(subject.agent).url.rpartition("/")[2]},
        "Maximum",
        until=subject.now(),
        window=timedelta(minutes=10),
    )
    if not found:  # SQS sends none of a queue that nobody used for hours
        return
    age = timedelta(seconds=found[-1])
    if age > OLD:
        yield warning(
            "age of the oldest message",
            f"{age.total_seconds() / 60:.0f} minutes",
            "Read the line 'log of dispatch': it says why launches are tried again.",
        )
    else:
        yield ok("age of the oldest message", f"{age.total_seconds():.0f} s")
