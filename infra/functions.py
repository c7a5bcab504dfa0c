"""The functions: how each is made, as whom it runs, in which network, and what feeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import CfnElement, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.compute import Compute
from infra.config import ConfigError
from infra.deployment import DeploymentSection
from infra.permissions import FunctionRole, allow, allow_interfaces_to_lambda
from infra.regions import has_json_logs
from infra.storage import Storage

ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}
RUNTIME = lambda_.Runtime.PYTHON_3_14


@dataclass(frozen=True, kw_only=True)
class Functions:
    """Makes the functions of one agent, by the account's rules.

    Attributes
    ----------
    code
        The bundle, which holds all of them.
    secrets
        The ARNs of the secrets that each may read.
    network
        What connects them to a VPC; None where they are in none.
    region
        Where they run, if anybody knows yet.
    """

    scope: Construct
    rules: DeploymentSection
    storage: Storage
    code: lambda_.Code
    secrets: list[str]
    network: lambda_.CfnFunction.VpcConfigProperty | None
    region: str | None

    def make(
        self, name: str, environment: Mapping[str, str], *, memory_mb: int, timeout: Duration
    ) -> lambda_.Function:
        """Make a function with a log group and a role of its own, which may do nothing else yet.

        Parameters
        ----------
        name
            Of its module in the bundle.
        """
        log_group = self.storage.log_group(self.scope, f"{name.capitalize()}Logs")
        role = FunctionRole(
            self.scope, f"{name.capitalize()}Role", log_group_arn=log_group.log_group_arn
        )
        json_logs = has_json_logs(self.region)
        function = lambda_.Function(
            self.scope,
            name.capitalize(),
            runtime=RUNTIME,
            architecture=ARCHITECTURES[self.rules.architecture],
            code=self.code,
            handler=f"fargate_agent.{name}.handler",
            memory_size=memory_mb,
            timeout=timeout,
            role=role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON if json_logs else None,
            # A poll every ten seconds would pay more for START, END and REPORT than for itself.
            system_log_level_v2=lambda_.SystemLogLevel.WARN if json_logs else None,
            environment=dict(environment),
            environment_encryption=self.storage.key,
            retry_attempts=0,
        )
        if self.secrets:
            allow(role, ["secretsmanager:GetSecretValue"], self.secrets)
        self.storage.allow_reading(role)
        if self.rules.readable_kms_keys:
            allow(role, ["kms:Decrypt"], self.rules.readable_kms_keys)
        if self.network:
            resource = function.node.default_child
            assert isinstance(resource, lambda_.CfnFunction)
            resource.vpc_config = self.network
            allow_interfaces_to_lambda(role, function)
        return function

    def consume(
        self,
        function: lambda_.Function,
        source: sqs.Queue,
        *,
        batch_size: int,
        max_concurrency: int | None = None,
        window: Duration | None = None,
    ) -> None:
        """Feed a function from a queue; it tells of a batch which messages must come back."""
        actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        grant = allow(role_of(function), actions, [source.queue_arn])
        mapping = lambda_.EventSourceMapping(
            self.scope,
            f"{source.node.id}To{function.node.id}",
            target=function,
            event_source_arn=source.queue_arn,
            batch_size=batch_size,
            max_concurrency=max_concurrency,
            max_batching_window=window,
            report_batch_item_failures=batch_size > 1,
        )
        # Lambda checks the role when the mapping is made.
        mapping.node.add_dependency(grant)


def network_of_functions(
    rules: DeploymentSection, compute: Compute, *, in_that_of_tasks: bool
) -> lambda_.CfnFunction.VpcConfigProperty | None:
    """Return what connects the functions to a VPC; None where they are in none.

    Raises
    ------
    ConfigError
        The app says that they should be in the tasks' network, which has public subnets.
    """
    if rules.subnets:
        return lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=rules.subnets, security_group_ids=rules.security_groups
        )
    if not in_that_of_tasks:
        return None
    connection = compute.connection
    if connection is None or connection["assignPublicIp"] == "ENABLED":
        raise ConfigError(
            "functions_in_network: wants a network of private subnets with a way out, for a "
            "function has no public address: name it in FargateAgentProps.network"
        )
    return lambda_.CfnFunction.VpcConfigProperty(
        subnet_ids=connection["subnets"], security_group_ids=connection["securityGroups"]
    )


def role_of(function: lambda_.Function) -> iam.IRole:
    """Return the role that a function runs as."""
    assert function.role is not None  # each was given one
    return function.role


def logical_id(function: lambda_.Function) -> str:
    """Return a function's name in the template."""
    element = function.node.default_child
    assert isinstance(element, CfnElement)
    return str(Stack.of(function).resolve(element.logical_id))
