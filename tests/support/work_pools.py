"""The profile of a work pool's runs, with a server and an account that are played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.accounts import Accounts
from fargate_agent.external_kwargs import KwargsFile
from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.work_pool import WorkPoolProfile
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.runs import FlowRun, Launch
from tests.support import values
from tests.support.aws import kwargs_model
from tests.support.references import FakeReferences
from tests.support.rendering import FakeAccount

TEMPLATE: dict[str, Any] = {
    "variables": {"properties": {"launch_type": {"default": "FARGATE"}, "env": {"default": {}}}},
    "job_configuration": {
        **{key: f"{{{{ {key} }}}}" for key in ("command", "env", "labels", "name", "vpc_id")},
        **{key: f"{{{{ {key} }}}}" for key in ("aws_credentials", "cluster", "container_name")},
        "task_definition": {
            "containerDefinitions": [{"image": "{{ image }}", "name": "{{ container_name }}"}],
            "cpu": "{{ cpu }}",
            "memory": "{{ memory }}",
        },
        "task_run_request": {"launchType": "{{ launch_type }}", "cluster": "{{ cluster }}"},
    },
}
"""As the server's own, of the variables that tests speak of."""


@dataclass
class FakePrefect3:
    """What a server says of one run."""

    template: Mapping[str, Any] = field(default_factory=lambda: TEMPLATE)
    deployment_variables: Mapping[str, Any] = field(default_factory=dict)
    run_variables: Mapping[str, Any] | None = None
    references: Any = None
    version: str | None = "3.8.8"
    asked: list[str] = field(default_factory=list)

    def work_pool(self, updated: str) -> dict[str, Any]:
        return {"id": "pool-1", "base_job_template": self.template}

    def deployment(self, id: str, updated: str | None) -> dict[str, Any]:
        self.asked.append("deployment")
        return {"job_variables": self.deployment_variables}

    def flow_run(self, id: str) -> dict[str, Any]:
        self.asked.append("flow_run")
        return {"name": "brave-otter", "job_variables": self.run_variables, "tags": ["a"]}

    def flow(self, id: str) -> dict[str, Any]:
        self.asked.append("flow")
        return {"name": "Load orders"}

    def server_version(self) -> str | None:
        return self.version


@dataclass
class FakeFiles:
    """The kwargs files of a run, the weakest first."""

    contents: list[dict[str, Any]] = field(default_factory=list)

    def read(self, run: FlowRun) -> list[KwargsFile]:
        return [
            KwargsFile(f"s3://bucket/{number}.json", content)
            for number, content in enumerate(self.contents, start=1)
        ]


@dataclass
class _Versions:
    references: FakeReferences

    def at(self, versions: Mapping[str, str]) -> FakeReferences:
        return self.references


def launch(
    *,
    deployment: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    files: list[dict[str, Any]] | None = None,
    template: Mapping[str, Any] = TEMPLATE,
    agent: Agent | None = None,
    references: FakeReferences | None = None,
    prefect: FakePrefect3 | None = None,
    **changes: Any,
) -> tuple[Launch, str | None]:
    """Render a run by its job variables and its kwargs files."""
    server = prefect or FakePrefect3(template, deployment or {}, run)
    server.references = _Versions(references or FakeReferences())
    own: Any = FakeAccount({None: ["subnet-default"]}, region="eu-west-1")
    blocks: Any = FakeAccount({None: ["subnet-block"]}, region="eu-central-1")
    profile = WorkPoolProfile(
        server,  # type: ignore[arg-type]
        FakeFiles(files or []),  # type: ignore[arg-type]
        kwargs_model(),
        agent or values.agent(),
        Accounts(own, lambda _: blocks),
    )
    changes = {"has_job_variables": run is not None, **changes}
    return profile.render(values.flow_run(**changes), None)


def agent_of(container: Mapping[str, Any] | None = None, **definition: Any) -> Agent:
    """Return an agent with these ``[ecs.kwargs]``."""
    kwargs = Kwargs(definition=definition, container=container or {})
    return values.agent(kwargs=kwargs, users_kwargs=kwargs)
