"""The limits of AWS and of Prefect Cloud that a large agent meets, as they are documented."""

from __future__ import annotations

from dataclasses import dataclass

ECS_API = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html"
FARGATE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html"
SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg"

Rate = tuple[float, float]
"""Burst, and sustained a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an account may do in a region; the defaults are AWS's own."""

    run_task: Rate = (20, 20)
    """Fargate's own limit of RunTask calls (:data:`FARGATE`), the lowest of those it is under."""
    fargate_tasks: Rate = (100, 20)
    """Tasks that Fargate starts, on demand; as many again on Spot (:data:`FARGATE`)."""
    register: Rate = (20, 1)
    """RegisterTaskDefinition and DeregisterTaskDefinition (:data:`ECS_API`)."""
    describe_definition: Rate = (50, 20)
    """DescribeTaskDefinition and the lists of definitions (:data:`ECS_API`)."""
    tasks_read: Rate = (100, 20)
    """DescribeTasks and ListTasks together (:data:`ECS_API`)."""
    in_flight: int = 120_000
    """Messages of a FIFO queue that are received and not deleted, hidden ones among them; it looks
    through as many for groups (``avoid-backlog-with-the-same-message-group-id`` in :data:`SQS`)."""


DOCUMENTED = [
    ("RunTask calls on Fargate", "20/s, burst 20", FARGATE, "yes"),
    ("Tasks that Fargate starts", "20/s, burst 100", FARGATE, "yes"),
    ("RegisterTaskDefinition", "1/s, burst 20", ECS_API, "by AWS Support"),
    ("DescribeTaskDefinition", "20/s, burst 50", ECS_API, "by AWS Support"),
    ("DescribeTasks and ListTasks", "20/s, burst 100", ECS_API, "by AWS Support"),
    (
        "vCPU that run on Fargate at once",
        "6 in a new account, raised with use",
        "https://docs.aws.amazon.com/general/latest/gr/ecs-service.html",
        "yes",
    ),
    (
        "messages in flight of a FIFO queue",
        "120,000",
        f"{SQS}/avoid-backlog-with-the-same-message-group-id.html",
        "by AWS Support",
    ),
    (
        "calls of a FIFO queue, high throughput, us-east-1",
        "70,000/s without batches",
        f"{SQS}/quotas-messages.html",
        "by AWS Support",
    ),
    (
        "Lambda functions that run at once",
        "1,000",
        f"{LAMBDA}/gettingstarted-limits.html",
        "yes",
    ),
    (
        "batches of a queue that a mapping hands out at once",
        "from 5, +300 a minute, to 1,000; FIFO: one a message group; here capped at 8",
        f"{LAMBDA}/services-sqs-scaling.html",
        "DISPATCH_CONCURRENCY",
    ),
    (
        "S3 GetObject",
        "5,500/s a prefix",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
        "no need",
    ),
    (
        "GetSecretValue",
        "10,000/s",
        "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html",
        "no need",
    ),
    (
        "calls of Prefect Cloud's API",
        "625 to 5,000 a minute, by plan; logs and events apart",
        "https://docs.prefect.io/v3/concepts/rate-limits",
        "by plan",
    ),
]
"""What, how much, where AWS or Prefect says so, and whether it can be raised."""

PREFECT_CLOUD_PRO = 5000
"""Calls a minute, the most of the listed plans."""
