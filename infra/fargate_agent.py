"""The agent as one construct, for this project's own stack and for other CDK apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.bundling import bundle
from infra.compute import Compute
from infra.config import AgentConfig, split_kwargs

RUNTIME = lambda_.Runtime.PYTHON_3_14
MEMORY_MB = 256
TIMEOUTS = {
    "poll": Duration.seconds(55),
    "dispatch": Duration.seconds(120),
    "watch": Duration.seconds(60),
}
MAX_RECEIVES = 100
"""Backing off to 5 minutes, a message is tried for some 8 hours before it is a dead letter."""

DISPATCH_CONCURRENCY = 5
"""ECS takes 20 RunTask calls a second; five batches of ten keep it busy and not throttled."""

_SCHEDULE_MINUTES = 1


@dataclass(frozen=True, kw_only=True)
class FargateAgentProps:
    """What the construct is told.

    ``config`` is a validated ``agent.toml`` (:func:`infra.config.load`), or one made in Python.
    """

    config: AgentConfig


class FargateAgent(Construct):
    """Polls Prefect, launches its flow runs on Fargate, and tells it of tasks that died.

    Attributes
    ----------
    poll, dispatch, watch
        The three functions.
    runs_queue, dead_letters, ticks_queue, task_events
        The queues; ``ticks_queue`` is None where the poll interval is a minute or more.
    kwargs_bucket
        The bucket of per-flow kwargs, made or imported; None where they are switched off.
    compute
        Cluster, network, roles and log group, so far as the settings named none.
    """

    def __init__(self, scope: Construct, id: str, props: FargateAgentProps) -> None:
        super().__init__(scope, id)
        self._config = props.config
        self._given = split_kwargs(props.config)
        self._secrets = [
            arn
            for arn in (
                props.config.prefect.api_key_secret,
                props.config.prefect.auth_string_secret,
            )
            if arn
        ]
        self.compute = Compute(
            self,
            "Compute",
            given={**self._given.definition, **self._given.request},
            secret_arns=self._secrets,
            container_logs="logConfiguration" not in self._given.container,
        )
        self.dead_letters = self._queue("DeadLetters", fifo=True, retention=Duration.days(14))
        self.runs_queue = self._queue(
            "Runs",
            fifo=True,
            retention=Duration.days(14),
            visibility=Duration.seconds(6 * TIMEOUTS["dispatch"].to_seconds()),
            dead_letters=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=MAX_RECEIVES
            ),
        )
        self.ticks_queue = self._ticks_queue()
        self.kwargs_bucket = self._kwargs_bucket()
        self._code = bundle(_settings(props.config))
        self.poll = self._poll()
        self.dispatch = self._dispatch()
        self.watch, self.task_events = self._watch()

    def grant_write_kwargs(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody put per-flow kwargs files where the agent reads them.

        Raises
        ------
        ValueError
            External kwargs are switched off.
        """
        if self.kwargs_bucket is None:
            raise ValueError("external_kwargs.enabled is false: there is no bucket to write to")
        return self.kwargs_bucket.grant_put(grantee, f"{self._prefix()}*")

    # -- queues and bucket

    def _queue(
        self,
        id: str,
        *,
        retention: Duration,
        fifo: bool = False,
        visibility: Duration | None = None,
        dead_letters: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        return sqs.Queue(
            self,
            id,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=retention,
            visibility_timeout=visibility,
            dead_letter_queue=dead_letters,
            fifo=fifo or None,
            content_based_deduplication=False if fifo else None,
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP if fifo else None,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID if fifo else None,
        )

    def _ticks_queue(self) -> sqs.Queue | None:
        if self._config.agent.poll_interval_seconds >= _SCHEDULE_MINUTES * 60:
            return None
        # A tick that could not be delivered within a minute is of no use: the next one is there.
        return self._queue("Ticks", retention=Duration.minutes(1), visibility=Duration.seconds(60))

    def _kwargs_bucket(self) -> s3.IBucket | None:
        external = self._config.external_kwargs
        if not external.enabled:
            return None
        if external.bucket:
            return s3.Bucket.from_bucket_name(self, "Kwargs", external.bucket)
        return s3.Bucket(
            self,
            "Kwargs",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _prefix(self) -> str:
        prefix = self._config.external_kwargs.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    # -- functions

    def _poll(self) -> lambda_.Function:
        environment = {"RUNS_QUEUE_URL": self.runs_queue.queue_url}
        if self.ticks_queue:
            environment["TICKS_QUEUE_URL"] = self.ticks_queue.queue_url
        poll = self._function("poll", environment)
        senders = [q.queue_arn for q in (self.runs_queue, self.ticks_queue) if q]
        _allow(poll, ["sqs:SendMessage"], senders)
        if self.ticks_queue:
            self._consume(poll, self.ticks_queue, batch_size=1)
        minutes = max(_SCHEDULE_MINUTES, self._config.agent.poll_interval_seconds // 60)
        self.schedule = scheduler.Schedule(
            self,
            "Schedule",
            description="Polls Prefect for flow runs that come due",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(minutes)),
            enabled=self._config.agent.enabled,
            target=scheduler_targets.LambdaInvoke(
                poll,
                # The next poll does what a failed one did not.
                retry_attempts=0,
                max_event_age=Duration.minutes(1),
            ),
        )
        return poll

    def _dispatch(self) -> lambda_.Function:
        environment = {
            "RUNS_QUEUE_URL": self.runs_queue.queue_url,
            "MAX_RECEIVES": str(MAX_RECEIVES),
            "STACK_KWARGS": Stack.of(self).to_json_string(self.compute.defaults),
        }
        if self.kwargs_bucket:
            environment["KWARGS_BUCKET"] = self.kwargs_bucket.bucket_name
        dispatch = self._function("dispatch", environment)
        _allow(dispatch, ["sqs:ChangeMessageVisibility"], [self.runs_queue.queue_arn])
        self._consume(
            dispatch, self.runs_queue, batch_size=10, max_concurrency=DISPATCH_CONCURRENCY
        )
        self._allow_ecs(dispatch)
        self._allow_kwargs(dispatch)
        return dispatch

    def _watch(self) -> tuple[lambda_.Function, sqs.Queue]:
        task_events = self._queue(
            "TaskEvents",
            retention=Duration.days(14),
            visibility=Duration.seconds(6 * TIMEOUTS["watch"].to_seconds()),
            dead_letters=sqs.DeadLetterQueue(
                queue=self._queue("TaskEventDeadLetters", retention=Duration.days(14)),
                max_receive_count=MAX_RECEIVES,
            ),
        )
        clusters = [self.compute.cluster_arn, *self._config.ecs.allowed_clusters]
        events.Rule(
            self,
            "TaskStopped",
            description="Tells the agent of ECS tasks that stopped",
            event_pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Task State Change"],
                detail={"clusterArn": clusters, "lastStatus": ["STOPPED"]},
            ),
            targets=[targets.SqsQueue(task_events)],
        )
        watch = self._function("watch", {})
        self._consume(watch, task_events, batch_size=10)
        return watch, task_events

    def _function(self, name: str, environment: Mapping[str, str]) -> lambda_.Function:
        log_group = logs.LogGroup(
            self,
            f"{name.capitalize()}Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self,
            f"{name.capitalize()}Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        )
        log_group.grant_write(role)
        function = lambda_.Function(
            self,
            name.capitalize(),
            runtime=RUNTIME,
            architecture=lambda_.Architecture.ARM_64,
            code=self._code,
            handler=f"fargate_agent.{name}.handler",
            memory_size=MEMORY_MB,
            timeout=TIMEOUTS[name],
            role=role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment=dict(environment),
            retry_attempts=0,
        )
        if self._secrets:
            _allow(function, ["secretsmanager:GetSecretValue"], self._secrets)
        return function

    def _consume(
        self,
        function: lambda_.Function,
        queue: sqs.Queue,
        *,
        batch_size: int,
        max_concurrency: int | None = None,
    ) -> None:
        actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        grant = _allow(function, actions, [queue.queue_arn])
        mapping = lambda_.EventSourceMapping(
            self,
            f"{queue.node.id}To{function.node.id}",
            target=function,
            event_source_arn=queue.queue_arn,
            batch_size=batch_size,
            max_concurrency=max_concurrency,
            report_batch_item_failures=True,
        )
        # Lambda checks the role when the mapping is made.
        mapping.node.add_dependency(grant)

    # -- what dispatch may do

    def _allow_ecs(self, dispatch: lambda_.Function) -> None:
        stack = Stack.of(self)
        clusters = [self.compute.cluster_arn, *self._config.ecs.allowed_clusters]
        definitions = stack.format_arn(service="ecs", resource="task-definition", resource_name="*")
        tasks = stack.format_arn(service="ecs", resource="task", resource_name="*")
        _allow(
            dispatch,
            ["ecs:RunTask"],
            [definitions],
            conditions={"ArnEquals": {"ecs:cluster": clusters}},
        )
        # These two know no resource at the time they are authorized.
        _allow(dispatch, ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"], ["*"])
        _allow(
            dispatch,
            ["ecs:TagResource"],
            [definitions, tasks],
            conditions={
                "StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}
            },
        )
        roles = [self.compute.execution_role_arn, self.compute.task_role_arn]
        _allow(
            dispatch,
            ["iam:PassRole"],
            [*dict.fromkeys([*roles, *self._config.ecs.allowed_roles])],
            conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )

    def _allow_kwargs(self, dispatch: lambda_.Function) -> None:
        bucket = self.kwargs_bucket
        if bucket is None:
            return
        _allow(dispatch, ["s3:GetObject"], [bucket.arn_for_objects(f"{self._prefix()}*")])
        # Without it S3 calls a missing object forbidden. "IfExists", for a read of an object
        # carries no s3:prefix; a listing of any other prefix is refused.
        _allow(
            dispatch,
            ["s3:ListBucket"],
            [bucket.bucket_arn],
            conditions={"StringLikeIfExists": {"s3:prefix": f"{self._prefix()}*"}},
        )


def _allow(
    function: lambda_.Function,
    actions: list[str],
    resources: list[str],
    *,
    conditions: Mapping[str, Any] | None = None,
) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=function,
        actions=actions,
        resource_arns=resources,
        conditions=dict(conditions) if conditions else None,
    )


def _settings(config: AgentConfig) -> dict[str, Any]:
    """Return what the functions read as :class:`fargate_agent.settings.Settings`."""
    return {
        "agent_name": config.agent.name,
        "agent_env": config.agent.env,
        "poll_interval_seconds": config.agent.poll_interval_seconds,
        "send_logs": config.agent.send_logs,
        "api_url": config.prefect.api_url,
        "api_key_secret": config.prefect.api_key_secret,
        "auth_string_secret": config.prefect.auth_string_secret,
        "work_pool": config.prefect.work_pool,
        "work_queues": config.prefect.work_queues,
        "ecs_kwargs": config.ecs.kwargs,
        "kwargs_prefix": config.external_kwargs.prefix,
    }
