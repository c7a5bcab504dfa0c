"""Values of Prefect 1: each a sensible whole, of which a test changes what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.flow_run import render_flow_run
from fargate_agent.profiles.prefect1_kwargs import read_run_config
from fargate_agent.profiles.task_environment import render_task_environment
from fargate_agent.runs import Launch
from fargate_agent.settings import Settings
from tests.support import values
from tests.support.aws import kwargs_model

KEY_SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"
IMAGE = "registry.example/etl:v1"


def docker(**changes: Any) -> dict[str, Any]:
    """Return the storage of a flow that is an image of its own."""
    fields = {
        "type": "Docker",
        "registry_url": "registry.example",
        "image_name": "etl",
        "image_tag": "v1",
    }
    return {**fields, **changes}


def details(
    *, run_config: Mapping[str, Any] | None = None, name: str = "brave-otter", **flow: Any
) -> dict[str, Any]:
    """Return a run as the server describes it: by default of an image, of nothing else."""
    fields = {
        "id": values.flow_run().flow_id,
        "name": "Load orders",
        "version": 3,
        "core_version": "0.14.22",
        "storage": docker(),
        "environment": None,
    }
    return {"name": name, "run_config": run_config, "flow": {**fields, **flow}}


def settings(**changes: Any) -> Settings:
    """Return the settings of an agent of the open-source server."""
    fields = {"prefect_version": 1, "api_url": "https://prefect.example.com", "work_pool": ""}
    return values.settings(**{**fields, **changes})


def kwargs(given: Mapping[str, Any] | None, *, several_containers: bool = False) -> Kwargs:
    """Split what a user wrote."""
    return kwargs_model().split(given or {}, "the test", several_containers=several_containers)


def flow_run_launch(
    described: Mapping[str, Any] | None = None,
    *,
    agent: Mapping[str, Any] | None = None,
    file: Mapping[str, Any] | None = None,
    tenant: str | None = None,
    run: Mapping[str, Any] | None = None,
    **changed_settings: Any,
) -> Launch:
    """Render a run in the agent's own container; all kwargs as users write them."""
    asked = dict(described or details())
    return render_flow_run(
        values.flow_run(**(run or {})),
        asked,
        settings(**changed_settings),
        agent=kwargs(agent),
        config=read_run_config(asked["run_config"], kwargs_model()),
        file=kwargs(file),
        tenant=tenant,
    )


def task_environment_launch(
    described: Mapping[str, Any] | None = None,
    *,
    agent: Mapping[str, Any] | None = None,
    file: Mapping[str, Any] | None = None,
    tenant: str | None = None,
    **changed_settings: Any,
) -> Launch:
    """Render a run of a ``FargateTaskEnvironment`` whose family is "etl"."""
    environment = {"type": "FargateTaskEnvironment"}
    return render_task_environment(
        values.flow_run(),
        dict(described or details(environment=environment)),
        settings(**changed_settings),
        agent=kwargs(agent),
        file=kwargs({"family": "etl", **(file or {})}, several_containers=True),
        tenant=tenant,
    )


def containers(launch: Launch) -> list[dict[str, Any]]:
    """Return the containers of a launch's definition."""
    return [dict(container) for container in launch.definition["containerDefinitions"]]


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return a container's plain environment, in its order; where a name is twice, the last."""
    return {entry["name"]: entry["value"] for entry in container.get("environment", [])}


def names(container: Mapping[str, Any], key: str = "environment") -> list[str]:
    """Return the names of a container's environment or secrets, in their order."""
    return [entry["name"] for entry in container.get(key, [])]
