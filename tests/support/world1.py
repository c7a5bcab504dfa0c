"""An agent on a stand-in for a Prefect 1 server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fargate_agent import dispatch, poll
from fargate_agent.orchestrators.http import Patience
from fargate_agent.task_definitions import TaskDefinitions
from infra.config import AgentConfig
from tests.support import aws, stack_template
from tests.support.functions import CONTEXT, Functions
from tests.support.prefect1_schema import Row
from tests.support.prefect1_server import Prefect1Server

DUE_NOW = timedelta(seconds=-1)
TRIES = 4
"""So often in all is a call of the server tried, before its message goes back to the queue."""


class World1(Functions):
    """One agent on one server. It waits for nothing between its tries.

    Parameters
    ----------
    server
        The stand-in.
    agent
        The ``[agent]`` section; ``prefect``, ``ecs`` and ``external_kwargs`` likewise.
    """

    def __init__(
        self,
        server: Prefect1Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        **sections: Mapping[str, Any],
    ) -> None:
        self.server = server
        config = self.settings(**sections)
        super().__init__(config, stack_template.template(config), tmp_path, monkeypatch)
        monkeypatch.setattr(Patience, "sleep", lambda *_: None)
        monkeypatch.setitem(TaskDefinitions.__init__.__kwdefaults__, "sleep", lambda _: None)

    def settings(self, **sections: Mapping[str, Any]) -> AgentConfig:
        """Return the settings of an agent on this server, with some sections changed."""
        prefect = {"version": 1, "api_url": self.server.url, **sections.pop("prefect", {})}
        return stack_template.config(prefect=prefect, **sections)

    # -- Prefect

    def flow(self, name: str = "etl", **fields: Any) -> Row:
        """Register a flow; see :meth:`Prefect1Server.add_flow`."""
        return self.server.add_flow(name=name, **fields)

    def schedule(self, flow: Row, ahead: timedelta = DUE_NOW, **fields: Any) -> str:
        """Schedule a run, due a second ago unless told otherwise; return its id."""
        return str(self.server.add_run(flow, due=datetime.now(UTC) + ahead, **fields)["id"])

    def task_environment(self, file: Mapping[str, Any], **fields: Any) -> Row:
        """Register a flow of a ``FargateTaskEnvironment`` with its kwargs file."""
        environment = {"type": "FargateTaskEnvironment", "metadata": {"image": "example/env:1"}}
        flow = self.flow(environment=environment, **fields)
        self.put_kwargs(flow, file)
        return flow

    def put_kwargs(self, flow: Row, body: Any) -> str:
        """Put a flow's kwargs file; see :meth:`put_file`."""
        return self.put_file(flow["name"], flow["id"], body)

    def state(self, run: str) -> str:
        """Return the type of a run's state."""
        return str(self.server.run(run)["state"])

    def message(self, run: str) -> str:
        """Return the message of a run's state."""
        return str(self.server.run(run)["state_message"])

    def states(self, run: str) -> list[str]:
        """Return the types of all states that a run had."""
        return [row["state"] for row in self.server.history(run)]

    def logs(self, run: str) -> list[tuple[str, str]]:
        """Return level and text of the lines in a run's log."""
        return [(line["level"], line["message"]) for line in self.server.logs(run)]

    def asked(self, *, since: int = 0) -> list[str]:
        """Return the operations that the server was asked for, but for the first ``since``."""
        return [call.operation for call in self.server.calls[since:]]

    # -- the path of a run

    def enqueued(self, flow: Row, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
        """Schedule a run, poll, and receive its message; return the run and the records."""
        run = self.schedule(flow, **fields)
        self.poll()
        return run, self.receive()

    def launch(self, flow: Row, **fields: Any) -> dict[str, Any]:
        """Take one run of a flow all the way, and return its task."""
        run = self.schedule(flow, **fields)
        self.poll()
        assert self.deliver() == []
        return self.task_of(run)

    def task_of(self, run: str) -> dict[str, Any]:
        """Return the one task of a run."""
        (task,) = [task for task in self.tasks() if task["startedBy"] == run]
        return task

    def flow_container(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first container of a task's definition."""
        return dict(self.definition(task["taskDefinitionArn"])["containerDefinitions"][0])

    def revisions(self, family: str) -> list[str]:
        """Return the ARNs of a family's active revisions, the oldest first."""
        ecs = aws.moto("ecs")
        return list(ecs.list_task_definitions(familyPrefix=family)["taskDefinitionArns"])

    def params(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of each call of an AWS operation by ``dispatch``."""
        calls = self.recorder.calls
        return [c.params for c in calls if (c.function, c.operation) == ("dispatch", operation)]

    # -- other events

    def request(self, path: str, authorization: str | None = None) -> dict[str, Any]:
        """Call the function URL."""
        headers = {} if authorization is None else {"authorization": authorization}
        http = {"http": {"method": "GET", "path": path}}
        event = {"rawPath": path, "headers": headers, "requestContext": http}
        with self.inside("poll"):
            return poll.handler(event, CONTEXT)  # type: ignore[arg-type]

    def validate_configuration(self) -> dict[str, Any]:
        """Invoke ``dispatch`` as a person does to try the settings."""
        with self.inside("dispatch"):
            event = {"validate_configuration": True}
            return dict(dispatch.handler(event, CONTEXT))  # type: ignore[arg-type]


def environment(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that a task's one container was told."""
    (container,) = task["overrides"]["containerOverrides"]
    return {entry["name"]: entry["value"] for entry in container["environment"]}


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the plain variables of a container definition."""
    return {entry["name"]: entry["value"] for entry in container.get("environment", [])}


MakeWorld1 = Callable[..., World1]
