"""What runs the tasks: Fargate, Fargate Spot, instances of a cluster, or machines of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CPU, MEMORY = "1024", "2048"
"""CPU units and MiB of a run that asks for nothing, as those of Prefect's ECS worker."""

SPOT = "FARGATE_SPOT"


def place(
    definition: Mapping[str, Any], request: Mapping[str, Any], launch_type: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a definition and a request for ``run_task`` that fit each other and a launch type.

    What either names itself stays. Fargate must know a task's size.
    """
    placed, asked = {"networkMode": "awsvpc", **definition}, asked_launch(request, launch_type)
    chosen = asked.get("launchType") or request.get("launchType") or launch_type
    providers = asked.get("capacityProviderStrategy", [])
    if any(item.get("capacityProvider", "").startswith("FARGATE") for item in providers):
        chosen = "FARGATE"
    if chosen:
        placed.setdefault("requiresCompatibilities", [chosen])
    if not chosen or "FARGATE" in placed.get("requiresCompatibilities", []):
        placed["cpu"] = str(placed.get("cpu") or CPU)
        placed["memory"] = str(placed.get("memory") or MEMORY)
    return placed, asked


def without_needless_network(
    definition: Mapping[str, Any], request: Mapping[str, Any], made: Any
) -> Mapping[str, Any]:
    """Leave the network that the stack made out of a request that cannot use it.

    ECS takes a network configuration in the mode awsvpc only. One that the user wrote stays, for
    ECS to say so.
    """
    mode = definition.get("networkMode", "awsvpc")
    if mode == "awsvpc" or not made or request.get("networkConfiguration") != made:
        return request
    return {key: value for key, value in request.items() if key != "networkConfiguration"}


def asked_launch(request: Mapping[str, Any], launch_type: str) -> dict[str, Any]:
    """Return a request with the launch type, unless it chooses for itself.

    A launch type and a capacity provider strategy exclude each other
    (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html), and Fargate Spot
    is a capacity provider. An empty launch type leaves the choice to the cluster.
    """
    asked = dict(request)
    strategy = asked.pop("capacityProviderStrategy", None)
    chosen = asked.pop("launchType", None) or launch_type
    if strategy:
        return {**asked, "capacityProviderStrategy": strategy}
    if chosen == SPOT:
        return {**asked, "capacityProviderStrategy": [{"capacityProvider": SPOT, "weight": 1}]}
    return {**asked, "launchType": chosen} if chosen else asked
