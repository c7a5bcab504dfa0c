"""What ECS's description of a task tells, in its events and in DescribeTasks alike. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fargate_agent.runs import CLAIM_ENV

Detail = Mapping[str, Any]
"""A task as ECS describes it."""


def flow_run_id(detail: Detail) -> str | None:
    """Return the run that a task was started for, or None where it is no flow run's."""
    try:
        return str(uuid.UUID(detail.get("startedBy") or ""))
    except ValueError:
        return None


def told(detail: Detail, variable: str) -> str | None:
    """Return what the agent told a task's flow in a variable; sidecars are told by others."""
    for container in detail.get("overrides", {}).get("containerOverrides", []):
        told = _environment(container)
        if CLAIM_ENV in told:
            return told.get(variable)
    return None


def flow_container(detail: Detail) -> str | None:
    """Name the container that runs the flow: the one that is told the claim, or the only one."""
    for container in detail.get("overrides", {}).get("containerOverrides", []):
        if CLAIM_ENV in _environment(container):
            return str(container["name"])
    names = [container["name"] for container in detail.get("containers", [])]
    return names[0] if len(names) == 1 else None


def ended_well(detail: Detail) -> bool:
    """Tell whether every container exited with code 0."""
    codes = [container.get("exitCode") for container in detail.get("containers", [])]
    return bool(codes) and all(code == 0 for code in codes)


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("environment", [])}
