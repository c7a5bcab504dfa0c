"""Least privilege, and for every wildcard the reason why it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
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


_OF_INTERFACES = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:UnassignPrivateIpAddresses",
)


def allow_interfaces_to_lambda(role: iam.IRole, function: lambda_.Function) -> None:
    """Let Lambda put a function into a VPC by its role, and keep the function's code from it.

    `AWS's page <https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html>`_ lists the
    actions, and advises to deny them to the code.
    """
    allow(
        role,
        [*_OF_INTERFACES, "ec2:DescribeSubnets"],
        ["*"],
        because="Lambda's page on VPCs asks for these on all resources; the code has them not.",
    )
    # No part of the role's own policy, which the function waits for: this waits for the function.
    iam.Policy(
        function,
        "NotTheCode",
        roles=[role],
        statements=[
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=list(_OF_INTERFACES),
                resources=["*"],
                conditions={"ArnEquals": {"lambda:SourceFunctionArn": function.function_arn}},
            )
        ],
    )
