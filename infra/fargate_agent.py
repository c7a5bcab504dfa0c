"""The agent as one construct, for this project's own stack and for other CDK apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration, Stack, Tags
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from infra.bundling import bundle
from infra.compute import Compute, Network
from infra.config import (
    AgentConfig,
    ConfigError,
    check_partition,
    check_placement,
    runtime_settings,
    split_kwargs,
)
from infra.functions import Functions, logical_id, network_of_functions, role_of
from infra.monitoring import Monitoring, Watched
from infra.permissions import acknowledge, allow, allow_reading_kwargs
from infra.regions import has_function_urls, has_mapping_tags, region_of
from infra.storage import Storage
from infra.task_events import let_events_in, send_task_events
from infra.task_rights import JOBS_LOG_GROUP, TaskRights, roles_of

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

_SCHEDULE_MINUTES = 1


@dataclass(frozen=True, kw_only=True)
class FargateAgentProps:
    """What the construct is told.

    What an app hands over as an object takes the place of what the agent would make for itself;
    what ``[ecs.kwargs]`` names is above it.

    Attributes
    ----------
    config
        A validated ``agent.toml`` (:func:`infra.config.load`), or one made in Python. It goes into
        the functions' bundle, so it holds plain values, and no attributes of other constructs.
    cluster
        Where the tasks run.
    network
        What the tasks are connected to.
    functions_in_network
        Whether the functions are too, to reach a private Prefect server; its subnets must be
        private ones then, with a way out.
    execution_role, task_role
        As whom ECS starts the tasks, and as whom the flows run.
    kwargs_bucket
        Where the per-flow kwargs files are.
    encryption_key
        What ``deployment.kms_key`` is, as a construct: the key's policy is added to.
    """

    config: AgentConfig
    cluster: ecs.ICluster | None = None
    network: Network | None = None
    functions_in_network: bool = False
    execution_role: iam.IRole | None = None
    task_role: iam.IRole | None = None
    kwargs_bucket: s3.IBucket | None = None
    encryption_key: kms.IKey | None = None

    def existing(self) -> dict[str, str]:
        """Return what is handed over for the tasks as ECS kwargs."""
        handed_over = {
            "cluster": self.cluster and self.cluster.cluster_arn,
            "executionRoleArn": self.execution_role and self.execution_role.role_arn,
            "taskRoleArn": self.task_role and self.task_role.role_arn,
        }
        return {name: arn for name, arn in handed_over.items() if arn}


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

    Raises
    ------
    ConfigError
        The settings are not usable, or the region that is deployed to lacks what they ask for.
    """

    def __init__(self, scope: Construct, id: str, props: FargateAgentProps) -> None:
        super().__init__(scope, id)
        self._config = props.config
        self._region = region_of(self)
        self._storage = Storage.of(self, props.config, props.encryption_key)
        self._given = _checked(props)
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
            existing=props.existing(),
            network=props.network,
            storage=self._storage,
            readable_keys=props.config.deployment.readable_kms_keys,
            tags=props.config.deployment.tags,
        )
        network = network_of_functions(
            props.config.deployment, self.compute, in_that_of_tasks=props.functions_in_network
        )
        self.dead_letters = self._storage.queue(self, "DeadLetters", fifo=True)
        self.runs_queue = self._storage.queue(
            self,
            "Runs",
            fifo=True,
            visibility=REDELIVERY,
            dead_letters=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=MAX_RECEIVES
            ),
        )
        self.ticks_queue = self._ticks_queue()
        self.kwargs_bucket = self._kwargs_bucket(props.kwargs_bucket)
        self._functions = Functions(
            scope=self,
            rules=props.config.deployment,
            storage=self._storage,
            code=bundle(runtime_settings(props.config)),
            secrets=self._secrets,
            network=network,
            region=self._region,
        )
        self.poll = self._poll()
        self.dispatch = self._dispatch()
        self.watch, self.task_events = self._watch()
        self.monitoring = self._monitoring()
        self._follow_the_account()

    def grant_write_kwargs(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody put per-flow kwargs files where the agent reads them.

        Raises
        ------
        ValueError
            External kwargs are switched off.
        """
        if self.kwargs_bucket is None:
            raise ValueError("external_kwargs.enabled is false: there is no bucket to write to")
        return self.kwargs_bucket.grant_put(grantee, f"{self._config.external_kwargs.folder}*")

    def _follow_the_account(self) -> None:
        """Put the account's tags and permissions boundary on all that was made."""
        rules = self._config.deployment
        untaggable = [] if has_mapping_tags(self._region) else ["AWS::Lambda::EventSourceMapping"]
        for key, value in rules.tags.items():
            Tags.of(self).add(key, value, exclude_resource_types=untaggable)
        if rules.permissions_boundary:
            boundary = iam.ManagedPolicy.from_managed_policy_arn(
                self, "Boundary", rules.permissions_boundary
            )
            iam.PermissionsBoundary.of(self).apply(boundary)

    def _kwargs_bucket(self, handed_over: s3.IBucket | None) -> s3.IBucket | None:
        settings = self._config.external_kwargs
        if handed_over and settings.enabled and not settings.bucket:
            return handed_over
        return self._storage.kwargs_bucket(self, "Kwargs", settings)

    def _in_this_account(self) -> bool:
        """Whether tasks are run by the functions' own roles, and not as somebody else."""
        return not (self._config.aws.role_arn or self._config.aws.credentials_secret)

    def _ticks_queue(self) -> sqs.Queue | None:
        if self._config.agent.poll_interval_seconds >= _SCHEDULE_MINUTES * 60:
            return None
        minute = Duration.minutes(1)
        ticks = self._storage.queue(self, "Ticks", retention=minute, visibility=minute)
        acknowledge(ticks, "SQS3", "A tick that failed is of no use: the next poll does its work.")
        return ticks

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
        allow(role_of(poll), ["sqs:SendMessage"], senders)
        self._storage.allow_sending(role_of(poll))
        self._allow_being_elsewhere(role_of(poll))
        if self._in_this_account():
            self._rights().allow_healing(role_of(poll))
        if self.ticks_queue:
            self._functions.consume(poll, self.ticks_queue, batch_size=1)
        minutes = max(_SCHEDULE_MINUTES, self._config.agent.poll_interval_seconds // 60)
        invoker = iam.Role(
            self, "ScheduleRole", assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com")
        )
        acknowledge(
            invoker,
            f"IAM5[Resource::<{logical_id(poll)}.Arn>:*]",
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
        if not has_function_urls(self._region):
            raise ConfigError(
                f"agent.url: Lambda has no function URLs in {self._region}: set it to false, and "
                "poll more often instead (agent.poll_interval_seconds = 5)"
            )
        secret = secretsmanager.Secret(
            self,
            "UrlSecret",
            encryption_key=self._storage.key,
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
        allow(role_of(poll), ["secretsmanager:GetSecretValue"], [self.url_secret.secret_arn])
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
        role = role_of(dispatch)
        allow(role, ["sqs:ChangeMessageVisibility"], [self.runs_queue.queue_arn])
        self._functions.consume(
            dispatch, self.runs_queue, batch_size=10, max_concurrency=DISPATCH_CONCURRENCY
        )
        self._allow_being_elsewhere(role)
        if self._config.aws.assumable_roles:
            allow(role, ["sts:AssumeRole"], self._config.aws.assumable_roles)
        if self._in_this_account():
            self._rights().allow_launching(role)
        if self.kwargs_bucket and (self._in_this_account() or not self._bucket_is_given()):
            allow_reading_kwargs(
                role,
                bucket_arn=self.kwargs_bucket.bucket_arn,
                prefix=self._config.external_kwargs.folder,
            )
            key = self.kwargs_bucket.encryption_key
            if key and key != self._storage.key:
                allow(role, ["kms:Decrypt"], [key.key_arn])
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

    def _rights(self) -> TaskRights:
        own = [self.compute.execution_role_arn, self.compute.task_role_arn]
        named = roles_of(self._given, self._config.ecs.allowed_roles)
        return TaskRights(
            clusters=self._clusters(),
            passable_roles=list(dict.fromkeys([*own, *named])),
            region=self._config.aws.region or Stack.of(self).region,
            log_groups=self.compute.readable_log_groups(),
            work_pools=self._config.prefect.version != 1,
        )

    def _allow_being_elsewhere(self, role: iam.IRole) -> None:
        aws = self._config.aws
        if aws.credentials_secret:
            allow(role, ["secretsmanager:GetSecretValue"], [aws.credentials_secret])
        elif aws.role_arn:
            allow(role, ["sts:AssumeRole"], [aws.role_arn])

    def _clusters(self) -> list[str]:
        return [self.compute.cluster_arn, *self._config.ecs.allowed_clusters]

    def _watch(self) -> tuple[lambda_.Function, sqs.Queue]:
        self.task_event_dead_letters = self._storage.queue(self, "TaskEventDeadLetters")
        task_events = self._storage.queue(
            self,
            "TaskEvents",
            visibility=REDELIVERY,
            dead_letters=sqs.DeadLetterQueue(
                queue=self.task_event_dead_letters, max_receive_count=MAX_RECEIVES
            ),
        )
        send_task_events(self, "TaskChanged", task_events, self._rights().event_pattern())
        let_events_in(self, "TaskAccount", self._config.aws.role_arn)
        environment = {
            "TASK_EVENTS_QUEUE_URL": task_events.queue_url,
            **self._where_tasks_run(),
        }
        watch = self._function("watch", environment)
        allow(role_of(watch), ["sqs:ChangeMessageVisibility"], [task_events.queue_arn])
        self._allow_being_elsewhere(role_of(watch))
        if self._in_this_account():
            self._rights().allow_concluding(role_of(watch))
        self._functions.consume(
            watch,
            task_events,
            batch_size=10,
            max_concurrency=WATCH_CONCURRENCY,
            window=WATCH_WINDOW,
        )
        return watch, task_events

    def _function(self, name: str, environment: Mapping[str, str]) -> lambda_.Function:
        timeout = TIMEOUTS[name]
        return self._functions.make(name, environment, memory_mb=MEMORY_MB, timeout=timeout)

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


def _checked(props: FargateAgentProps) -> Kwargs:
    """Check of settings made in Python what ``load`` checks of a file; return ``[ecs.kwargs]``."""
    source = "AgentConfig"
    handed_over = {*props.existing(), *(["networkConfiguration"] if props.network else [])}
    try:
        kwargs = split_kwargs(props.config, source)
        check_placement(props.config, kwargs, source, handed_over=handed_over)
        check_partition(props.config, source)
    except PermanentError as error:
        raise ConfigError(str(error)) from error
    return kwargs
