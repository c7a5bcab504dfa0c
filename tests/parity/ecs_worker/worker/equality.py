"""When the worker takes a registered definition for the one it would register."""

from __future__ import annotations

from typing import Any

from tests.parity.ecs_worker.cases import Json

AWS_OWN = {
    *("compatibilities", "taskDefinitionArn", "revision", "status", "requiresAttributes"),
    *("registeredAt", "registeredBy", "deregisteredAt"),
}
ORDERED_BY = {"environment": "name", "secrets": "name", "environmentFiles": "value"}


def equal(wanted: Json, registered: Json) -> bool:
    """Compare without what ECS fills in, as far as the worker knows of that."""
    return bool(_comparable(wanted) == _comparable(registered))


def _comparable(definition: Json) -> Any:
    made = {"networkMode": "bridge", **definition}
    made["containerDefinitions"] = [
        {
            "essential": True,
            **{
                key: sorted(value, key=lambda item: str(item.get(ORDERED_BY[key], "")))
                if key in ORDERED_BY
                else value
                for key, value in container.items()
            },
        }
        for container in made["containerDefinitions"]
    ]
    return {k: v for k, v in _without_empty(made).items() if k not in AWS_OWN}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_empty(v) for k, v in value.items() if v or v is False}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
