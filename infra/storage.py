"""Where messages and kwargs files lie: encrypted, private, TLS only."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.config import ExternalKwargsSection
from infra.permissions import acknowledge


def queue(
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
    return sqs.Queue(
        scope,
        id,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=retention or Duration.days(14),
        visibility_timeout=visibility,
        dead_letter_queue=dead_letters,
        fifo=fifo or None,
        content_based_deduplication=False if fifo else None,
        deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP if fifo else None,
        fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID if fifo else None,
    )


def kwargs_bucket(scope: Construct, id: str, settings: ExternalKwargsSection) -> s3.IBucket | None:
    """Make or import the bucket of per-flow kwargs; None where they are switched off."""
    if not settings.enabled:
        return None
    if settings.bucket:
        return s3.Bucket.from_bucket_name(scope, id, settings.bucket)
    bucket = s3.Bucket(
        scope,
        id,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        versioned=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
    acknowledge(bucket, "S1", "Access logs would cost more than the bucket; every version is kept.")
    return bucket
