"""What it takes to run an agent's tasks: of the functions' own roles, or of one elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from fargate_agent.kwargs import Kwargs
from infra.permissions import allow

JOBS_LOG_GROUP = "prefect"
"""Where ``configure_cloudwatch_logs`` makes a work pool's containers write."""

EVENT_SOURCE, EVENT_DETAIL_TYPE = "aws.ecs", "ECS Task State Change"
"""By which EventBridge knows what ECS tells of tasks."""


def log_streams(scope: IConstruct, group: str) -> str:
    """Return the ARN of all streams of a log group in the stack's account and region."""
    return Stack.of(scope).format_arn(
        service="logs",
        resource="log-group",
        resource_name=f"{group}:*",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def roles_of(kwargs: Kwargs, allowed: Sequence[str]) -> list[str]:
    """Return the ARNs of the roles that settings name for tasks, each once."""
    named = {**kwargs.definition, **kwargs.request}, kwargs.request.get("overrides", {})
    keys = ("executionRoleArn", "taskRoleArn")
    given = [source[key] for source in named for key in keys if key in source]
    return list(dict.fromkeys([*given, *allowed]))


@dataclass(frozen=True, kw_only=True)
class TaskRights:
    """Grants a role what launching, healing and concluding tasks calls, and nothing else.

    Attributes
    ----------
    clusters
        The ARNs of the clusters that tasks may be run in.
    passable_roles
        The ARNs of the roles that tasks may be run as.
    region
        Where the tasks run.
    log_groups
        The ARNs of the streams that the tasks write to.
    work_pools
        Whether Prefect 2 or 3 is served, whose jobs ask for more than those of Prefect 1.
    """

    clusters: list[str]
    passable_roles: list[str]
    region: str
    log_groups: list[str]
    work_pools: bool

    def event_pattern(self) -> events.EventPattern:
        """Match ECS's events of the tasks of these clusters, but those of services."""
        return events.EventPattern(
            source=[EVENT_SOURCE],
            detail_type=[EVENT_DETAIL_TYPE],
            detail={
                "clusterArn": self.clusters,
                "startedBy": [{"anything-but": {"prefix": "ecs-svc/"}}],
                # Prefect 1 knows no events: there only a task's end is of use.
                **({} if self.work_pools else {"lastStatus": ["STOPPED"]}),
            },
        )

    def allow_launching(self, role: iam.IRole) -> None:
        """Let a role register task definitions and run them, find the tasks, and stop them."""
        definitions, tasks = self._any(role, "task-definition"), self._any(role, "task")
        allow(
            role,
            ["ecs:RunTask"],
            [definitions],
            conditions=self._in_these_clusters(),
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
            conditions={
                "StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}
            },
            because="What is tagged does not exist yet; only what these two calls make is.",
        )
        allow(
            role,
            ["iam:PassRole"],
            self.passable_roles,
            conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )
        self.allow_healing(role)
        if self.work_pools:
            allow(
                role,
                ["ec2:DescribeSubnets"],
                ["*"],
                because="EC2 knows no narrower resource for it; a job may name any VPC.",
            )

    def allow_healing(self, role: iam.IRole) -> None:
        """Let a role find the tasks of runs, and stop those of cancelled ones."""
        self._allow_on_tasks(role, ["ecs:DescribeTasks", "ecs:StopTask"])
        self._allow_listing(role)

    def allow_concluding(self, role: iam.IRole) -> None:
        """Let a role read tasks and their logs, and deregister what was registered for one run."""
        if self.log_groups:
            allow(
                role,
                ["logs:GetLogEvents"],
                self.log_groups,
                because="A container's log stream is named by its task.",
            )
        allow(
            role,
            ["ecs:DescribeTaskDefinition"],
            ["*"],
            because="ECS knows no narrower resource for it.",
        )
        self._allow_on_tasks(role, ["ecs:DescribeTasks"])
        if self.work_pools:
            allow(
                role,
                ["ecs:DeregisterTaskDefinition"],
                ["*"],
                because="ECS knows no narrower resource for it.",
            )
        else:
            self._allow_listing(role)

    def _any(self, role: iam.IRole, resource: str) -> str:
        return Stack.of(role).format_arn(
            service="ecs", resource=resource, resource_name="*", region=self.region
        )

    def _in_these_clusters(self) -> dict[str, dict[str, list[str]]]:
        return {"ArnEquals": {"ecs:cluster": self.clusters}}

    def _allow_on_tasks(self, role: iam.IRole, actions: list[str]) -> None:
        allow(
            role,
            actions,
            [self._any(role, "task")],
            conditions=self._in_these_clusters(),
            because="A task's id is made up when it starts; the cluster is what is limited.",
        )

    def _allow_listing(self, role: iam.IRole) -> None:
        allow(
            role,
            ["ecs:ListTasks"],
            ["*"],
            conditions=self._in_these_clusters(),
            because="Tasks are listed by cluster, which is what is limited.",
        )
