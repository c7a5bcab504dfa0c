"""The three functions: whether they can run, what invokes them, and how it went lately."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cli.doctor.findings import Finding, failure, ok, unknown, warning
from cli.doctor.subject import Subject
from cli.figures import figures
from cli.function_log import errors_in

FUNCTIONS = ("poll", "dispatch", "watch")
WINDOW = timedelta(minutes=15)

_ANEW = "Deploy again ('npx cdk deploy')."


def states(subject: Subject) -> Iterator[Finding]:
    """Check that each can run."""
    sound = []
    for name in FUNCTIONS:
        function = subject.agent.function(name)
        configuration = function["Configuration"]
        reserved = function.get("Concurrency", {}).get("ReservedConcurrentExecutions")
        state, update = configuration.get("State"), configuration.get("LastUpdateStatus")
        check = f"function {name}"
        if state in ("Inactive", "Pending"):
            yield warning(
                check,
                f"its state is {state}, as of one that idled for long or is being updated",
                "Poll ('./fargate-agent poke'), and run doctor again in a minute.",
            )
        elif state not in (None, "Active"):
            reason = configuration.get("StateReason", "")
            yield failure(check, f"its state is {state}: {reason}", _ANEW)
        elif update == "Failed":
            reason = configuration.get("LastUpdateStatusReason", "")
            yield failure(check, f"its last update failed: {reason}", _ANEW)
        elif reserved == 0:
            yield failure(
                check,
                "its reserved concurrency is 0, so it is never run",
                f"aws lambda delete-function-concurrency --function-name "
                f"{configuration['FunctionName']}",
            )
        else:
            sound.append(name)
    if sound:
        yield ok("functions", f"{', '.join(sound)}: active")


def mappings(subject: Subject) -> Iterator[Finding]:
    """Check that the queues' messages are handed to them."""
    lambda_ = subject.client("lambda")
    expected = {"dispatch": True, "watch": True, "poll": bool(_ticks(subject))}
    enabled = []
    for name in (name for name, wanted in expected.items() if wanted):
        function = subject.agent.function(name)["Configuration"]["FunctionName"]
        found = lambda_.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        check = f"queue of {name}"
        if not found:
            yield failure(check, f"nothing hands its messages to {name}", _ANEW)
        for mapping in found:
            state = mapping.get("State", "")
            if state in ("Enabled", "Enabling", "Updating", "Creating"):
                enabled.append(name)
                continue
            yield failure(
                check,
                f"its event source mapping is {state} ({mapping.get('StateTransitionReason', '')})",
                f"aws lambda update-event-source-mapping --enabled --uuid {mapping['UUID']}",
            )
    if enabled:
        yield ok("queues' consumers", f"{', '.join(enabled)}: enabled")


def _ticks(subject: Subject) -> str | None:
    return subject.agent.settings("poll").ticks_queue_url


def schedule(subject: Subject) -> Iterator[Finding]:
    """Check that polls are made at all."""
    names = [_name(r) for r in _of_type(subject, "AWS::Scheduler::Schedule")]
    for name in names:
        found = subject.client("scheduler").get_schedule(Name=name)
        enabled, rate = found["State"] == "ENABLED", found["ScheduleExpression"]
        if not subject.settings.enabled:
            yield warning(
                "schedule",
                "agent.enabled is false: nothing polls",
                "Deploy with agent.enabled = true.",
            )
        elif not enabled:
            yield failure(
                "schedule",
                f"{name} is disabled, and agent.enabled is true: nothing polls",
                "Enable it in EventBridge Scheduler's console, or deploy again.",
            )
        else:
            interval = subject.settings.poll_interval_seconds
            yield ok("schedule", f"{rate}; a poll every {interval} s")
    if not names:
        yield failure("schedule", "the stack has none: nothing polls", _ANEW)


def rule(subject: Subject) -> Iterator[Finding]:
    """Check that ECS's events reach their queue."""
    check = "rule for ECS's events"
    for name in (_name(r) for r in _of_type(subject, "AWS::Events::Rule")):
        found = subject.client("events").describe_rule(Name=name)
        if found["State"] == "ENABLED":
            yield ok(check, "enabled")
        else:
            yield failure(
                check,
                f"{name} is {found['State'].lower()}: no run is told that its task died",
                f"aws events enable-rule --name {name}",
            )


def errors(subject: Subject) -> Iterator[Finding]:
    """Tell what the functions wrote as errors lately."""
    clean = []
    for name in FUNCTIONS:
        since = subject.now() - WINDOW
        found = errors_in(subject.client("logs"), subject.agent.function(name), since)
        if found:
            last = found[-1]
            yield warning(
                f"log of {name}",
                f"{len(found)} errors in {_minutes()} minutes, the last at {last.at:%H:%M:%S}: "
                f"{last.text}",
                "Mend what it names; './fargate-agent status' shows what came of the runs.",
            )
        else:
            clean.append(name)
    if clean:
        yield ok("functions' errors", f"{', '.join(clean)}: none in {_minutes()} minutes")


def invocations(subject: Subject) -> Iterator[Finding]:
    """Tell how many polls were made lately, and how many failed."""
    check = "polls by Lambda's count"
    made, failed = polls(subject)
    if made is None:
        yield unknown(check, "CloudWatch has no figures of poll in this quarter of an hour")
    elif failed:
        yield (failure if failed >= made else warning)(
            check,
            f"{failed:.0f} of {made:.0f} failed in {_minutes()} minutes",
            "Read the line 'log of poll', or its log group.",
        )
    else:
        yield ok(check, f"{made:.0f} in {_minutes()} minutes, none failed")


def polls(subject: Subject) -> tuple[float | None, float | None]:
    """Return how often ``poll`` ran lately and how often it failed; None is not known."""
    made, failed = (_sum(subject, metric) for metric in ("Invocations", "Errors"))
    return made, failed


def _sum(subject: Subject, metric: str) -> float | None:
    name = subject.agent.function("poll")["Configuration"]["FunctionName"]
    found = figures(
        subject.client("cloudwatch"),
        "AWS/Lambda",
        metric,
        {"FunctionName": name},
        "Sum",
        until=subject.now(),
        window=WINDOW,
    )
    return sum(found) if found else None


def _minutes() -> int:
    return int(WINDOW.total_seconds() // 60)


def _of_type(subject: Subject, kind: str) -> list[Any]:
    return [resource for resource in subject.agent.resources if resource["ResourceType"] == kind]


def _name(resource: Any) -> str:
    return str(resource["PhysicalResourceId"]).rpartition("/")[2]
