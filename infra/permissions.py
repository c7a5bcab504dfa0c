"""Least privilege, and for every wildcard the reason why it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import Construct, IConstruct


def allow(
    role: iam.IRole,
    actions: list[str],
    resources: list[str],
    *,
    conditions: Mapping[str, Any] | None = None,
    because: str | None = None,
) -> iam.Grant:
    """Grant actions to a role.

    Parameters
    ----------
    because
        Why a resource holds a wildcard; recorded for cdk-nag.
    """
    if because:
        for resource in resources:
            if "*" in resource:
                acknowledge(role, f"IAM5[Resource::{_flat(role, resource)}]", because)
    return iam.Grant.add_to_principal(
        grantee=role,
        actions=actions,
        resource_arns=resources,
        conditions=dict(conditions) if conditions else None,
    )


def acknowledge(scope: IConstruct, rule: str, because: str) -> None:
    """Tell cdk-nag why an AwsSolutions finding on a construct is meant."""
    Validations.of(scope).acknowledge(
        Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=because)
    )


def _flat(scope: IConstruct, value: str) -> str:
    """Write a value with unresolved parts as cdk-nag names it: ``<LogicalId.Arn>/prefix/*``."""
    match Stack.of(scope).resolve(value):
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_part(part) for part in parts)
        case other:
            return _part(other)


def _part(part: Any) -> str:
    match part:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case _:
            return str(part)


def allow_launches(
    role: iam.IRole, *, clusters: list[str], passable_roles: list[str], region: str
) -> None:
    """Let a role register task definitions and run them: in these clusters, as these roles."""
    stack = Stack.of(role)
    definitions = stack.format_arn(
        service="ecs", resource="task-definition", resource_name="*", region=region
    )
    tasks = stack.format_arn(service="ecs", resource="task", resource_name="*", region=region)
    allow(
        role,
        ["ecs:RunTask"],
        [definitions],
        conditions={"ArnEquals": {"ecs:cluster": clusters}},
        because="A flow's family is made up at its first run; the cluster is what is limited.",
    )
    allow(
        role,
        ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"],
        ["*"],
        because="ECS knows no narrower resource for these two.",
    )
    allow(
        role,
        ["tag:GetResources"],
        ["*"],
        because="The tagging API knows no resources; it shows names and tags only.",
    )
    allow(
        role,
        ["ecs:TagResource"],
        [definitions, tasks],
        conditions={"StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}},
        because="What is tagged does not exist yet; only what these two calls make is.",
    )
    allow(
        role,
        ["iam:PassRole"],
        passable_roles,
        conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    )


def allow_tasks(role: iam.IRole, actions: list[str], *, clusters: list[str], region: str) -> None:
    """Let a role do something to the tasks of these clusters."""
    tasks = Stack.of(role).format_arn(
        service="ecs", resource="task", resource_name="*", region=region
    )
    allow(
        role,
        actions,
        [tasks],
        conditions={"ArnEquals": {"ecs:cluster": clusters}},
        because="A task's id is made up when it starts; the cluster is what is limited.",
    )


def allow_listing_tasks(role: iam.IRole, *, clusters: list[str]) -> None:
    """Let a role find the tasks of runs in these clusters."""
    allow(
        role,
        ["ecs:ListTasks"],
        ["*"],
        conditions={"ArnEquals": {"ecs:cluster": clusters}},
        because="Tasks are listed by cluster, which is what is limited.",
    )


def allow_reading_kwargs(role: iam.IRole, *, bucket_arn: str, prefix: str) -> None:
    """Let a role read the objects under a prefix, and tell a missing one from a forbidden one."""
    allow(
        role,
        ["s3:GetObject"],
        [f"{bucket_arn}/{prefix}*"],
        because="One object for each flow, under this prefix only.",
    )
    # Without it S3 calls a missing object forbidden. "IfExists", for the read of an object
    # carries no s3:prefix. The listing of another prefix is refused; that of the whole bucket,
    # which names none, cannot be told from such a read.
    allow(
        role,
        ["s3:ListBucket"],
        [bucket_arn],
        conditions={"StringLikeIfExists": {"s3:prefix": f"{prefix}*"}},
    )


class FunctionRole(iam.Role):
    """The role of one function, which may write its own log and nothing else yet."""

    def __init__(self, scope: Construct, id: str, *, log_group_arn: str) -> None:
        super().__init__(scope, id, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        allow(self, ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group_arn])
