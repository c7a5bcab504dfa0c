"""Judges recorded AWS calls by a role's policies, with ministack's policy evaluator.

The table says what each call asks of IAM, after the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/). A call that the table does
not know is an error: a new call needs its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from tests.support.recorder import Call
from tests.support.stack_template import ACCOUNT, REGION, Deployed


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


def requests(call: Call) -> Iterator[Request]:
    """Tell what a recorded call asks of the function's role: nothing, if made as somebody else."""
    params = call.params
    if call.key:
        return
    match call.operation:
        case "SendMessageBatch":
            yield Request("sqs:SendMessage", _queue(params))
        case "ChangeMessageVisibility":
            yield Request("sqs:ChangeMessageVisibility", _queue(params))
        case "GetObject":
            bucket = f"arn:aws:s3:::{params['Bucket']}"
            yield Request("s3:GetObject", f"{bucket}/{params['Key']}")
            yield Request("s3:ListBucket", bucket)  # or a missing object would be forbidden
        case "GetSecretValue":
            yield Request("secretsmanager:GetSecretValue", params["SecretId"])
        case "ListTasks" | "DescribeTasks" | "StopTask" as operation:
            yield from _on_tasks(operation, params)
        case "GetLogEvents":
            group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{params['logGroupName']}"
            stream = f"{group}:log-stream:{params['logStreamName']}"
            yield Request("logs:GetLogEvents", stream)
        case "AssumeRole":
            yield Request("sts:AssumeRole", params["RoleArn"])
        case operation if operation in _ON_ANYTHING:
            yield Request(f"{_ON_ANYTHING[operation]}:{operation}", "*")
        case "RegisterTaskDefinition":
            yield Request("ecs:RegisterTaskDefinition", "*")
            yield from _pass_roles(params)
            yield _tag("RegisterTaskDefinition", f"task-definition/{params['family']}:1")
        case "RunTask":
            cluster = _cluster(params.get("cluster", "default"))
            definition = _definition(params["taskDefinition"])
            yield Request("ecs:RunTask", definition, {"ecs:cluster": cluster})
            yield from _pass_roles(params.get("overrides", {}))
            yield _tag("RunTask", f"task/{cluster.rpartition('/')[2]}/0123456789")
        case other:
            raise NotImplementedError(f"no row for {other}")


def consuming(queue_arn: str) -> Iterator[Request]:
    """Tell what an event source mapping asks of its function's role."""
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        yield Request(f"sqs:{action}", queue_arn)


def logging(log_group_arn: str) -> Iterator[Request]:
    """Tell what Lambda asks of a function's role to write its log."""
    for action in ("CreateLogStream", "PutLogEvents"):
        yield Request(f"logs:{action}", log_group_arn)


class Judge:
    """Judges by the deployed policies of one function's role.

    ``unused`` holds the (action, resource) grants that no request has needed yet.
    """

    def __init__(self, deployed: Deployed, function: str) -> None:
        _, resource = deployed.function(function)
        (role, _) = resource["Properties"]["Role"]["Fn::GetAtt"]
        self._grants = [
            {**statement, "Action": action, "Resource": resource}
            for statement in deployed.role_statements(role)
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]
        self.unused = {(grant["Action"], grant["Resource"]) for grant in self._grants}

    def allows(self, request: Request) -> bool:
        """Tell whether the role may do this, and remember which grant let it."""
        for grant in self._grants:
            document = {"Version": "2012-10-17", "Statement": [grant]}
            verdict = evaluate(_context(request), [parse_policy_document(document)])
            if verdict.decision == "Allow":
                self.unused.discard((grant["Action"], grant["Resource"]))
                return True
        return False


def _context(request: Request) -> EvalContext:
    return EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/function/function",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=request.action,
        resource_arn=request.resource,
        region=REGION,
        service_context={key.lower(): value for key, value in request.context.items()},
    )


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _queue(params: dict[str, Any]) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{params['QueueUrl'].rpartition('/')[2]}"


def _cluster(name: str) -> str:
    """IAM compares a cluster's ARN, also where the call names it short."""
    return name if name.startswith("arn:") else f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"


def _definition(name: str) -> str:
    """IAM compares a revision's ARN, also where the call names it, or its family, short."""
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{name}"
    return name if name.startswith("arn:") else arn


def _on_tasks(operation: str, params: dict[str, Any]) -> Iterator[Request]:
    for task in params.get("tasks") or [params.get("task", "*")]:
        yield Request(f"ecs:{operation}", task, {"ecs:cluster": params["cluster"]})


def _pass_roles(params: dict[str, Any]) -> Iterator[Request]:
    for key in ("executionRoleArn", "taskRoleArn"):
        if key in params:
            yield Request(
                "iam:PassRole", params[key], {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
            )


def _tag(creating: str, resource: str) -> Request:
    return Request(
        "ecs:TagResource",
        f"arn:aws:ecs:{REGION}:{ACCOUNT}:{resource}",
        {"ecs:CreateAction": creating},
    )
