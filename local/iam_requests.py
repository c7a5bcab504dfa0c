"""What each AWS call asks of IAM: actions, resources and condition keys.

After the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/). The emulator enforces it, and
the tests judge recorded calls by it. A call that the table does not know is an error: a new call
needs its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One permission that a call needs."""

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)


_ON_ANYTHING = {
    "DeregisterTaskDefinition": "ecs",
    "DescribeSubnets": "ec2",
    "DescribeTaskDefinition": "ecs",
    "DescribeVpcs": "ec2",
    "GetResources": "tag",
}
"""Calls that IAM knows no narrower resource for, by the service that permits them."""


def requests(
    operation: str, params: Mapping[str, Any], *, account: str, region: str
) -> Iterator[Request]:
    """Tell what a call asks of its caller's role.

    Parameters
    ----------
    operation, params
        As in boto3's model of the service.
    account, region
        Those that the call is made in.

    Raises
    ------
    NotImplementedError
        The table has no row for the operation.
    """
    ecs = f"arn:aws:ecs:{region}:{account}"
    match operation:
        case "SendMessageBatch":
            yield Request("sqs:SendMessage", _queue(params, account, region))
        case "ChangeMessageVisibility":
            yield Request("sqs:ChangeMessageVisibility", _queue(params, account, region))
        case "GetObject":
            bucket = f"arn:aws:s3:::{params['Bucket']}"
            yield Request("s3:GetObject", f"{bucket}/{params['Key']}")
            yield Request("s3:ListBucket", bucket)  # or a missing object would be forbidden
        case "ListObjectsV2":
            named = {"s3:prefix": params["Prefix"]} if "Prefix" in params else {}
            yield Request("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}", named)
        case "GetSecretValue":
            yield Request("secretsmanager:GetSecretValue", params["SecretId"])
        case "ListTasks" | "DescribeTasks" | "StopTask":
            yield from _on_tasks(operation, params, ecs)
        case "GetLogEvents":
            group = f"arn:aws:logs:{region}:{account}:log-group:{params['logGroupName']}"
            stream = f"{group}:log-stream:{params['logStreamName']}"
            yield Request("logs:GetLogEvents", stream)
        case "AssumeRole":
            yield Request("sts:AssumeRole", params["RoleArn"])
        case _ if operation in _ON_ANYTHING:
            yield Request(f"{_ON_ANYTHING[operation]}:{operation}", "*")
        case "RegisterTaskDefinition":
            yield Request("ecs:RegisterTaskDefinition", "*")
            yield from _pass_roles(params)
            yield from _tag(operation, params, f"{ecs}:task-definition/{params['family']}:1")
        case "RunTask":
            cluster = _named(params.get("cluster", "default"), f"{ecs}:cluster/")
            definition = _named(params["taskDefinition"], f"{ecs}:task-definition/")
            yield Request("ecs:RunTask", definition, {"ecs:cluster": cluster})
            yield from _pass_roles(params.get("overrides", {}))
            task = f"{ecs}:task/{cluster.rpartition('/')[2]}/0123456789"
            yield from _tag(operation, params, task)
        case _:
            raise NotImplementedError(f"no row for {operation}")


def consuming(queue_arn: str) -> Iterator[Request]:
    """Tell what an event source mapping asks of its function's role."""
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        yield Request(f"sqs:{action}", queue_arn)


def logging(stream_arn: str) -> Iterator[Request]:
    """Tell what Lambda and ECS ask of a role to write a log."""
    for action in ("CreateLogStream", "PutLogEvents"):
        yield Request(f"logs:{action}", stream_arn)


def _queue(params: Mapping[str, Any], account: str, region: str) -> str:
    return f"arn:aws:sqs:{region}:{account}:{params['QueueUrl'].rpartition('/')[2]}"


def _named(name: str, beginning: str) -> str:
    """IAM compares the ARN, also where the call names a cluster or a definition short."""
    return name if name.startswith("arn:") else beginning + name


def _on_tasks(operation: str, params: Mapping[str, Any], ecs: str) -> Iterator[Request]:
    cluster = _named(params.get("cluster", "default"), f"{ecs}:cluster/")
    context = {"ecs:cluster": cluster}
    if operation == "ListTasks":
        yield Request("ecs:ListTasks", "*", context)
        return
    for task in params.get("tasks") or [params["task"]]:
        arn = _named(task, f"{ecs}:task/{cluster.rpartition('/')[2]}/")
        yield Request(f"ecs:{operation}", arn, context)


def _pass_roles(params: Mapping[str, Any]) -> Iterator[Request]:
    for key in ("executionRoleArn", "taskRoleArn"):
        if key in params:
            yield Request(
                "iam:PassRole", params[key], {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
            )


def _tag(creating: str, params: Mapping[str, Any], resource: str) -> Iterator[Request]:
    if params.get("tags") or params.get("propagateTags"):
        yield Request("ecs:TagResource", resource, {"ecs:CreateAction": creating})
