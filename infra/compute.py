"""What a new user lacks and the settings do not name: cluster, network, roles, log group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_cdk import ArnFormat, Stack, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.permissions import acknowledge, allow
from infra.storage import Storage
from infra.task_rights import log_streams

_TASKS = "ecs-tasks.amazonaws.com"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network for tasks that exists already.

    Attributes
    ----------
    subnets
        Which of the VPC's; by default private ones with a way out, if it has any.
    security_groups
        By default one is made that lets nothing in.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection = field(default_factory=ec2.SubnetSelection)
    security_groups: Sequence[ec2.ISecurityGroup] = ()


class Compute(Construct):
    """Where the tasks run, and as whom.

    Parameters
    ----------
    given
        The user's ``[ecs.kwargs]`` for the two calls; what is named there is not made.
    container
        The user's fields of the flow's container: its own log group and secrets are for the
        execution role to use.
    secret_arns
        Further secrets that ECS hands to the containers.
    existing
        What another CDK app hands over in place of what would be made, as ECS kwargs too.
    network
        The app's own, likewise.
    region
        Where the tasks run; None for the stack's own region.
    role_arn
        The role by which they are run, in whose account the cluster is.
    in_this_account
        Whether the tasks run in the stack's account. In another everything is given.
    jobs_log_group
        A log group that tasks may make and write to, where their jobs say so.
    storage
        Makes the log group.
    readable_keys
        The keys of KMS under which secrets and parameters of the containers lie.
    tags
        On every task and task definition that names none.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        given: Mapping[str, Any],
        container: Mapping[str, Any],
        secret_arns: list[str],
        existing: Mapping[str, Any] | None = None,
        network: Network | None = None,
        region: str | None = None,
        role_arn: str | None = None,
        in_this_account: bool = True,
        jobs_log_group: str | None = None,
        storage: Storage,
        readable_keys: list[str],
        tags: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id)
        self._storage, self._readable_keys = storage, readable_keys
        self._jobs_log_group = jobs_log_group
        self._container, self._in_this_account = container, in_this_account
        self._region = region or Stack.of(self).region
        self._account = role_arn.split(":")[4] if role_arn else Stack.of(self).account
        self.defaults: dict[str, Any] = {}
        """ECS kwargs that name what was made here."""
        if tags:
            self.defaults["tags"] = [{"key": key, "value": tags[key]} for key in sorted(tags)]
        handed_over = {k: v for k, v in (existing or {}).items() if k not in given}
        self.defaults |= handed_over
        given = {**handed_over, **given}
        has_logs = "logConfiguration" in container or not in_this_account
        self.log_group = None if has_logs else self._log_group()
        self.cluster_arn = self._given_cluster(given) or self._cluster()
        self.execution_role: iam.Role | None = None
        """The role that was made; None where one is named."""
        self.task_role: iam.Role | None = None
        """Likewise."""
        self.execution_role_arn: str = given.get("executionRoleArn") or self._execution_role(
            container, secret_arns
        )
        self.task_role_arn: str = given.get("taskRoleArn") or self._task_role()
        self.connection: dict[str, Any] | None = None
        """The tasks' subnets and security groups, so far as the settings named none."""
        if "networkConfiguration" not in given and given.get("networkMode", "awsvpc") == "awsvpc":
            self._network(network)

    def _given_cluster(self, given: Mapping[str, Any]) -> str | None:
        cluster: str | None = given.get("cluster")
        if cluster is None or cluster.startswith("arn:") or Token.is_unresolved(cluster):
            return cluster  # what an app hands over is an ARN
        return Stack.of(self).format_arn(
            service="ecs",
            resource="cluster",
            resource_name=cluster,
            region=self._region,
            account=self._account,
        )

    def _cluster(self) -> str:
        # No VPC of its own: tasks bring theirs, and a cluster costs nothing.
        cluster = ecs.CfnCluster(
            self,
            "Cluster",
            capacity_providers=["FARGATE", "FARGATE_SPOT"],
            default_capacity_provider_strategy=[
                ecs.CfnCluster.CapacityProviderStrategyItemProperty(
                    capacity_provider="FARGATE", weight=1
                )
            ],
        )
        acknowledge(
            cluster, "ECS4", "Container Insights is billed by the task; switch it on at will."
        )
        self.defaults["cluster"] = cluster.attr_arn
        return cluster.attr_arn

    def _log_group(self) -> logs.LogGroup:
        group = self._storage.log_group(self, "TaskLogs")
        self.defaults["containerDefinitions"] = [
            {
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": group.log_group_name,
                        "awslogs-region": Stack.of(self).region,
                        "awslogs-stream-prefix": "flow-run",
                    },
                }
            }
        ]
        return group

    def _execution_role(self, container: Mapping[str, Any], secret_arns: list[str]) -> str:
        role = self._role("ExecutionRole", "Lets ECS pull images, write logs and read the API key")
        repositories = Stack.of(self).format_arn(
            service="ecr", resource="repository", resource_name="*", region=self._region
        )
        allow(
            role,
            [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            [repositories],
            because="A flow may name any image of this account.",
        )
        allow(
            role,
            ["ecr:GetAuthorizationToken"],
            ["*"],
            because="ECR knows no narrower resource for its log-in.",
        )
        log_group = self._log_group_arn(container)
        if log_group:
            allow(role, ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group])
        if self._jobs_log_group:
            allow(
                role,
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                [log_streams(self, self._jobs_log_group)],
                because="Streams are named by the run's container.",
            )
        references = [entry["valueFrom"] for entry in container.get("secrets", [])]
        # A reference may go on, after the ARN, with a JSON key and a version.
        secrets = [":".join(r.split(":")[:7]) for r in references if ":secretsmanager:" in r]
        secrets = list(dict.fromkeys([*secret_arns, *secrets]))
        if secrets:
            allow(role, ["secretsmanager:GetSecretValue"], secrets)
        parameters = [self._parameter_arn(r) for r in references if ":secretsmanager:" not in r]
        if parameters:
            allow(role, ["ssm:GetParameters"], parameters)
        if self._readable_keys:
            allow(role, ["kms:Decrypt"], self._readable_keys)
        self.execution_role = role
        self.defaults["executionRoleArn"] = role.role_arn
        return role.role_arn

    def readable_log_groups(self) -> list[str]:
        """Return the ARNs of the streams of the log groups that the tasks write to, if known."""
        own = self._log_group_arn(self._container) if self._in_this_account else None
        jobs = log_streams(self, self._jobs_log_group) if self._jobs_log_group else None
        return [arn for arn in (own, jobs) if arn]

    def _log_group_arn(self, container: Mapping[str, Any]) -> str | None:
        if self.log_group:
            return self.log_group.log_group_arn
        config = container.get("logConfiguration", {})
        name = config.get("options", {}).get("awslogs-group")
        return log_streams(self, name) if name else None

    def _parameter_arn(self, reference: str) -> str:
        if reference.startswith("arn:"):
            return reference
        return Stack.of(self).format_arn(
            service="ssm",
            resource="parameter",
            resource_name=reference.lstrip("/"),
            region=self._region,
        )

    def _task_role(self) -> str:
        role = self._role("TaskRole", "What flows may do; attach policies to it, or name another")
        self.task_role = role
        self.defaults["taskRoleArn"] = role.role_arn
        return role.role_arn

    def _role(self, id: str, description: str) -> iam.Role:
        stack = Stack.of(self)
        tasks = stack.format_arn(
            service="ecs",
            resource="*",
            region=self._region,
            arn_format=ArnFormat.NO_RESOURCE_NAME,
        )
        return iam.Role(
            self,
            id,
            description=description,
            assumed_by=iam.ServicePrincipal(
                _TASKS,
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": tasks},
                },
            ),
        )

    def _network(self, network: Network | None) -> None:
        network = network or Network(vpc=self._vpc())
        groups = network.security_groups or [self._closed_group(network.vpc)]
        subnets = network.vpc.select_subnets(
            availability_zones=network.subnets.availability_zones,
            one_per_az=network.subnets.one_per_az,
            subnet_filters=network.subnets.subnet_filters,
            subnet_group_name=network.subnets.subnet_group_name,
            subnets=network.subnets.subnets,
            subnet_type=network.subnets.subnet_type,
        )
        self.connection = {
            "subnets": subnets.subnet_ids,
            "securityGroups": [group.security_group_id for group in groups],
            "assignPublicIp": "ENABLED" if subnets.has_public else "DISABLED",
        }
        self.defaults["networkConfiguration"] = {"awsvpcConfiguration": self.connection}

    def _vpc(self) -> ec2.Vpc:
        """Make a VPC that costs nothing when idle: public subnets, no NAT, nothing let in."""
        vpc = ec2.Vpc(
            self,
            "Network",
            max_azs=2,
            nat_gateways=0,
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="public", subnet_type=ec2.SubnetType.PUBLIC)
            ],
        )
        acknowledge(vpc, "VPC7", "Flow logs cost; nothing here lets a connection in.")
        return vpc

    def _closed_group(self, vpc: ec2.IVpc) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self, "Tasks", vpc=vpc, description="Flow runs: nothing comes in, everything goes out"
        )
