"""What the worker registers and runs for a configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from tests.parity.ecs_worker.cases import Given, Json
from tests.parity.ecs_worker.worker.configuration import Configuration, flow_container_name
from tests.parity.ecs_worker.worker.templating import Refusal

FLOW = "prefect"
FARGATE = ("FARGATE", "FARGATE_SPOT")
SIZED = "sized"
"""Set where a rule has sized the container: the worker looks at the task's size all the same."""

DEREGISTERED = {"key": "prefect.io/degregister-task-definition", "value": "true"}


def definition(given: Given, job: Configuration, region: str) -> dict[str, Any]:
    """Return the parameters of ``register_task_definition``."""
    made: dict[str, Any] = deepcopy(job["task_definition"])
    containers = [c for c in made.get("containerDefinitions") or [] if c]
    made["containerDefinitions"] = containers
    flow = _flow_container(containers, job["container_name"] or flow_container_name(made))
    flow.setdefault("image", given.default_image)
    unset = {name for name, text in job["env"].items() if text is None}
    if "environment" in flow:
        flow["environment"] = [
            e for e in flow["environment"] if e["name"] not in unset and e["value"] is not None
        ]
    if job.get("configure_cloudwatch_logs"):
        flow["logConfiguration"] = _logs(given, job, region)
    made["family"] = made.get("family") or _name("prefect", given)
    _size(made, flow, job)
    _drop_empty(made)
    _add_secrets(flow, job)
    return made


def _flow_container(containers: list[dict[str, Any]], asked: str | None) -> dict[str, Any]:
    name = asked or FLOW
    for container in containers:
        if container.get("name") == name:
            return container
    if name != FLOW:
        raise Refusal(f"no container {name}", name)
    for container in containers:
        if "name" not in container:
            container["name"] = name
            return container
    containers.append({"name": name})
    return containers[-1]


def _name(prefix: str, given: Given) -> str:
    whose = (given.deployment or {}).get("id") or given.flow["id"]
    return f"{prefix}_{given.work_pool['name']}_{whose}"


def _logs(given: Given, job: Configuration, region: str) -> dict[str, Any]:
    prefix = job.get("cloudwatch_logs_prefix") or _name("prefect-logs", given)
    return {
        "logDriver": "awslogs",
        "options": {
            "awslogs-create-group": "true",
            "awslogs-group": "prefect",
            "awslogs-region": region,
            "awslogs-stream-prefix": prefix,
            **job["cloudwatch_logs_options"],
        },
    }


def _size(made: dict[str, Any], flow: dict[str, Any], job: Configuration) -> None:
    cpu, memory = made.get("cpu") or 1024, made.get("memory") or 2048
    if job["task_run_request"].get("launchType") in FARGATE:
        made |= {"cpu": cpu, "memory": memory}
        wanted = made.setdefault("requiresCompatibilities", [])
        if "FARGATE" not in wanted:
            wanted.append("FARGATE")
        made.setdefault("networkMode", "awsvpc")
    else:
        for key, size in (("cpu", cpu), ("memory", memory)):
            if not (job.get(SIZED) and key in flow):
                flow.setdefault(key, int(size))
    for key in ("cpu", "memory"):
        if made.get(key):
            made[key] = str(made[key])


def _drop_empty(table: dict[str, Any]) -> None:
    for key, value in list(table.items()):
        if not value and value is not False:
            del table[key]
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                _drop_empty(item)


def _add_secrets(flow: dict[str, Any], job: Configuration) -> None:
    held = {
        "PREFECT_API_KEY": job.get("prefect_api_key_secret_arn"),
        "PREFECT_API_AUTH_STRING": job.get("prefect_api_auth_string_secret_arn"),
    }
    arns = {name: arn for name, arn in held.items() if arn}
    if not arns:
        return
    if "environment" in flow:
        flow["environment"] = [e for e in flow["environment"] if e["name"] not in arns]
    below = {e.get("name"): e.get("valueFrom") for e in flow.get("secrets") or []}
    flow["secrets"] = [{"name": n, "valueFrom": arn} for n, arn in {**below, **arns}.items()]


