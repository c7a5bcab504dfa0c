"""Gives moto's ECS what AWS's has and moto 5.2.5 lacks.

Client tokens; refusal to run a revision that is no longer active, and finding a family's latest one
that is; tasks on instances, of which a cluster here has none; and containers without a memory of
their own, which Fargate takes from the task's.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecs.exceptions import EcsClientException, TaskDefinitionNotFoundException
from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse

from local.client_tokens import ClientTokens, Conflict


class ConflictException(ServiceException):
    """As ECS raises it, with the ARNs of the tasks that the token has started."""

    code = "ConflictException"

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(str(conflict))
        self.resourceIds = conflict.task_arns


def mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend moto's ECS for the rest of a test."""
    _keep_client_tokens(monkeypatch)
    # Only instances of EC2 run out of what this adds up.
    monkeypatch.setattr(
        EC2ContainerServiceBackend, "_calculate_task_resource_requirements", lambda *_: {}
    )
    _find_active_revisions(monkeypatch)
    _run_anywhere(monkeypatch)


def _find_active_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a family's name stand for its latest active revision."""
    original = EC2ContainerServiceBackend.describe_task_definition

    def describe(self: Any, task_definition_str: str) -> Any:
        family = task_definition_str.rpartition("/")[2]
        if ":" in family:
            return original(self, task_definition_str)
        revisions = self.task_definitions.get(family, {})
        active = [number for number, found in revisions.items() if found.status == "ACTIVE"]
        if not active:
            raise TaskDefinitionNotFoundException
        return revisions[max(active)]

    monkeypatch.setattr(EC2ContainerServiceBackend, "describe_task_definition", describe)


def _run_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks run on instances too, and none of a revision that was deregistered."""
    original = EC2ContainerServiceBackend.run_task

    def run_task(self: Any, *arguments: Any, **options: Any) -> Any:
        given = inspect.signature(original).bind(self, *arguments, **options)
        asked, strategy = given.arguments, given.arguments.get("capacity_provider_strategy")
        if self.describe_task_definition(asked["task_definition_str"]).status != "ACTIVE":
            raise EcsClientException("TaskDefinition is inactive")
        if asked["launch_type"] in ("FARGATE", None):
            return original(*given.args, **given.kwargs)
        launch_type, asked["launch_type"] = asked["launch_type"], "FARGATE"
        assert not strategy, "ECS takes one of the two"
        tasks = original(*given.args, **given.kwargs)
        for task in tasks:
            task.launch_type = launch_type
        return tasks

    monkeypatch.setattr(EC2ContainerServiceBackend, "run_task", run_task)


def _keep_client_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make RunTask idempotent by its client token, by the rule in ``local/client_tokens.py``."""
    tokens = ClientTokens()
    original = EC2ContainerServiceResponse.run_task

    def run_task(self: Any) -> Any:
        request = json.loads(self.body)
        results: list[Any] = []

        def start() -> list[str]:
            results.append(original(self))
            return [task.task_arn for task in results[0].result["tasks"]]

        cluster = request.get("cluster", "default")
        try:
            arns, started = tokens.run(cluster, request, start)
        except Conflict as conflict:
            raise ConflictException(conflict) from conflict
        if started:
            return results[0]
        tasks = self.ecs_backend.describe_tasks(cluster, arns)
        return ActionResult({"tasks": tasks, "failures": []})

    monkeypatch.setattr(EC2ContainerServiceResponse, "run_task", run_task)
