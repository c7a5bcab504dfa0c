"""From a stopped ECS task to a verdict that a person can act on. Pure.

The codes and reasons are those of
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fargate_agent.task_details import Detail, flow_container


class Cause(Enum):
    """Why a task stopped."""

    SPOT = "Spot interruption"
    HOST = "host lost"
    USER = "stopped by a user"
    MEMORY = "out of memory"
    IMAGE = "image not pulled"
    CAPACITY = "no capacity"
    RESOURCES = "resources not initialized"
    START = "not started"
    EXIT = "flow container exited"
    SIDECAR = "sidecar exited"
    SILENCE = "ended without a word"
    UNKNOWN = "unknown"


TAKEN_AWAY = (Cause.SPOT, Cause.HOST)
"""What ends a flow in its middle and is no fault of its own."""

KILLED = (137, 143)
"""The exit codes of a container that ECS stops, for another of its task has ended."""

_REMEDIES = {
    Cause.SPOT: "Run flows that must not be interrupted on launch type FARGATE.",
    Cause.HOST: "AWS or the cluster took the host away; retry the run.",
    Cause.USER: "Retry the run if that was not meant.",
    Cause.MEMORY: "Give the flow more memory, in its deployment or its S3 kwargs file.",
    Cause.IMAGE: (
        "Check the image's name and tag, the execution role's right to pull it, and that the "
        "task's subnets reach the registry."
    ),
    Cause.CAPACITY: (
        "Retry later, name subnets in more availability zones, or add a second capacity provider."
    ),
    Cause.RESOURCES: (
        "Check that the execution role may read the secrets and write the log group, and that the "
        "task's subnets reach those services."
    ),
    Cause.START: (
        "Check the container's command, the image's platform, and that ECS may assume the roles."
    ),
    Cause.EXIT: "Read the container's log for what it said last.",
    Cause.SIDECAR: (
        'Read that container\'s log, or let it be "essential": false where the flow can do '
        "without it."
    ),
    Cause.SILENCE: (
        "The container ended in peace and its flow told Prefect no end: check that its command "
        "runs the flow and that it reaches Prefect's API."
    ),
    Cause.UNKNOWN: "Look the task up in ECS's console, and retry the run.",
}

_LATER = (
    *("i/o timeout", "client.timeout", "timeout exceeded", "timeout awaiting", "timed out"),
    *("net/http: timeout", "tls handshake timeout", "deadline exceeded", "connection reset"),
    *("toomanyrequests", "too many requests", "unexpected eof", "request canceled"),
    *("503 service unavailable", "status code 503", "service unavailable"),
)
"""In what is told of an image these words tell of something that passes."""

_FOR_GOOD = (
    *("accessdenied", "access denied", "permission denied", "not authorized"),
    *("unable to assume the role", "decryptionfailure", "resourcenotfound", "nosuch"),
    *("does not exist", "no such file", "executable file not found", "exec format"),
    *("no command specified", "did not contain", "validationexception", "invalid"),
)
"""In what is told of a start these words tell of something that stays."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a task.

    ``passes`` tells that no fault of the flow or of its settings is to be seen: another task may
    do better.
    """

    cause: Cause
    text: str
    passes: bool


def diagnose(detail: Detail) -> Verdict:
    """Tell why a task stopped and what to do about it.

    Parameters
    ----------
    detail
        The ``detail`` of an ECS Task State Change event whose ``lastStatus`` is STOPPED.
    """
    containers = detail.get("containers", [])
    reasons = " ".join(
        filter(None, [detail.get("stoppedReason"), *(c.get("reason") for c in containers)])
    )
    exits = [
        f"container {container['name']!r} exited with code {container['exitCode']}"
        for container in containers
        if container.get("exitCode")
    ]
    cause, passes = _judge(detail, reasons)
    told = "; ".join(filter(None, [reasons, *exits])) or "ECS gave no reason"
    remedy = _REMEDIES[cause]
    if cause is Cause.EXIT and _exit_of_flow(detail) == 137:
        remedy = "Code 137 is a kill, most often for want of memory: give the flow more of it."
    text = f"The ECS task {detail['taskArn']} stopped before the run finished: {told}. {remedy}"
    return Verdict(cause, text, passes)


def _judge(detail: Detail, reasons: str) -> tuple[Cause, bool]:
    said, code = reasons.lower(), detail.get("stopCode")
    for cause, code_of_it, words, passes in _SIGNS:
        if code == code_of_it or any(word in said for word in words):
            return cause, passes(said)
    return _by_exits(detail), False


def _by_exits(detail: Detail) -> Cause:
    flow, own = flow_container(detail), _exit_of_flow(detail)
    others = [c.get("exitCode") for c in detail.get("containers", []) if c["name"] != flow]
    if (own is None or own in KILLED) and any(x is not None and x not in KILLED for x in others):
        return Cause.SIDECAR if flow else Cause.EXIT
    if own:
        return Cause.EXIT
    return Cause.SILENCE if own == 0 else Cause.UNKNOWN


def _exit_of_flow(detail: Detail) -> int | None:
    flow = flow_container(detail)
    exits = {c["name"]: c.get("exitCode") for c in detail.get("containers", [])}
    return (
        exits.get(flow) if flow else max((e for e in exits.values() if e is not None), default=None)
    )


def _always(said: str) -> bool:
    return True


def _never(said: str) -> bool:
    return False


def _unless_it_stays(said: str) -> bool:
    return not any(words in said for words in _FOR_GOOD)


def _if_it_passes(said: str) -> bool:
    return any(words in said for words in _LATER)


_Sign = tuple[Cause, str | None, tuple[str, ...], Callable[[str], bool]]
_NETWORK = ("network interface", "unexpected ec2 error")

_SIGNS: tuple[_Sign, ...] = (
    (Cause.SPOT, "SpotInterruption", ("spot task was interrupted", "spot interruption"), _always),
    (Cause.HOST, "TerminationNotice", ("host ec2", "underlying infrastructure"), _always),
    (Cause.HOST, "InfrastructureHealth", ("container instance deregistration",), _always),
    (Cause.USER, "UserInitiated", ("task stopped by user",), _never),
    (Cause.MEMORY, "", ("outofmemory", "out of memory"), _never),
    (Cause.IMAGE, "", ("cannotpull",), _if_it_passes),
    (Cause.CAPACITY, "", ("capacity is unavailable", "insufficient capacity"), _always),
    # A command that is not there is told as a failed start and a failed initialization at once.
    (Cause.START, "", ("cannotstart", "cannotcreate"), _unless_it_stays),
    (Cause.RESOURCES, "", ("resourceinitialization", *_NETWORK), _unless_it_stays),
    (Cause.START, "TaskFailedToStart", (), _unless_it_stays),
)
"""In this order: the stop code or the words of its reasons that tell each cause, and whether it
passes."""
