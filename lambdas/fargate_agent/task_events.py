"""ECS's task events as Prefect events, as its ECS worker writes them (``prefect.ecs.task.*``).

Automations and the event feed of a run in Prefect's UI show them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slugify import slugify

_RELATED = (
    ("flow-run", "prefect.flow-run"),
    ("deployment", "prefect.deployment"),
    ("flow", "prefect.flow"),
    ("work-pool", "prefect.work-pool"),
)
"""Kinds of which a task's tags name one each, ``prefect.io/<kind>-id`` and ``-name``."""


def prefect_event(event: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the Prefect event of an ECS Task State Change.

    Parameters
    ----------
    event
        The whole event. Its id is the Prefect event's too, so that what is told twice counts once.
    tags
        Those of the task.
    """
    detail = event["detail"]
    arn = detail["taskArn"]
    resource = {
        "prefect.resource.id": f"prefect.ecs.task.{arn.rpartition('/')[2]}",
        "ecs.taskArn": arn,
        "ecs.clusterArn": detail["clusterArn"],
        "ecs.taskDefinitionArn": detail["taskDefinitionArn"],
    }
    return {
        "id": event["id"],
        "occurred": event["time"],
        "event": f"prefect.ecs.task.{detail['lastStatus'].lower()}",
        "resource": resource,
        "related": list(_related(tags)),
    }


def _related(tags: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for kind, prefix in _RELATED:
        if id := tags.get(f"prefect.io/{kind}-id"):
            yield _resource(f"{prefix}.{id}", kind, tags.get(f"prefect.io/{kind}-name"))
    if worker := tags.get("prefect.io/worker-name"):
        id = f"prefect.worker.ecs.{slugify(worker)}"
        yield {**_resource(id, "worker", worker), "prefect.worker-type": "ecs"}


def _resource(id: str, role: str, name: str | None) -> dict[str, str]:
    named = {"prefect.resource.name": name} if name else {}
    return {"prefect.resource.id": id, "prefect.resource.role": role, **named}
