"""Runs one tiny task, to show that the settings can: the legacy ``validate_configuration``.

Invoked on the ``dispatch`` function, so that the task is started by the very role, network and
kwargs that flow runs are.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from fargate_agent.kwargs import Kwargs
from fargate_agent.placement import Place
from fargate_agent.task_definitions import TaskDefinitions
from fargate_agent.tasks import run_task

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

FAMILY = "prefect-test-task"
CONTAINER = {
    "name": "test-container",
    "image": "busybox",
    "command": ["/bin/sh", "-c", "echo 'I am alive!'"],
    "environment": [],
    "essential": True,
}
STARTED_BY = "validate-configuration"


def rehearse(
    ecs: ECSClient, definitions: TaskDefinitions, kwargs: Kwargs, place: Place
) -> dict[str, Any]:
    """Start the task, and return its ARN and its definition's.

    Parameters
    ----------
    kwargs
        What every run is started with; of the container all but what makes it this test.
    place
        Makes a definition and a request fit each other and the agent's launch type.

    Raises
    ------
    PermanentError, TaskNotStarted, botocore.exceptions.ClientError
        As for a flow run.
    """
    fields = {key: value for key, value in kwargs.container.items() if key not in CONTAINER}
    environment = list(kwargs.container.get("environment", []))
    container = {**CONTAINER, **fields, "environment": environment}
    definition, request = place(
        {**kwargs.definition, "family": FAMILY, "containerDefinitions": [container]},
        {**kwargs.request, "overrides": {"containerOverrides": []}},
    )
    revision = definitions.ensure(definition)
    task = run_task(
        ecs,
        request,
        definition_arn=revision.arn,
        claim_id=str(uuid.uuid4()),
        flow_run_id=STARTED_BY,
    )
    return {"task": task.arn, "taskDefinition": revision.arn}
