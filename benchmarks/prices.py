"""What AWS asks: list prices of us-east-1 in US dollars, without any free tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

HOURS_A_MONTH = 730
SECONDS_A_MONTH = HOURS_A_MONTH * 3600
DAYS_A_MONTH = HOURS_A_MONTH / 24

MILLION = 1e6
MEMORY_GB = 0.25
"""Of each of the agent's functions: ``infra.fargate_agent.MEMORY_MB``."""

PRICES: Mapping[str, tuple[float, str]] = {
    "lambda_requests": (0.20 / MILLION, "https://aws.amazon.com/lambda/pricing/"),
    "lambda_gb_seconds": (0.0000133334, "https://aws.amazon.com/lambda/pricing/"),
    "sqs_fifo_requests": (0.50 / MILLION, "https://aws.amazon.com/sqs/pricing/"),
    "sqs_standard_requests": (0.40 / MILLION, "https://aws.amazon.com/sqs/pricing/"),
    "s3_gets": (0.40 / MILLION, "https://aws.amazon.com/s3/pricing/"),
    "scheduler_invocations": (1.00 / MILLION, "https://aws.amazon.com/eventbridge/pricing/"),
    "secrets": (0.40, "https://aws.amazon.com/secrets-manager/pricing/"),
    "secret_reads": (5.00 / MILLION, "https://aws.amazon.com/secrets-manager/pricing/"),
    "log_gb": (0.50, "https://aws.amazon.com/cloudwatch/pricing/"),
    "metrics": (0.30, "https://aws.amazon.com/cloudwatch/pricing/"),
    "alarms": (0.10, "https://aws.amazon.com/cloudwatch/pricing/"),
    "dashboards": (3.00, "https://aws.amazon.com/cloudwatch/pricing/"),
}
"""A unit's price and where AWS names it. Lambda's are of arm64, in their first tier; log lines are
paid when they are written, their month in storage is a twentieth of that."""

SERVICES: Mapping[str, tuple[str, ...]] = {
    "Lambda": ("lambda_requests", "lambda_gb_seconds"),
    "SQS": ("sqs_fifo_requests", "sqs_standard_requests"),
    "S3": ("s3_gets",),
    "EventBridge Scheduler": ("scheduler_invocations",),
    "Secrets Manager": ("secrets", "secret_reads"),
    "CloudWatch Logs": ("log_gb",),
    "CloudWatch metrics and alarms": ("metrics", "alarms", "dashboards"),
}

FARGATE = {"x86_64": (0.04048, 0.004445), "arm64": (0.03238, 0.00356)}
"""A vCPU and a GB for an hour, https://aws.amazon.com/fargate/pricing/."""

PUBLIC_ADDRESS = 0.005
"""A public IPv4 address for an hour, https://aws.amazon.com/vpc/pricing/: a worker in a network
without NAT needs one to reach Prefect; functions need none."""

MAPPINGS_POLL = 5 * SECONDS_A_MONTH / 20
"""Receives of an idle event source mapping in a month: five connections that each ask again after
20 seconds (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a month uses, by the names of :data:`PRICES`."""

    lambda_requests: float = 0
    lambda_gb_seconds: float = 0
    sqs_fifo_requests: float = 0
    sqs_standard_requests: float = 0
    s3_gets: float = 0
    scheduler_invocations: float = 0
    secrets: float = 0
    secret_reads: float = 0
    log_gb: float = 0
    metrics: float = 0
    alarms: float = 0
    dashboards: float = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def times(self, factor: float) -> Usage:
        """Return so many times this."""
        return replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})

    def cost(self) -> dict[str, float]:
        """Return dollars by service, and together under ``total``."""
        made = {
            service: sum(getattr(self, name) * PRICES[name][0] for name in names)
            for service, names in SERVICES.items()
        }
        return {**made, "total": sum(made.values())}


def always_on(vcpu: float, gb: float, architecture: str, *, tasks: int = 1) -> float:
    """Return what tasks cost that run all month, each with a public address."""
    cpu_price, gb_price = FARGATE[architecture]
    return tasks * HOURS_A_MONTH * (vcpu * cpu_price + gb * gb_price + PUBLIC_ADDRESS)
