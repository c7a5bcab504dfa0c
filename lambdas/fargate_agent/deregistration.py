"""Task definitions that are not kept beyond their run (``auto_deregister_task_definition``).

A task says in its own request which one is to be deregistered when it has stopped, and ECS's
events repeat what a request says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fargate_agent.observability import logger
from fargate_agent.runs import DEREGISTER_ENV, MAX_TAGS
from fargate_agent.task_details import Detail, told

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

TAG = {"key": "prefect.io/degregister-task-definition", "value": "true"}
"""As Prefect's ECS worker spells it, whose observer deregisters by this tag."""


def with_deregistration(request: Mapping[str, Any], definition_arn: str) -> dict[str, Any]:
    """Return a request whose task has its definition deregistered when it stops."""
    flow, *sidecars = request["overrides"]["containerOverrides"]
    told = {"name": DEREGISTER_ENV, "value": definition_arn}
    flow = {**flow, "environment": [*flow.get("environment", []), told]}
    overrides = {**request["overrides"], "containerOverrides": [flow, *sidecars]}
    others = [tag for tag in request["tags"] if tag["key"] != TAG["key"]]
    return {**request, "overrides": overrides, "tags": [*others[: MAX_TAGS - 1], TAG]}


def deregister(ecs: ECSClient, detail: Detail) -> None:
    """Deregister what a stopped task says is to be deregistered with it, if anything.

    Parameters
    ----------
    detail
        The ``detail`` of an ECS Task State Change event whose ``lastStatus`` is STOPPED.
    """
    arn = told(detail, DEREGISTER_ENV)
    if arn is None or arn != detail.get("taskDefinitionArn"):
        return
    try:
        ecs.deregister_task_definition(taskDefinition=arn)
    except ClientError as error:
        # It is deregistered already, or the role of [aws] may not: that costs nothing but order.
        if error.response["Error"]["Code"] not in ("ClientException", "AccessDeniedException"):
            raise
        logger.warning("not deregistered", task_definition=arn, error=str(error))
    else:
        logger.info("deregistered task definition", task_definition=arn.rpartition("/")[2])
