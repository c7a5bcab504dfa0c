"""The other account's side of ``aws.role_arn``: the role, and the way back of its ECS events.

Deployed with credentials of that account, from the agent's own settings:
``npx cdk deploy --app "python3 -m infra.task_account" -c agent=agent.toml``
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import ArnFormat, Environment, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import AgentConfig, ConfigError, split_kwargs
from infra.permissions import allow, allow_reading_kwargs
from infra.synthesis import synthesize
from infra.task_rights import JOBS_LOG_GROUP, TaskRights, log_streams, roles_of

_TRUNCATED = 24
"""CloudFormation shortens a stack's name in the names of roles to this, if it must."""


class TaskRunnerRole(iam.Role):
    """The role by which an agent of another account runs its tasks in this one.

    Parameters
    ----------
    config
        The agent's settings; they name the role, the clusters, and the roles it may pass.
    trusted
        ARNs of the roles that may assume it, with ``*`` and ``?``; by default those of the agent's
        stack as ``agent.name`` names it.

    Raises
    ------
    ConfigError
        The settings do not say whose agent it is, or run no tasks in another account.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        config: AgentConfig,
        *,
        trusted: Sequence[str] | None = None,
    ) -> None:
        arn, account = accounts(config)
        path, _, name = arn.partition(":role")[2].rpartition("/")
        partition = Stack.of(scope).partition
        super().__init__(
            scope,
            id,
            role_name=name,
            path=f"{path}/",
            description=f"Lets the agent {config.agent.name} of {account} run tasks here",
            assumed_by=iam.AccountPrincipal(account).with_conditions(
                {
                    "ArnLike": {
                        "aws:PrincipalArn": list(
                            trusted
                            or [f"arn:{partition}:iam::{account}:role/{_stack_prefix(config)}*"]
                        )
                    }
                }
            ),
        )
        self.rights = _rights(self, config)
        self.rights.allow_launching(self)
        self.rights.allow_concluding(self)
        files = config.external_kwargs
        if files.enabled and files.bucket:
            bucket = f"arn:{partition}:s3:::{files.bucket}"
            allow_reading_kwargs(self, bucket_arn=bucket, prefix=files.folder)
        if config.deployment.readable_kms_keys:
            allow(self, ["kms:Decrypt"], config.deployment.readable_kms_keys)


class TaskAccountStack(Stack):
    """The role, and a rule that sends the events of its tasks to the agent's account."""

    def __init__(self, scope: Construct, config: AgentConfig) -> None:
        arn, account = accounts(config)
        region = config.deployment.region
        super().__init__(
            scope,
            f"{config.agent.name}-tasks",
            description=f"Lets the agent {config.agent.name} of another account run tasks here",
            env=Environment(account=arn.split(":")[4], region=config.aws.region or region),
        )
        self.role = TaskRunnerRole(self, "TaskRunner", config)
        bus = self.format_arn(
            service="events",
            region=region,
            account=account,
            resource="event-bus",
            resource_name="default",
            arn_format=ArnFormat.SLASH_RESOURCE_NAME,
        )
        self.rule = events.Rule(
            self,
            "TaskChanged",
            description=f"Tells the agent {config.agent.name} of its tasks here",
            event_pattern=self.role.rights.event_pattern(),
            targets=[targets.EventBus(events.EventBus.from_event_bus_arn(self, "Bus", bus))],
        )


def accounts(config: AgentConfig) -> tuple[str, str]:
    """Return the ARN of the role in the other account, and the agent's own account.

    Raises
    ------
    ConfigError
        One of them is not named.
    """
    if config.aws.role_arn is None:
        raise ConfigError("aws.role_arn: must be named: the role that the agent will run tasks by")
    if config.deployment.account is None:
        raise ConfigError(
            "deployment.account: must be named, with deployment.region: where the agent is, which "
            "the role trusts and the events are sent to"
        )
    return config.aws.role_arn, config.deployment.account


def _stack_prefix(config: AgentConfig) -> str:
    name = config.agent.name
    return f"{name}-" if len(name) < _TRUNCATED else name[:_TRUNCATED]


def _rights(role: TaskRunnerRole, config: AgentConfig) -> TaskRights:
    kwargs = split_kwargs(config)
    work_pools = config.prefect.version != 1
    region = config.aws.region or Stack.of(role).region
    cluster = str(kwargs.request["cluster"])
    if not cluster.startswith("arn:"):
        cluster = Stack.of(role).format_arn(
            service="ecs", resource="cluster", resource_name=cluster, region=region
        )
    options = kwargs.container.get("logConfiguration", {}).get("options", {})
    groups = [options.get("awslogs-group"), JOBS_LOG_GROUP if work_pools else None]
    return TaskRights(
        clusters=[cluster, *config.ecs.allowed_clusters],
        passable_roles=roles_of(kwargs, config.ecs.allowed_roles),
        region=region,
        log_groups=[log_streams(role, group) for group in groups if group],
        work_pools=work_pools,
    )


if __name__ == "__main__":
    synthesize(TaskAccountStack)
