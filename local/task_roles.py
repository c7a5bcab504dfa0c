"""The two roles of a task: its flow's, and that by which ECS reads its secrets and writes its log.

A role that does not exist here, as one of a real account that ``agent.toml`` names, is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import ecs

from local import iam_judge
from local.iam_requests import Request, logging

_ECS = "ecs-tasks.amazonaws.com"


def keys(task_role: str | None, task: str) -> dict[str, str]:
    """Return the environment variables with the credentials of a task: none without a role.

    Raises
    ------
    iam_judge.AccessDenied
        The role does not trust ECS.
    """
    if not task_role:
        return {}
    if not iam_judge.exists(task_role):
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return iam_judge.credentials(task_role, _id(task), _ECS, task)


def check_execution(execution_role: str | None, task: str, container: Mapping[str, Any]) -> None:
    """See to it that ECS may get a container's secrets and write its log.

    Raises
    ------
    iam_judge.AccessDenied
        It may not: the task cannot start.
    """
    if not execution_role or not iam_judge.exists(execution_role):
        return
    asked = [_reading(secret["valueFrom"]) for secret in container.get("secrets", [])]
    config = ecs._awslogs_config(container, _id(task), _id(task))
    if config and config["create_group"]:
        asked.append(Request("logs:CreateLogGroup", log_group(config["group"])))
    if config:
        stream = f"{log_group(config['group'])}:log-stream:{config['stream']}"
        asked += logging(stream)
    iam_judge.check(execution_role, _id(task), _ECS, asked, task)


def log_group(name: str) -> str:
    """Return the ARN of a log group in the account and region of this moment."""
    return f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{name}"


def _reading(reference: str) -> Request:
    """Tell what ECS asks to get a secret (``valueFrom``)."""
    if ":secretsmanager:" in reference:  # a JSON key and a version may follow the ARN
        return Request("secretsmanager:GetSecretValue", ":".join(reference.split(":")[:7]))
    parameter = f"arn:aws:ssm:{get_region()}:{get_account_id()}:parameter/{reference.lstrip('/')}"
    return Request("ssm:GetParameters", reference if reference.startswith("arn:") else parameter)


def _id(task: str) -> str:
    return task.rpartition("/")[2]
