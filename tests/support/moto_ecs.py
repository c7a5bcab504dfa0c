"""Gives moto's ECS what AWS's has and moto 5.2.5 lacks.

Client tokens; and containers without a memory of their own, which Fargate takes from the task's.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
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