def check(made: Json, job: Configuration) -> None:
    """Check that a definition and a request fit, as the worker does.

    Raises
    ------
    Refusal
        They do not.
    """
    if job.get("configure_cloudwatch_logs") and not made.get("executionRoleArn"):
        raise Refusal("no execution role in the task definition", "execution")
    request = job["task_run_request"]
    launch_type, strategy = request.get("launchType"), request.get("capacityProviderStrategy")
    on_instances = "EC2" in made.get("requiresCompatibilities", [])
    if not launch_type and not strategy and not on_instances:
        launch_type = "FARGATE"
    if (strategy and launch_type != "FARGATE_SPOT") or (on_instances and not launch_type):
        return
    if launch_type != "EC2" and "FARGATE" not in made.get("requiresCompatibilities", ["FARGATE"]):
        raise Refusal(f"not compatible with {launch_type}", "requiresCompatibilities")
    if launch_type in FARGATE and made.get("networkMode", "awsvpc") != "awsvpc":
        raise Refusal("a network mode that Fargate does not have", "network mode")


def wants_look_up(made: Json, job: Configuration) -> bool:
    """Tell whether the worker asks EC2 for a VPC's subnets."""
    if made.get("networkMode") != "awsvpc":
        return False
    if job["network_configuration"]:
        return bool(job.get("vpc_id"))
    return not job["task_run_request"].get("networkConfiguration")


def request(
    job: Configuration, made: Json, arn: str, network: Json | None, *, is_new: bool
) -> dict[str, Any]:
    """Return the parameters of ``run_task``; ``network`` is what a look-up found."""
    asked: dict[str, Any] = deepcopy(job["task_run_request"])
    asked.setdefault("taskDefinition", arn)
    if job.get("cluster") and not asked.get("cluster"):
        asked["cluster"] = job["cluster"]
    if not asked.get("launchType"):
        asked.pop("launchType", None)
        if "EC2" not in made.get("requiresCompatibilities", []):
            asked["launchType"] = "FARGATE"
    _choose(asked)
    if network is not None:
        asked["networkConfiguration"] = network
    overrides = asked.get("overrides", {})
    containers = overrides.get("containerOverrides", [])
    name = job["container_name"] or flow_container_name(made) or FLOW
    if containers and not containers[0].get("name"):
        containers[0]["name"] = name
    flow = next((c for c in containers if c.get("name") == name), None)
    if flow is not None:
        flow["command"] = job["command"]
    for container in containers:
        _in_ecs_form(container)
    for key in ("cpu", "memory"):
        if overrides.get(key):
            overrides[key] = str(overrides[key])
    asked["tags"] = tags(asked.get("tags") or [], job["labels"])
    if is_new and job["auto_deregister_task_definition"]:
        asked["tags"].append(DEREGISTERED)
    if flow is not None:
        flow["environment"] = _laid_over(flow["environment"], job["env"])
    if "overrides" in asked:
        overrides["containerOverrides"] = containers
    return asked


def _choose(asked: dict[str, Any]) -> None:
    """Let either a launch type or a strategy stand: they exclude each other."""
    if asked.get("capacityProviderStrategy"):
        asked.pop("launchType", None)
    elif asked.get("launchType") == "FARGATE_SPOT":
        asked.pop("launchType")
        asked["capacityProviderStrategy"] = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def _in_ecs_form(container: dict[str, Any]) -> None:
    if isinstance(container.get("command"), str):
        try:
            container["command"] = shlex.split(container["command"])
        except ValueError as error:
            raise Refusal(str(error)) from error
    told = container.get("environment") or []
    if isinstance(told, dict):
        told = [{"name": name, "value": text} for name, text in told.items()]
    try:
        container["environment"] = [entry for entry in told if entry["value"] is not None]
    except KeyError as error:
        raise Refusal("a variable without a value") from error


def _laid_over(below: Sequence[Json], env: Mapping[str, str | None]) -> list[Any]:
    kept = [entry for entry in below if entry["name"] not in env]
    return [*kept, *({"name": n, "value": v} for n, v in env.items() if v is not None)]


def tags(asked: Any, labels: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the task's tags: those of the request that no label shadows, then the labels."""
    if isinstance(asked, dict):
        asked = [{"key": key, "value": value} for key, value in asked.items()]
    kept = [tag for tag in asked if tag["key"] not in labels]
    every = [*kept, *({"key": key, "value": value} for key, value in labels.items())]
    try:
        return [{"key": slug(tag["key"]), "value": slug(tag["value"])} for tag in every]
    except KeyError as error:
        raise Refusal("a tag without a value") from error


def slug(text: str) -> str:
    """Write a tag's text with what the worker lets stand."""
    return re.sub(r"-+", "-", re.sub(r"[^a-zA-Z0-9_./=+:@-]+", "-", str(text))).strip("-")
