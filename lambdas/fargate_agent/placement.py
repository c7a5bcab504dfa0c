"""What runs the tasks: Fargate, Fargate Spot, instances of a cluster, or machines of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fargate_agent.errors import PermanentError

CPU, MEMORY = "1024", "2048"
"""CPU units and MiB of a run that asks for nothing, as those of Prefect's ECS worker."""

Place = Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
"""Makes a definition and a request fit each other."""

FARGATE, SPOT = "FARGATE", "FARGATE_SPOT"

_MOST = 2**31 - 1
"""ECS's integers end here."""

_UNITS = {"vcpu": 1024, "gb": 1024}


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


def place_job(
    definition: Mapping[str, Any],
    request: Mapping[str, Any],
    flow: Mapping[str, Any],
    launch_type: str,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a definition, a request and the flow's container that fit a work pool's launch type.

    Follows Prefect's ECS worker: Fargate sizes the task and has a network of its own; elsewhere the
    container is sized, and the network is the definition's affair.

    Parameters
    ----------
    launch_type
        That of a run that names none and is not made for instances of a cluster.
    """
    asked, chosen = job_launch(definition, request, launch_type)
    placed = dict(definition)
    sizes = {"cpu": placed.get("cpu") or CPU, "memory": placed.get("memory") or MEMORY}
    for size in ("cpu", "memory"):
        if placed.get(size):
            placed[size] = as_text(placed[size])
    if chosen in (FARGATE, SPOT):
        placed |= {size: as_text(value) for size, value in sizes.items()}
        placed.setdefault("networkMode", "awsvpc")
        requires = placed.get("requiresCompatibilities", [])
        placed["requiresCompatibilities"] = [*requires, *({FARGATE} - {*requires})]
        return placed, asked, dict(flow)
    numbers = {size: as_number(size, value) for size, value in sizes.items()}
    return placed, asked, {**numbers, **flow}


def job_launch(
    definition: Mapping[str, Any], request: Mapping[str, Any], launch_type: str
) -> tuple[dict[str, Any], str | None]:
    """Return a request with its launch type, and what that is; None leaves it to the cluster.

    Raises
    ------
    PermanentError
        The launch type does not go with the definition.
    """
    asked = dict(request)
    strategy = asked.get("capacityProviderStrategy")
    chosen = asked.pop("launchType", None)
    requires = definition.get("requiresCompatibilities", [])
    if not chosen and strategy:
        providers = {str(item.get("capacityProvider")) for item in strategy}
        chosen = FARGATE if providers <= {FARGATE, SPOT} else None
    elif not chosen and "EC2" not in requires:
        chosen = launch_type
    if not strategy or chosen == SPOT:
        _check_launch_type(definition, chosen)
    return asked_launch(asked, chosen or ""), chosen


def _check_launch_type(definition: Mapping[str, Any], chosen: str | None) -> None:
    mode = definition.get("networkMode", "awsvpc")
    if chosen in (FARGATE, SPOT) and mode != "awsvpc":
        raise PermanentError(
            f"The task definition's network mode is {mode!r}, and the launch type is {chosen}, "
            "which knows 'awsvpc' only. Leave networkMode out, or choose the launch type EC2."
        )
    requires = definition.get("requiresCompatibilities") or [FARGATE, "EC2", "EXTERNAL"]
    needed = FARGATE if chosen == SPOT else chosen
    if chosen == "EXTERNAL" and not {FARGATE, "EXTERNAL"} & {*requires}:
        raise PermanentError(_unfit(chosen, "EXTERNAL", requires))
    if needed == FARGATE and "taskDefinitionArn" in definition and FARGATE not in requires:
        raise PermanentError(_unfit(str(chosen), FARGATE, requires))


def _unfit(chosen: str, needed: str, requires: list[str]) -> str:
    return (
        f"The task definition's requiresCompatibilities are {', '.join(requires)}, and the launch "
        f"type is {chosen}. Add {needed} to them, or choose another launch type."
    )


def as_text(size: Any) -> str:
    """Write a size as a task's, in text: a job variable may be any number."""
    return str(int(size)) if isinstance(size, float) and size.is_integer() else str(size)


def as_number(name: str, size: Any) -> int:
    """Write a size as a container's, in whole CPU units or MiB.

    Raises
    ------
    PermanentError
        It is none.
    """
    number = in_units(size)
    if not number.isdecimal() or len(number) > len(str(_MOST)) or int(number) > _MOST:
        # The value is not repeated, for it may be a secret.
        raise PermanentError(
            f"The size {name!r} of a container is no number of CPU units or MiB. Correct it in the "
            "work pool, the deployment, the run or the S3 kwargs file."
        )
    return int(number)


def in_units(size: Any) -> str:
    """Write a size as a number of CPU units or MiB: ``1 vCPU`` and ``2GB`` are 1024 and 2048."""
    text = str(size).strip().lower()
    found = re.fullmatch(r"([\d.]+)\s*(vcpu|gb)?", text)
    try:
        return str(int(float(found[1]) * _UNITS.get(found[2], 1))) if found else text
    except (OverflowError, ValueError):
        return text
