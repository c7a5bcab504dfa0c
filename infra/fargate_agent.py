"""The agent as one construct, for this project's own stack and for other CDK apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import CfnElement, Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.bundling import bundle
from infra.compute import Compute
from infra.config import AgentConfig, runtime_settings, split_kwargs
from infra.monitoring import Monitoring, Watched
from infra.permissions import (
    FunctionRole,
    acknowledge,
    allow,
    allow_launches,
    allow_listing_tasks,
    allow_reading_kwargs,
    allow_tasks,
)
from infra.storage import kwargs_bucket, queue

RUNTIME = lambda_.Runtime.PYTHON_3_14
MEMORY_MB = 256
TIMEOUTS = {
    "poll": Duration.seconds(55),
    "dispatch": Duration.seconds(90),
    "watch": Duration.seconds(60),
}
REDELIVERY = Duration.seconds(120)
"""A message whose function died comes back after this. AWS advises six times the function's
time-out, to spare messages that are throttled a receive; here there are receives to spare, and a
run that waits for nothing."""

MAX_RECEIVES = 200
"""Backing off to 5 minutes, a message is tried for 8 to 16 hours before it is a dead letter."""

DISPATCH_CONCURRENCY = 8
"""ECS takes 20 RunTask calls a second. A client that was throttled asks for less for a while: eight
of them keep ECS busy to 96 %, five to 90 % (``make bench-back-pressure``)."""

WATCH_CONCURRENCY = 5
WATCH_WINDOW = Duration.seconds(1)
"""A burst of launches is a burst of events: a few functions with full batches spare ECS and Prefect
many calls."""

JOBS_LOG_GROUP = "prefect"
"""Where ``configure_cloudwatch_logs`` makes a work pool's containers write."""

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
    runs_queue, dead_letters, ticks_queue, task_events, task_event_dead_letters
        The queues; ``ticks_queue`` is None where the poll interval is a minute or more.
    kwargs_bucket
        The bucket of per-flow kwargs, made or imported; None where they are switched off.
    url, url_secret
        The function URL and the secret its callers must bring; None without ``agent.url``.
    compute
        Cluster, network, roles and log group, so far as the settings named none.
    monitoring
        Its dashboard, alarms and saved queries, so far as the settings ask for them.
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
            container=self._given.container,
            region=props.config.aws.region,
            role_arn=props.config.aws.role_arn,
            in_this_account=self._in_this_account(),
            jobs_log_group=None if props.config.prefect.version == 1 else JOBS_LOG_GROUP,
        )
        self.dead_letters = queue(self, "DeadLetters", fifo=True)
        self.runs_queue = queue(
            self,
            "Runs",
            fifo=True,
            visibility=REDELIVERY,
            dead_letters=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=MAX_RECEIVES
            ),
        )
        self.ticks_queue = self._ticks_queue()
        self.kwargs_bucket = kwargs_bucket(self, "Kwargs", props.config.external_kwargs)
        self._code = bundle(runtime_settings(props.config))
        self.poll = self._poll()
        self.dispatch = self._dispatch()
        self.watch, self.task_events = self._watch()
        self.monitoring = self._monitoring()

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

    def _in_this_account(self) -> bool:
        """Whether tasks are run by the functions' own roles, and not as somebody else."""
        return not (self._config.aws.role_arn or self._config.aws.credentials_secret)

    def _ticks_queue(self) -> sqs.Queue | None:
        if self._config.agent.poll_interval_seconds >= _SCHEDULE_MINUTES * 60:
            return None
        ticks = queue(self, "Ticks", retention=Duration.minutes(1), visibility=Duration.minutes(1))
        acknowledge(ticks, "SQS3", "A tick that failed is of no use: the next poll does its work.")
        return ticks

    def _prefix(self) -> str:
        prefix = self._config.external_kwargs.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    def _poll(self) -> lambda_.Function:
        environment = {
            "RUNS_QUEUE_URL": self.runs_queue.queue_url,
            "CLAIMANT": self._claimant(),
            **self._where_tasks_run(),
        }
        if self.ticks_queue:
            environment["TICKS_QUEUE_URL"] = self.ticks_queue.queue_url
        self.url_secret = self._url_secret()
        if self.url_secret:
            environment["URL_SECRET"] = self.url_secret.secret_arn
        poll = self._function("poll", environment)
        self.url = self._url(poll)
        senders = [q.queue_arn for q in (self.runs_queue, self.ticks_queue) if q]
        allow(_role(poll), ["sqs:SendMessage"], senders)
        self._allow_healing(_role(poll))
        if self.ticks_queue:
            self._consume(poll, self.ticks_queue, batch_size=1)
        minutes = max(_SCHEDULE_MINUTES, self._config.agent.poll_interval_seconds // 60)
        invoker = iam.Role(
            self, "ScheduleRole", assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com")
        )
        acknowledge(
            invoker,
            f"IAM5[Resource::<{self._logical_id(poll)}.Arn>:*]",
            "CDK's target allows every version of the one function.",
        )
        self.schedule = scheduler.Schedule(
            self,
            "Schedule",
            description="Polls Prefect for flow runs that come due",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(minutes)),
            enabled=self._config.agent.enabled,
            target=scheduler_targets.LambdaInvoke(
                poll,
                role=invoker,
                # The next poll does what a failed one did not.
                retry_attempts=0,
                max_event_age=Duration.minutes(1),
            ),
        )
        return poll

    def _url_secret(self) -> secretsmanager.Secret | None:
        if not self._config.agent.url:
            return None
        secret = secretsmanager.Secret(
            self,
            "UrlSecret",
            description="What callers of the agent's function URL must bring",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=40
            ),
        )
        acknowledge(secret, "SMG4", "Its callers hold a copy: rotate it when they can follow.")
        return secret

    def _url(self, poll: lambda_.Function) -> lambda_.FunctionUrl | None:
        if self.url_secret is None:
            return None
        allow(_role(poll), ["secretsmanager:GetSecretValue"], [self.url_secret.secret_arn])
        # A webhook cannot sign requests as AWS does; the function itself asks for the secret.
        return poll.add_function_url(auth_type=lambda_.FunctionUrlAuthType.NONE)

    def _dispatch(self) -> lambda_.Function:
        environment = {
            "RUNS_QUEUE_URL": self.runs_queue.queue_url,
            "MAX_RECEIVES": str(MAX_RECEIVES),
            **self._where_tasks_run(),
            "STACK_KWARGS": Stack.of(self).to_json_string(self.compute.defaults),
        }
        if self.kwargs_bucket:
            environment["KWARGS_BUCKET"] = self.kwargs_bucket.bucket_name
        dispatch = self._function("dispatch", environment)
        role = _role(dispatch)
        allow(role, ["sqs:ChangeMessageVisibility"], [self.runs_queue.queue_arn])
        self._consume(
            dispatch, self.runs_queue, batch_size=10, max_concurrency=DISPATCH_CONCURRENCY
        )
        self._allow_launches(role)
        if self.kwargs_bucket and (self._in_this_account() or not self._bucket_is_given()):
            allow_reading_kwargs(
                role, bucket_arn=self.kwargs_bucket.bucket_arn, prefix=self._prefix()
            )
        return dispatch

    def _bucket_is_given(self) -> bool:
        return self._config.external_kwargs.bucket is not None

    def _claimant(self) -> str:
        """Name the agent in its claims.

        Prefect 1 may let two agents claim one run: those of one cluster claim it by one id then,
        which starts one task.
        """
        if self._config.prefect.version == 1:
            return self.compute.cluster_arn
        stack = Stack.of(self)
        return f"{stack.account}/{stack.region}/{self.node.path}"

    def _where_tasks_run(self) -> dict[str, str]:
        return {"CLUSTERS": Stack.of(self).to_json_string(self._clusters())}

    def _allow_healing(self, role: iam.IRole) -> None:
        """Let poll find the tasks of runs and stop those of cancelled ones."""
        self._allow_being_elsewhere(role)
        if self._in_this_account():
            self._allow_stopping_tasks(role)

    def _allow_stopping_tasks(self, role: iam.IRole) -> None:
        clusters = self._clusters()
        actions = ["ecs:DescribeTasks", "ecs:StopTask"]
        allow_tasks(role, actions, clusters=clusters, region=self._region())
        allow_listing_tasks(role, clusters=clusters)

    def _allow_concluding(self, role: iam.IRole) -> None:
        """Let watch read tasks and their logs, and deregister what was registered for one run."""
        self._allow_being_elsewhere(role)
        if not self._in_this_account():
            return
        groups = self.compute.readable_log_groups()
        if groups:
            allow(
                role,
                ["logs:GetLogEvents"],
                groups,
                because="A container's log stream is named by its task.",
            )
        allow(
            role,
            ["ecs:DescribeTaskDefinition"],
            ["*"],
            because="ECS knows no narrower resource for it.",
        )
        clusters = self._clusters()
        allow_tasks(role, ["ecs:DescribeTasks"], clusters=clusters, region=self._region())
        if self._config.prefect.version == 1:
            allow_listing_tasks(role, clusters=clusters)
        else:
            allow(
                role,
                ["ecs:DeregisterTaskDefinition"],
                ["*"],
                because="ECS knows no narrower resource for it.",
            )

    def _allow_being_elsewhere(self, role: iam.IRole) -> None:
        aws = self._config.aws
        if aws.credentials_secret:
            allow(role, ["secretsmanager:GetSecretValue"], [aws.credentials_secret])
        elif aws.role_arn:
            allow(role, ["sts:AssumeRole"], [aws.role_arn])

    def _allow_launches(self, role: iam.IRole) -> None:
        """Let dispatch start tasks: by itself, as whom ``[aws]`` names, or as roles of jobs."""
        self._allow_being_elsewhere(role)
        if self._config.aws.assumable_roles:
            allow(role, ["sts:AssumeRole"], self._config.aws.assumable_roles)
        if not self._in_this_account():
            return
        roles = [
            self.compute.execution_role_arn,
            self.compute.task_role_arn,
            *_roles(self._given.request.get("overrides", {})),
            *self._config.ecs.allowed_roles,
        ]
        allow_launches(
            role,
            clusters=self._clusters(),
            passable_roles=list(dict.fromkeys(roles)),
            region=self._region(),
        )
        self._allow_stopping_tasks(role)
        if self._config.prefect.version != 1:
            allow(
                role,
                ["ec2:DescribeSubnets"],
                ["*"],
                because="EC2 knows no narrower resource for it; a job may name any VPC.",
            )

    def _region(self) -> str:
        return self._config.aws.region or Stack.of(self).region

    def _clusters(self) -> list[str]:
        return [self.compute.cluster_arn, *self._config.ecs.allowed_clusters]

    def _watch(self) -> tuple[lambda_.Function, sqs.Queue]:
        self.task_event_dead_letters = queue(self, "TaskEventDeadLetters")
        task_events = queue(
            self,
            "TaskEvents",
            visibility=REDELIVERY,
            dead_letters=sqs.DeadLetterQueue(
                queue=self.task_event_dead_letters, max_receive_count=MAX_RECEIVES
            ),
        )
        events.Rule(
            self,
            "TaskChanged",
            description="Tells the agent of the ECS tasks of its clusters, but those of services",
            event_pattern=events.EventPattern(
                source=["aws.ecs"],
                detail_type=["ECS Task State Change"],
                detail={
                    "clusterArn": self._clusters(),
                    "startedBy": [{"anything-but": {"prefix": "ecs-svc/"}}],
                    # Prefect 1 knows no events: there only a task's end is of use.
                    **({"lastStatus": ["STOPPED"]} if self._config.prefect.version == 1 else {}),
                },
            ),
            targets=[targets.SqsQueue(task_events)],
        )
        environment = {
            "TASK_EVENTS_QUEUE_URL": task_events.queue_url,
            **self._where_tasks_run(),
        }
        watch = self._function("watch", environment)
        allow(_role(watch), ["sqs:ChangeMessageVisibility"], [task_events.queue_arn])
        self._allow_concluding(_role(watch))
        self._consume(
            watch,
            task_events,
            batch_size=10,
            max_concurrency=WATCH_CONCURRENCY,
            window=WATCH_WINDOW,
        )
        return watch, task_events

    def _monitoring(self) -> Monitoring:
        queues = {
            "runs": self.runs_queue,
            "ticks": self.ticks_queue,
            "events": self.task_events,
        }
        watched = Watched(
            config=self._config,
            functions={"poll": self.poll, "dispatch": self.dispatch, "watch": self.watch},
            memory_mb=MEMORY_MB,
            queues={name: queue for name, queue in queues.items() if queue},
            dead_letters={
                "DeadLetters": self.dead_letters,
                "TaskEventDeadLetters": self.task_event_dead_letters,
            },
        )
        return Monitoring(self, "Monitoring", watched)

    def _function(self, name: str, environment: Mapping[str, str]) -> lambda_.Function:
        log_group = logs.LogGroup(
            self,
            f"{name.capitalize()}Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = FunctionRole(self, f"{name.capitalize()}Role", log_group_arn=log_group.log_group_arn)
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
            # A poll every ten seconds would pay more for START, END and REPORT than for itself.
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
            environment=dict(environment),
            retry_attempts=0,
        )
        if self._secrets:
            allow(role, ["secretsmanager:GetSecretValue"], self._secrets)
        return function

    def _logical_id(self, function: lambda_.Function) -> str:
        element = function.node.default_child
        assert isinstance(element, CfnElement)
        return str(Stack.of(self).resolve(element.logical_id))

    def _consume(
        self,
        function: lambda_.Function,
        source: sqs.Queue,
        *,
        batch_size: int,
        max_concurrency: int | None = None,
        window: Duration | None = None,
    ) -> None:
        actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        grant = allow(_role(function), actions, [source.queue_arn])
        mapping = lambda_.EventSourceMapping(
            self,
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


def _roles(overrides: Mapping[str, str]) -> list[str]:
    keys = ("executionRoleArn", "taskRoleArn")
    return [overrides[key] for key in keys if key in overrides]


def _role(function: lambda_.Function) -> iam.IRole:
    assert function.role is not None  # each was given one
    return function.role
