"""From a stopped ECS task to a verdict that a person can act on. Pure.

The codes and reasons are those of
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REASONS = (
    (
        "CannotPullContainerError",
        "Check the image's name and tag, the execution role's right to pull it, and that the "
        "task's subnets reach the registry.",
    ),
    (
        "ResourceInitializationError",
        "Check that the execution role may read the secrets and write the log group, and that the "
        "task's subnets reach those services.",
    ),
    ("OutOfMemory", "Give the flow more memory, in its deployment or its S3 kwargs file."),
)


def diagnose(detail: Mapping[str, Any]) -> str:
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
    cause = "; ".join(filter(None, [reasons, *exits])) or "ECS gave no reason"
    remedy = next((remedy for words, remedy in _REASONS if words in reasons), None)
    if remedy is None and any(c.get("exitCode") == 137 for c in containers):
        remedy = "Code 137 is a kill, most often for want of memory: give the flow more of it."
    advice = f" {remedy}" if remedy else ""
    return f"The ECS task {detail['taskArn']} stopped before the run finished: {cause}.{advice}"
