"""What the worker stumbles over: the run goes on as its user meant it."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Any

from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.rules.base import Rule
from tests.parity.ecs_worker.worker.calls import SIZED
from tests.parity.ecs_worker.worker.configuration import Configuration
from tests.parity.ecs_worker.worker.templating import Refusal

SIZES = ("cpu", "memory", "memoryReservation")
UNITS = {"vcpu": 1024, "gb": 1024}
LISTS = {"environment": "value", "secrets": "valueFrom", "tags": "value"}
"""Lists whose entries are a name and something of it."""


def _dotted(plan: Plan) -> Plan:
    """Take out of the deployment's tables what the run's dotted keys name."""
    deployment, flow_run = plan.given.job_variables
    left = deepcopy(dict(deployment))
    for key in flow_run:
        root, _, path = key.partition(".")
        if path and root not in flow_run:
            _remove(left.get(root), path)
            if left.get(root, ...) is None:
                del left[root]
    if left == deployment:
        return plan
    return plan.mended(given=plan.given.with_job_variables(left, flow_run))


def _remove(table: Any, path: str) -> None:
    *parents, name = path.replace("[", ".").replace("]", "").split(".")
    for part in parents:
        table = table.get(part) if isinstance(table, dict) else None
    if isinstance(table, dict):
        table.pop(name, None)


def _with_key(plan: Plan) -> Plan:
    """Let the worker hold the key that a secret stands for."""
    if plan.refusal != "a secret for a key that the worker does not have":
        return plan
    return plan.mended(given=plan.given.changed(env={**plan.given.env, "PREFECT_API_KEY": "k"}))


def _mending(mend: Any) -> Any:
    """Apply a mend of the filled-in template, where it changes anything."""

    def change(plan: Plan) -> Plan:
        mended = plan.mended(mend=lambda job: mend(deepcopy(job), plan))
        # It is kept in mind even so, for together with another it may change something.
        return plan.changed(mends=mended.mends) if _asks_the_same(mended, plan) else mended

    return change


def _asks_the_same(mended: Plan, plan: Plan) -> bool:
    asked, unmended = (
        json.dumps([p.refusal, p.tells, p.named, p.definition, p.request, p.cluster, p.looks_up])
        for p in (mended, plan.mended())
    )
    return asked == unmended


def _without_nulls(job: Configuration, _: Plan) -> Configuration:
    made = {key: value for key, value in job.items() if value is not None}
    for key in ("task_definition", "task_run_request"):
        if key in made:
            made[key] = _present(made[key])
    definition = made.get("task_definition")
    if isinstance(definition, dict):
        definition.setdefault("containerDefinitions", [])
    if isinstance(made.get("aws_credentials"), dict):
        made["aws_credentials"] = _present(made["aws_credentials"])
    return made


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _present(v) for k, v in value.items() if v is not None or k == "value"}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _with_whole_entries(job: Configuration, _: Plan) -> Configuration:
    for key in ("task_definition", "task_run_request"):
        if isinstance(job.get(key), dict):
            job[key] = _whole(job[key])
    return job


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _entries(item, LISTS[key]) if key in LISTS else _whole(item)
            for key, item in value.items()
        }
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _entries(told: Any, needed: str) -> Any:
    if isinstance(told, dict):
        return {name: str(text) for name, text in told.items() if text is not None}
    if not isinstance(told, list) or not all(isinstance(item, dict) for item in told):
        return told
    given = [item for item in told if item.get(needed) is not None]
    return [{**item, needed: str(item[needed])} for item in given]


def _with_numbers(job: Configuration, _: Plan) -> Configuration:
    definition = job.get("task_definition") or {}
    request = job.get("task_run_request") or {}
    overrides = request.get("overrides") or {}
    containers = definition.get("containerDefinitions") or []
    for task in (definition, overrides):
        for size in SIZES:
            if isinstance(task.get(size), float):
                task[size] = int(task[size])
            if task is overrides and task.get(size, ...) == 0:
                del task[size]
    if request.get("launchType") not in ("FARGATE", "FARGATE_SPOT"):
        flow = _flow_container(job, containers)
        for size in SIZES:  # there the task's size becomes the container's
            if flow is not None and definition.get(size) and isinstance(definition[size], str):
                flow.setdefault(size, definition[size])
                job[SIZED] = True
    for container in (*containers, *(overrides.get("containerOverrides") or [])):
        _make_numbers(container)
    return job


def _make_numbers(container: dict[str, Any]) -> None:
    for size in SIZES:
        if container.get(size):
            container[size] = _number(container[size])
        elif container.get(size, ...) == 0:
            del container[size]


def _number(size: Any) -> Any:
    found = re.fullmatch(r"([\d.]+)\s*(vcpu|gb)?", str(size).strip().lower())
    if found is None:
        raise Refusal(f"{size!r} is no size")
    return int(float(found[1]) * UNITS.get(found[2], 1))


def _on_fargate(job: Configuration, _: Plan) -> Configuration:
    request, definition = job.get("task_run_request") or {}, job.get("task_definition") or {}
    if request.get("launchType") or request.get("taskDefinition"):
        return job
    strategy = request.get("capacityProviderStrategy")
    if strategy:
        providers = {item.get("capacityProvider") for item in strategy}
        is_fargate = providers <= {"FARGATE", "FARGATE_SPOT"}
    else:
        is_fargate = "EC2" not in (definition.get("requiresCompatibilities") or [])
    if is_fargate:
        job["task_run_request"] = {**request, "launchType": "FARGATE"}
    return job


def _with_an_image(job: Configuration, _: Plan) -> Configuration:
    definition = job.get("task_definition") or {}
    containers = definition.get("containerDefinitions") or []
    flow = _flow_container(job, containers)
    if flow is not None and "image" in flow and not flow["image"]:
        del flow["image"]
    return job


def _with_a_name(job: Configuration, plan: Plan) -> Configuration:
    if plan.named:  # whose own container it is
        return job
    definition = job.get("task_definition") or {}
    containers = definition.get("containerDefinitions") or []
    names = [container.get("name") for container in containers]
    unnamed = [container for container in containers if not container.get("name")]
    if not job.get("container_name") and "prefect" not in names and unnamed:
        unnamed[0]["name"] = "prefect"
    return job


def _flow_container(job: Configuration, containers: list[Any]) -> dict[str, Any] | None:
    names = [container.get("name") for container in containers]
    for name in (job.get("container_name"), "prefect", None):
        if name in names and (name or name is None):
            found: dict[str, Any] = containers[names.index(name)]
            return found
    return containers[0] if containers else None


def _is_external(plan: Plan) -> bool:
    launch_type = plan.request.get("launchType")
    return launch_type == "EXTERNAL" and "EXTERNAL" in (
        plan.definition.get("requiresCompatibilities") or []
    )


INPUTS = (
    Rule(
        name="a run's env.NAME",
        why="A dotted key of the run stands above the whole table of its deployment, as every "
        "other variable of the run does. The worker let the deployment's table win.",
        change=_dotted,
    ),
    Rule(
        name="null is nothing",
        why="A variable that is null is left out, and the default of its place holds. The worker "
        "sent nulls to AWS, or failed on an attribute of None.",
        change=_mending(_without_nulls),
    ),
    Rule(
        name="entries are whole, and text",
        why="A variable or tag of the template that is left without a value is none, and one "
        "that has a number is text. The worker failed with a KeyError, or AWS's client did.",
        change=_mending(_with_whole_entries),
    ),
    Rule(
        name="no launch type is Fargate",
        why="Without a launch type the task runs on Fargate, so its definition is made for "
        "Fargate. The worker made one for instances, which Fargate then refuses.",
        change=_mending(_on_fargate),
    ),
    Rule(
        name="sizes are numbers",
        why="A container's cpu and memory that come as text, with a unit or as a fraction are "
        "made the whole numbers that ECS wants, and zero is none. There botocore refused them.",
        change=_mending(_with_numbers),
    ),
    Rule(
        name="there is always an image",
        why="An image that is null, empty or an unresolved placeholder is the default one. The "
        "worker registered a container without an image, three times.",
        change=_mending(_with_an_image),
    ),
    Rule(
        name="the container without a name",
        why="Where no container is called prefect, the one left without a name runs the flow, "
        "wherever it stands. The worker gave the flow's command to the first, a sidecar.",
        change=_mending(_with_a_name),
    ),
    Rule(
        name="a secret without a key",
        why="prefect_api_key_secret_arn names the secret of a container, whether or not the "
        "worker itself has a key. There it was a KeyError.",
        change=_with_key,
    ),
    Rule(
        name="EXTERNAL is compatible with EXTERNAL",
        why="A definition for EXTERNAL goes with that launch type. The worker asked it to be "
        "for Fargate.",
        applies=_is_external,
        change=lambda plan: plan.changed(fits=True),
    ),
)
