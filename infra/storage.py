"""Where messages, kwargs files and logs lie: encrypted, private, TLS only."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.config import AgentConfig, ExternalKwargsSection
from infra.permissions import acknowledge, allow

DATA_KEY_REUSE = Duration.hours(1)
"""So long does SQS use a data key again: each new one is a paid call of KMS, for each queue and
each function."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Makes what stores something, by the account's rules.

    Attributes
    ----------
    key
        Encrypts all of it; None for AWS's own keys, which cost nothing.
    log_retention_days
        One of those that CloudWatch Logs knows.
    removal
        What becomes of the bucket and the logs with the stack; None for the bucket to stay, and
        the logs to go.
    """

    key: kms.IKey | None = None
    log_retention_days: int = 30
    removal: RemovalPolicy | None = None

    @classmethod
    def of(cls, scope: Construct, config: AgentConfig, key: kms.IKey | None) -> Storage:
        """Follow ``[deployment]``, with a key of the app's in place of the one named there."""
        rules = config.deployment
        if key is None and rules.kms_key:
            key = kms.Key.from_key_arn(scope, "Key", rules.kms_key)
        if key:
            for statement in key_policy(scope):
                key.add_to_resource_policy(statement)  # an imported key's policy is its owner's
        removal = RemovalPolicy[rules.removal_policy.upper()] if rules.removal_policy else None
        return cls(key=key, log_retention_days=rules.log_retention_days, removal=removal)

    def queue(
        self,
        scope: Construct,
        id: str,
        *,
        fifo: bool = False,
        retention: Duration | None = None,
        visibility: Duration | None = None,
        dead_letters: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        """Make a queue; messages stay for 14 days, the longest there is, unless told otherwise.

        Parameters
        ----------
        fifo
            In order and de-duplicated within each message group, at high throughput.
        """
        encryption = sqs.QueueEncryption.KMS if self.key else sqs.QueueEncryption.SQS_MANAGED
        return sqs.Queue(
            scope,
            id,
            encryption=encryption,
            encryption_master_key=self.key,
            data_key_reuse=DATA_KEY_REUSE if self.key else None,
            enforce_ssl=True,
            retention_period=retention or Duration.days(14),
            visibility_timeout=visibility,
            dead_letter_queue=dead_letters,
            fifo=fifo or None,
            content_based_deduplication=False if fifo else None,
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP if fifo else None,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID if fifo else None,
        )

    def log_group(self, scope: Construct, id: str) -> logs.LogGroup:
        """Make a log group."""
        group = logs.LogGroup(
            scope,
            id,
            encryption_key=self.key,
            retention=logs.RetentionDays.INFINITE,
            removal_policy=self.removal or RemovalPolicy.DESTROY,
        )
        resource = group.node.default_child
        assert isinstance(resource, logs.CfnLogGroup)
        resource.retention_in_days = self.log_retention_days  # CDK's names for days are an enum
        return group

    def kwargs_bucket(
        self, scope: Construct, id: str, settings: ExternalKwargsSection
    ) -> s3.IBucket | None:
        """Make or import the bucket of per-flow kwargs; None where they are switched off.

        With ``removal_policy = "destroy"`` a bucket goes only if it is empty: nothing here deletes
        files that somebody wrote.
        """
        if not settings.enabled:
            return None
        if settings.bucket:
            return s3.Bucket.from_bucket_name(scope, id, settings.bucket)
        bucket = s3.Bucket(
            scope,
            id,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.KMS if self.key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=self.key,
            bucket_key_enabled=True if self.key else None,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=True,
            removal_policy=self.removal or RemovalPolicy.RETAIN,
        )
        acknowledge(
            bucket, "S1", "Access logs would cost more than the bucket; every version is kept."
        )
        return bucket

    def allow_reading(self, role: iam.IRole) -> None:
        """Let a role read what it may reach of all this: messages, files, its own environment."""
        if self.key:
            allow(role, ["kms:Decrypt"], [self.key.key_arn])

    def allow_sending(self, role: iam.IRole) -> None:
        """Let a role send to the queues that it may send to."""
        if self.key:
            allow(role, ["kms:GenerateDataKey"], [self.key.key_arn])


def key_policy(scope: Construct) -> list[iam.PolicyStatement]:
    """Return what a key's own policy must say, beside letting IAM policies of the account decide.

    `EventBridge <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html>`_
    sends to the encrypted queue of task events, and `CloudWatch Logs
    <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html>`_
    encrypts by itself.
    """
    stack = Stack.of(scope)
    groups = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:*"
    return [
        iam.PolicyStatement(
            sid="EventBridgeSendsToTheQueueOfTaskEvents",
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["kms:Decrypt", "kms:GenerateDataKey"],
            resources=["*"],
        ),
        iam.PolicyStatement(
            sid="CloudWatchLogsEncryptsTheLogGroups",
            principals=[iam.ServicePrincipal(f"logs.{stack.region}.{stack.url_suffix}")],
            actions=[
                *("kms:Decrypt", "kms:Describe*", "kms:Encrypt", "kms:GenerateDataKey*"),
                "kms:ReEncrypt*",
            ],
            resources=["*"],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        ),
    ]
