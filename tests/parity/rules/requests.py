"""What a flow and its run ask for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.parity import ecs_model, legacy_agent
from tests.parity.cases import Case
from tests.parity.expectation import Call, Launch
from tests.parity.rules.base import (
    Matching,
    Rule,
    container_of,
    each,
    layers,
    of_agent,
    of_validation,
    repaired,
)

OVERRIDES = {
    "cpu": "cpu",
    "memory": "memory",
    "task_role_arn": "taskRoleArn",
    "execution_role_arn": "executionRoleArn",
}


def _run_config(case: Case, launch: Launch) -> Launch:
    config = launch.run.get("run_config") or {}
    *_, last = layers(case, launch.run)
    file = ecs_model.parsed(last.kwargs) if last.place == "file" else {}
    if config.get("type") == "ECSRun":
        launch = _ecs_run(case, launch, config, file)
    written = {entry.get("name") for entry in container_of(file).get("environment") or []}
    told = {entry["name"] for entry in launch.override}
    static = {e["name"]: e["value"] for e in legacy_agent.static_variables(case)}
    own = case.options.get("env_vars") or case.config.env_vars
    asked = {
        name: value
        for name, value in (config.get("env") or {}).items()
        if name == "PREFECT__LOGGING__LEVEL" or name not in static.keys() - own.keys()
    }
    if launch.revision:  # the run's own definition, which knows nothing of this agent
        asked = {**static, **asked}
    env = [
        {"name": name, "value": str(value)}
        for name, value in asked.items()
        if value is not None and name not in written | told
    ]
    return launch.with_override([*launch.override, *env])


def _ecs_run(case: Case, launch: Launch, config: Any, file: Any) -> Launch:
    if config.get("task_definition_path"):
        return launch.without_calls("failed")
    for layer in layers(case, launch.run):
        if layer.place != "run":
            continue
        for key, value in ecs_model.parsed(layer.kwargs).items():
            if key in file or key == "containerDefinitions":
                continue
            if key in ecs_model.DEFINITION.members:
                launch = launch.with_definition(**{key: value})
            if key in ecs_model.REQUEST.members:
                launch = launch.with_request(**{key: value})
        for key, value in container_of(ecs_model.parsed(layer.kwargs)).items():
            if key not in container_of(file) and key not in ("name", "image", "environment"):
                launch = launch.with_container(**{key: value})
    more = {
        theirs: str(config[ours])
        for ours, theirs in OVERRIDES.items()
        if config.get(ours) and theirs not in file
    }
    launch = launch.with_request(overrides={**more, **launch.request["overrides"]})
    arn = config.get("task_definition_arn")
    if arn and legacy_agent.docker_image(launch.run["flow"]) is None:
        return launch.changed(looks=(), registrations=0, revision=arn)
    return launch


def _image(case: Case, launch: Launch) -> Launch:
    if launch.container["image"]:
        return launch
    flow, config = launch.run["flow"], launch.run.get("run_config")
    stored = legacy_agent.docker_image(flow)
    if stored is None and config is not None:
        version = (flow.get("core_version") or "latest").split("+")[0]
        stored = f"prefecthq/prefect:{version}"
    if stored is None:
        return launch.without_calls("failed", file=True)
    return repaired(case, launch.with_container(image=stored))


def _slug(_: Case, launch: Launch) -> Launch:
    family = launch.definition["family"]
    if family == "":
        return launch.with_definition(family=f"prefect-task-{launch.run['flow']['id'][:8]}")
    return launch.with_definition(family=family[:255])


ANY_UUID = Matching("a UUID", lambda value: bool(UUID(value)))


def _validation(_: Case, launch: Launch) -> Launch:
    family = "prefect-test-task"
    look = Call("ecs", "DescribeTaskDefinition", {"taskDefinition": family, "include": ["TAGS"]})
    changed = launch.with_definition(family=family).changed(looks=(look,))
    return changed.with_request(clientToken=ANY_UUID, startedBy="validate-configuration")


REQUESTS = (
    Rule(
        name="validation task",
        why="The task that validates a configuration has one family, found again by its content; "
        "the legacy agent registered a family of a random name at each try.",
        applies=of_validation,
        expect=each(_validation),
    ),
    Rule(
        name="run configs are followed",
        why="The size, roles, environment, definition and request of a run config are used, but "
        "for variables by which a flow finds its server; the legacy agent looked at its image "
        "only.",
        applies=lambda case: any(run.get("run_config") for run in case.flow_runs),
        expect=each(_run_config),
    ),
    Rule(
        name="an empty image is no image",
        why="An image named '' names nothing, and the next source is asked; the legacy agent "
        "registered a definition that cannot run.",
        applies=of_agent,
        expect=each(_image),
    ),
    Rule(
        name="a slug names something",
        why="A flow whose name has no letter has an empty slug, and so shared the family '' with "
        "its like: it has the family prefect-task-<flow id>. A family has 255 characters at most.",
        applies=of_agent,
        expect=each(_slug),
    ),
)
