"""Rendering with everything given, of which a test names what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.profiles.work_pool.ecs_job import EcsJob
from fargate_agent.profiles.work_pool.rendering import Account, Surroundings, render
from fargate_agent.runs import FlowRun, Launch
from tests.support import values


@dataclass
class FakeAccount:
    """An account of these VPCs, by their ids, and these task definitions, by what names them."""

    vpcs: dict[str | None, list[str]] = field(default_factory=dict)
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    region: str = "eu-west-1"

    def describe(self, name: str) -> Mapping[str, Any]:
        return self.definitions[name]

    def subnets(self, vpc_id: str | None, *, fresh: bool = False) -> list[str]:
        return self.vpcs[vpc_id]


NETWORK = FakeAccount({None: ["subnet-default"]})

_GIVEN = {"family", "networkMode", "requiresCompatibilities", "containerDefinitions"}


def rendered(
    job: Mapping[str, Any] | None = None,
    *,
    run: FlowRun | None = None,
    agent: Agent | None = None,
    external: Kwargs | None = None,
    default_image: Callable[[], str] = lambda: "default:1",
    account: Account = NETWORK,
) -> Launch:
    """Render a run of an empty job by an agent without kwargs, but for what is given."""
    read = EcsJob.read({"task_definition": {"containerDefinitions": [{}]}, **(job or {})})
    around = Surroundings(
        work_pool_id="pool-1", version="3.8.8", default_image=default_image, account=account
    )
    return render(
        run or values.flow_run(), read, agent or values.agent(), external or Kwargs(), around
    )


def task_kwargs(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a definition says beyond what every one says."""
    return {key: value for key, value in definition.items() if key not in _GIVEN}


def override(launch: Launch, name: str = "prefect") -> dict[str, Any]:
    """Return a container's override: its environment as a mapping, and without its name."""
    (found,) = (o for o in launch.request["overrides"]["containerOverrides"] if o["name"] == name)
    entries = [(entry["name"], entry["value"]) for entry in found.get("environment", [])]
    environment = dict(entries)
    assert len(environment) == len(entries), "a variable is given twice"
    rest = {k: v for k, v in found.items() if k not in ("name", "environment")}
    return {**rest, **({"environment": environment} if entries else {})}
