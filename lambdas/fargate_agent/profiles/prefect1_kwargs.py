"""The layers of kwargs of a Prefect 1 run, and what ECS is told beside the definition. Pure.

The weakest layer first: ``[ecs.kwargs]``, the flow's run config, the flow's kwargs file in S3. In
each layer a key replaces the whole value of the layer below, the container's environment as well:
so the legacy agent did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.overrides import CLAIM_ENV, in_ecs_form, laid_over, without_stronger
from fargate_agent.runs import FlowRun


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
    definition = model.split(config.get("task_definition") or {}, "ECSRun: task_definition")
    request = model.split(config.get("run_task_kwargs") or {}, "ECSRun: run_task_kwargs")
    return RunConfig(
        kwargs=Kwargs(
            definition=definition.definition,
            container=definition.container,
            request=request.request,
        ),
        overrides={
            theirs: str(config[ours]) for ours, theirs in _OVERRIDES.items() if config.get(ours)
        },
        env=config.get("env") or {},
        definition_arn=config.get("task_definition_arn"),
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
    """
    env = {name: str(value) for name, value in config.env.items() if value is not None}
    own = {
        **config.overrides,
        "containerOverrides": [{"name": container, "environment": env}],
    }
    weaker = [
        agent.request.get("overrides"),
        config.kwargs.request.get("overrides"),
        own,
    ]
    layers = [
        *(without_stronger(in_ecs_form(layer, container), file, container) for layer in weaker),
        in_ecs_form(file.request.get("overrides"), container),
    ]
    identity = {**told, CLAIM_ENV: run.claim_id}
    return laid_over(layers, container, identity=identity, secrets=secrets)
