"""What is registered otherwise."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from tests.parity.ecs_worker.failures import ANY_HASH
from tests.parity.ecs_worker.migration import SECRETS, secret_of
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.rules.base import Rule, every, registers, starts, templated


def _slugified(plan: Plan) -> Plan:
    family = re.sub(r"[^A-Za-z0-9_-]+", "-", plan.definition["family"])[:255]
    return plan.with_definition(family=family)


def _imaged(plan: Plan) -> Plan:
    if _names_an_image(plan):
        return plan
    image = f"prefecthq/prefect:{plan.given.server_version}-python3.12"

    def change(container: dict[str, Any]) -> dict[str, Any]:
        is_default = container.get("image") == plan.given.default_image
        return {**container, "image": image} if is_default else container

    return plan.with_container(change)


def _names_an_image(plan: Plan) -> bool:
    containers = plan.job["task_definition"].get("containerDefinitions") or []
    names = [container.get("name") for container in containers]
    sought = plan.flow_name if plan.flow_name in names else None
    return any(c.get("name") == sought and c.get("image") for c in containers)


def _with_empty_variables(plan: Plan) -> Plan:
    """Write out the empty values that the worker's dropping of empty values takes away."""
    containers = [
        {**c, "environment": [{"value": "", **entry} for entry in c["environment"]]}
        if c.get("environment")
        else c
        for c in plan.definition["containerDefinitions"]
    ]
    return plan.with_definition(containerDefinitions=containers)


def _unset(plan: Plan) -> Plan:
    """Leave out of the flow's container, as defined and as overridden, what env sets to null."""
    unset = {name for name, text in plan.job["users_env"].items() if text is None}

    def without(names: set[str], container: dict[str, Any]) -> dict[str, Any]:
        if container.get("name") != plan.flow_name or not container.get("environment"):
            return container
        return _with_environment(
            container, [e for e in container["environment"] if e["name"] not in names]
        )

    if not unset:
        return plan
    changed = plan if plan.named else plan.with_container(partial(without, unset))
    return changed.with_overrides(partial(without, unset - {"PREFECT__FLOW_RUN_ID"}))


def _with_environment(container: dict[str, Any], entries: list[Any]) -> dict[str, Any]:
    made = {**container, "environment": entries}
    if not entries:
        del made["environment"]
    return made


def _by_reference(plan: Plan) -> Plan:
    """Give the flow's container the secret that holds the worker's own credentials."""
    name = secret_of(plan.run.case)
    users = plan.job["users_env"]
    if name is None or plan.named or name in users:
        return plan

    def change(container: dict[str, Any]) -> dict[str, Any]:
        entries = [*container.get("secrets", []), *container.get("environment", [])]
        if name in {entry["name"] for entry in entries}:
            return container
        own = {"name": name, "valueFrom": SECRETS[name]}
        return {**container, "secrets": [*container.get("secrets", []), own]}

    return plan.with_container(change)


def _secret_only(plan: Plan) -> Plan:
    """Leave the value of a secret out of what is plain."""
    secrets = {
        entry["name"]
        for container in plan.definition.get("containerDefinitions", [])
        if container.get("name") == plan.flow_name
        for entry in container.get("secrets", [])
    }
    told = {*plan.job["users_env"], *templated(plan)}
    hidden = secrets | (SECRETS.keys() & plan.given.env.keys() - told)

    def change(container: dict[str, Any]) -> dict[str, Any]:
        if container.get("name") != plan.flow_name or "environment" not in container:
            return container
        return {
            **container,
            "environment": [e for e in container["environment"] if e["name"] not in hidden],
        }

    return plan.with_overrides(change)


def _needs_the_key(plan: Plan) -> bool:
    """Tell whether a definition that the run names does not give the flow its credentials."""
    name = secret_of(plan.run.case)
    arns = (
        {
            "PREFECT_API_KEY": plan.job.get("prefect_api_key_secret_arn"),
            "PREFECT_API_AUTH_STRING": plan.job.get("prefect_api_auth_string_secret_arn"),
        }
        if plan.job
        else {}
    )
    wanted = {name} - {None} | {key for key, arn in arns.items() if arn}
    given = {
        entry["name"]
        for container in plan.definition.get("containerDefinitions", [])
        if container.get("name") == plan.flow_name
        for key in ("environment", "secrets")
        for entry in container.get(key, [])
    }
    return bool(plan.named and not plan.refusal and wanted - given - plan.job["users_env"].keys())


def _lacks_the_container(plan: Plan) -> bool:
    """Tell whether a definition that the run names has no container to run the flow in."""
    names = {c.get("name") for c in plan.definition.get("containerDefinitions", [])}
    return bool(plan.named and names and plan.flow_name not in names)


def _tagged(plan: Plan) -> Plan:
    tags = {tag["key"]: tag["value"] for tag in plan.definition.get("tags", [])}
    tags |= {"fargate-agent/deployment-id": plan.cache_key, "fargate-agent/content-hash": ANY_HASH}
    return plan.with_definition(tags=[{"key": k, "value": v} for k, v in tags.items()])


DEFINITIONS = (
    Rule(
        name="a family that ECS takes",
        why="A family of the pool's name is written with the characters that ECS takes, and no "
        "longer. The worker meant to and did not use what it had written.",
        applies=registers,
        change=_slugified,
    ),
    Rule(
        name="default image",
        why="Where nobody names an image it is Prefect's own of the server's version, with the "
        "Python that this agent knows; the worker's had its own Python.",
        applies=registers,
        change=_imaged,
        universal=True,
    ),
    Rule(
        name="an empty variable is empty",
        why="A variable that the template sets to an empty text is registered as that. The "
        "worker dropped its value with all else that is empty, and registered a bare name.",
        applies=registers,
        change=_with_empty_variables,
    ),
    Rule(
        name="null removes a variable",
        why="A variable that env sets to null is left out of the flow's container wherever the "
        "template sets it. The worker forgot the nulls before it came to that.",
        applies=every,
        change=lambda plan: plan if plan.refusal else _unset(plan),
    ),
    Rule(
        name="secret by reference",
        why="The worker's own key is a secrets entry of the container, read by ECS from Secrets "
        "Manager; it stood in plain text in each task's overrides.",
        applies=registers,
        change=_by_reference,
    ),
    Rule(
        name="a secret is nowhere plain",
        why="What the container has as a secret is in no override: ECS takes a name only once, "
        "and a plain value is read by whoever may describe tasks.",
        applies=starts,
        change=_secret_only,
    ),
    Rule(
        name="a named definition knows the key",
        why="A task definition that the run names cannot be given a secret: where it has none "
        "the run is told so, before it fails to reach Prefect.",
        applies=_needs_the_key,
        change=lambda plan: plan.changed(unfit="it lacks a secret"),
    ),
    Rule(
        name="a named definition has the container",
        why="Where a task definition that the run names has no container of the name that the "
        "job gives, the run is told so; the worker sent an override for nothing.",
        applies=_lacks_the_container,
        change=lambda plan: plan.changed(unfit="it lacks the container"),
    ),
    Rule(
        name="content tag",
        why="A registered definition is tagged with the hash of its content and with its "
        "deployment, so that the right one is found again.",
        applies=registers,
        change=_tagged,
        universal=True,
    ),
)
