"""The layers of kwargs of a Prefect 1 run, and what ECS is told beside the definition. Pure.

The weakest layer first: ``[ecs.kwargs]``, the flow's run config, the flow's kwargs file in S3. In
each layer a key replaces the whole value of the layer below, the container's environment as well:
so the legacy agent did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.overrides import in_ecs_form, laid_over, without_stronger
from fargate_agent.runs import CLAIM_ENV, FlowRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run config asks for; the legacy agent followed its image only.

    ``kwargs`` are those of ``ECSRun``'s definition and of its ``run_task_kwargs``; ``overrides``
    are its sizes and roles, for this run alone.
    """

    kwargs: Kwargs = field(default_factory=Kwargs)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    definition_arn: str | None = None
    sidecars: tuple[Mapping[str, Any], ...] = ()


FLOW = "flow"
"""The agent's own name for the container that runs the flow."""

_OVERRIDES = {
    "cpu": "cpu",
    "memory": "memory",
    "task_role_arn": "taskRoleArn",
    "execution_role_arn": "executionRoleArn",
}


def read_run_config(config: Mapping[str, Any] | None, model: KwargsModel) -> RunConfig:
    """Read a serialized run config of any type.

    Raises
    ------
    PermanentError
        It names parameters that ECS does not have, or a definition that lies in a file.
    """
    config = config or {}
    if config.get("type") != "ECSRun":
        return RunConfig(env=config.get("env") or {})
    if config.get("task_definition_path"):
        raise PermanentError(
            "ECSRun: task_definition_path: the agent reads no such file. Give the definition "
            "itself as task_definition, or register it and give task_definition_arn."
        )
    asked = config.get("task_definition") or {}
    definition = model.split(asked, "ECSRun: task_definition", several_containers=True)
    containers = definition.definition.get("containerDefinitions") or [{}]
    flow = next((c for c in containers if c.get("name") == FLOW), containers[0])
    rest = {k: v for k, v in definition.definition.items() if k != "containerDefinitions"}
    request = model.split(config.get("run_task_kwargs") or {}, "ECSRun: run_task_kwargs")
    return RunConfig(
        kwargs=Kwargs(
            definition=rest,
            container=flow,
            request=request.request,
        ),
        overrides={
            theirs: str(config[ours]) for ours, theirs in _OVERRIDES.items() if config.get(ours)
        },
        env=config.get("env") or {},
        definition_arn=config.get("task_definition_arn"),
        sidecars=tuple(container for container in containers if container is not flow),
    )


def overrides(
    run: FlowRun,
    container: str,
    told: Mapping[str, str],
    *,
    agent: Kwargs,
    config: RunConfig,
    file: Kwargs,
    secrets: frozenset[str],
    reserved: Collection[str] = (),
) -> dict[str, Any]:
    """Return ``overrides`` for RunTask.

    ECS puts an override above the definition, and the file in S3 stands above all: what it says in
    the definition is left out of the weaker layers' overrides.

    Parameters
    ----------
    container
        The name of the flow's container.
    told
        The variables that tell it which run it is of; nothing replaces them.
    secrets
        Names of the container's secrets: ECS takes a name only once.
    reserved
        Names of variables that no run config sets.
    """
    env = {name: str(value) for name, value in config.env.items() if value is not None}
    own = {
        **config.overrides,
        "containerOverrides": [{"name": container, "environment": env}],
    }
    weaker = [
        agent.request.get("overrides"),
        _without_variables(config.kwargs.request.get("overrides"), reserved),
        own,
    ]
    layers = [
        *(without_stronger(in_ecs_form(layer, container), file, container) for layer in weaker),
        _of_file(file) if config.definition_arn else {"containerOverrides": []},
        in_ecs_form(file.request.get("overrides"), container),
    ]
    identity = {**told, CLAIM_ENV: run.claim_id}
    return laid_over(layers, container, identity=identity, secrets=secrets)


def _of_file(file: Kwargs) -> dict[str, Any]:
    """Return what a file says in a definition that is not used, so far as an override can."""
    keys = ("cpu", "memory", "taskRoleArn", "executionRoleArn")
    told = {key: file.definition[key] for key in keys if key in file.definition}
    return {**told, "containerOverrides": []}


def _without_variables(
    asked: Mapping[str, Any] | None, names: Collection[str]
) -> Mapping[str, Any] | None:
    if not asked or not asked.get("containerOverrides"):
        return asked
    containers = [
        {**c, "environment": [e for e in c["environment"] if e["name"] not in names]}
        if "environment" in c
        else c
        for c in asked["containerOverrides"]
    ]
    return {**asked, "containerOverrides": containers}
