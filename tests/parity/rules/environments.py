"""Task environments, which are not set up by a container of their own any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.parity import ecs_model
from tests.parity.cases import Case
from tests.parity.expectation import Call, Launch, describe, fresh
from tests.parity.migration import SECRET_ARN, environment_key
from tests.parity.rules.base import Rule, each, of_environment, repaired

TAGS = {"include": ["TAGS"]}


def _in_s3(case: Case, launch: Launch) -> Launch:
    if not (launch.run["flow"].get("storage") or {}).get("type"):
        return launch  # such a flow cannot be run, whatever its file says
    bucket, key = environment_key(case)
    return launch.changed(file=Call("s3", "GetObject", {"Bucket": bucket, "Key": key}))


def _once(case: Case, launch: Launch) -> Launch:
    if launch.outcome == "failed":
        return launch
    steps = case.input.get("steps") or ["setup", "execute"]
    if steps == ["setup", "execute"]:
        return launch
    looks = launch.looks[:1] or (describe(case, launch.run),)
    return launch.changed(looks=looks, registrations=min(launch.registrations, 1), starts=True)


def _of_its_family(case: Case, launch: Launch) -> Launch:
    family, named = case.kwargs.get("family"), case.kwargs.get("taskDefinition")
    if family is None and named is None:
        return _in_the_agents_container(case, launch)
    if not family or named == family:
        return launch
    if named is not None:
        return launch.without_calls("failed", file=True)
    return repaired(case, launch.with_request(taskDefinition=family))


def _in_the_agents_container(case: Case, launch: Launch) -> Launch:
    """Expect what the agent itself does with a flow of such an environment."""
    given = {**case.input, "kind": "agent", "agent_kwargs": case.kwargs, "flow_runs": [launch.run]}
    return fresh(replace(case, input=given), launch.run).changed(file=launch.file)


def _of_the_agent(case: Case, launch: Launch) -> Launch:
    if case.launch_type:
        return launch
    chosen: Any = "FARGATE" if case.launch_type is None else ...
    changed = launch.with_request(launchType=chosen)
    return changed.freed(case) if launch.error else changed


def _parsed(case: Case, launch: Launch) -> Launch:
    if isinstance(case.kwargs.get("containerDefinitions"), str) and launch.error:
        launch = fresh(case, launch.run).changed(file=launch.file)
    definition = ecs_model.parsed(launch.definition)
    asked = ecs_model.parsed(launch.request)
    return repaired(case, launch.changed(definition=definition, request=asked))


def _with_tags(_: Case, launch: Launch) -> Launch:
    looks = [look._replace(params={**look.params, **TAGS}) for look in launch.looks]
    return launch.changed(looks=tuple(looks))


def _compared(case: Case, launch: Launch) -> Launch:
    kept = _latest(case)
    stopped_by_comparison = (launch.error or {}).get("type") in (None, "KeyError", "ValueError")
    if kept is None or not launch.looks or not stopped_by_comparison or launch.registrations:
        return launch
    if comparable(_without_token(launch.definition)) != comparable(_without_token(kept)):
        return launch.without_calls("failed", file=True, looks=1)
    return launch.freed(case)


def _without_token(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the reference to the agent's token out, which the legacy environment had not."""
    first, *others = definition["containerDefinitions"]
    ours = {"name": "PREFECT__CLOUD__AUTH_TOKEN", "valueFrom": SECRET_ARN}
    secrets = [entry for entry in first.get("secrets") or [] if entry != ours]
    return {**definition, "containerDefinitions": [{**first, "secrets": secrets}, *others]}


def _latest(case: Case) -> Mapping[str, Any] | None:
    found, numbers = None, {}
    for definition in case.existing:
        family = definition["family"]
        numbers[family] = numbers.get(family, 0) + 1
        name = f"{family}:{numbers[family]}"
        if family == case.kwargs.get("family") and name not in case.deregistered:
            found = definition
    return found


def comparable(value: Any, key: str = "") -> Any:
    """Return a definition without what says nothing, with lists in an order, roles by their names.

    ECS returns lists in an order of its own and fills in what was left out.
    """
    if isinstance(value, Mapping):
        defaults: dict[str, Any] = {}
        if key == "containerDefinitions":
            defaults = {"essential": True}
        if key == "portMappings":
            defaults = {"protocol": "tcp", "hostPort": value.get("containerPort")}
        made = {k: comparable(v, k) for k, v in {**defaults, **value}.items()}
        return {k: v for k, v in made.items() if v not in (None, "", [], {}, 0)}
    if isinstance(value, list):
        items = [comparable(item, key) for item in value]
        if key == "environment":
            items = [{item["name"]: item.get("value")} for item in items]
        ordered = items and all(isinstance(item, dict) for item in items)
        return (
            sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if ordered else items
        )
    return str(value).rpartition("/")[2] if key.endswith("RoleArn") else value


ENVIRONMENTS = (
    Rule(
        name="parameters lie in S3",
        why="The parameters of a task environment never left its flow's own process: its agent "
        "started a container only to start the task from it. They stand in the flow's kwargs file, "
        "and the task is started at once.",
        applies=of_environment,
        expect=each(_in_s3),
    ),
    Rule(
        name="set up once",
        why="There is one step, which may be repeated: setting up twice describes and registers "
        "nothing twice, where the environment grew from 7 variables to 13.",
        applies=of_environment,
        expect=each(_once),
    ),
    Rule(
        name="taskDefinition is the family",
        why="The task that is run is of the family that is registered; the environment registered "
        "one and ran another, or failed when taskDefinition was left out. Another name is refused; "
        "with neither the agent's own container is run, which once set the environment up.",
        applies=of_environment,
        expect=each(_of_its_family),
    ),
    Rule(
        name="launch type of the agent",
        why="A task environment without a launch type has its agent's; null was sent to ECS.",
        applies=of_environment,
        expect=each(_of_the_agent),
    ),
    Rule(
        name="text is parsed for environments too",
        why="The parameters of a task environment may be text or integers, as the agent's may; the "
        "environment sent the text to ECS.",
        applies=of_environment,
        expect=each(_parsed),
    ),
    Rule(
        name="described with tags",
        why="The definition of a task environment is described with its tags, for they are "
        "compared as well, and tell its content.",
        applies=of_environment,
        expect=each(_with_tags),
    ),
    Rule(
        name="every difference is noticed",
        why="A registered definition is compared in all its fields: a changed role, entry point, "
        "mount or extra container went unnoticed, and equal tags, or a role's name and its ARN, "
        "were a difference.",
        applies=of_environment,
        expect=each(_compared),
    ),
)
