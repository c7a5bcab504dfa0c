"""Where tasks run and write: the cluster, the log group, the kwargs bucket, Fargate's quotas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from cli.doctor.findings import Finding, failure, ok, unknown, warning
from cli.doctor.subject import Subject
from cli.figures import figures
from fargate_agent.placement import FARGATE, SPOT

QUOTAS = {FARGATE: "L-3032A538", SPOT: "L-36FBB829"}
"""The Fargate quotas on vCPUs that run at once, by capacity provider.

https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
"""

NEARLY_FULL = 0.8


def cluster(subject: Subject) -> Iterator[Finding]:
    """Check the cluster, and what provides its capacity."""
    check, wanted = "cluster", subject.cluster
    found = subject.task_client("ecs").describe_clusters(clusters=[wanted])["clusters"]
    if not found:
        yield failure(
            check, f"{wanted} does not exist", "Correct cluster in [ecs.kwargs], and deploy."
        )
        return
    status = found[0]["status"]
    if status != "ACTIVE":
        yield failure(
            check, f"{wanted} is {status}", "Create it again, or deploy with another cluster."
        )
        return
    providers = {*found[0].get("capacityProviders", [])}
    missing = [name for name in _providers(subject) if name not in providers]
    if missing:
        # The call replaces both lists: what stands there is named again.
        strategy = json.dumps(found[0].get("defaultCapacityProviderStrategy", []))
        yield failure(
            check,
            f"{wanted} has no capacity provider {', '.join(missing)}",
            f"aws ecs put-cluster-capacity-providers --cluster {wanted} --capacity-providers "
            f"{' '.join(sorted({*providers, *missing}))} "
            f"--default-capacity-provider-strategy '{strategy}'",
        )
        return
    launch_type = subject.placed[1].get("launchType")
    if launch_type in ("EC2", "EXTERNAL") and not found[0].get("registeredContainerInstancesCount"):
        yield failure(
            check,
            f"{wanted} has no container instance, and launch type {launch_type} needs one",
            "Register instances in it, or choose another ecs.launch_type, and deploy.",
        )
        return
    running, pending = found[0]["runningTasksCount"], found[0]["pendingTasksCount"]
    yield ok(check, f"{found[0]['clusterName']}: active, {running} tasks run, {pending} wait")


def _providers(subject: Subject) -> list[str]:
    strategy = subject.placed[1].get("capacityProviderStrategy", [])
    return [item["capacityProvider"] for item in strategy]


def log_group(subject: Subject) -> Iterator[Finding]:
    """Check that what the containers say has where to go."""
    check = "tasks' log group"
    config = subject.kwargs.container.get("logConfiguration", {})
    options = config.get("options", {})
    name = options.get("awslogs-group")
    if name is None:
        driver = config.get("logDriver")
        yield ok(check, f"log driver {driver}" if driver else "none is set for every run")
        return
    logs = subject.task_client("logs")
    region = options.get("awslogs-region", logs.meta.region_name)
    if region != logs.meta.region_name:
        yield unknown(check, f"{name} is in {region}, and not looked for there")
        return
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    if any(group["logGroupName"] == name for group in groups):
        yield ok(check, name)
    elif options.get("awslogs-create-group") == "true":
        yield ok(check, f"{name}: the first task makes it")
    else:
        yield failure(
            check,
            f"{name} does not exist: no task starts",
            f"aws logs create-log-group --log-group-name {name}",
        )


def kwargs_bucket(subject: Subject) -> Iterator[Finding]:
    """Check the bucket of per-flow kwargs."""
    check, bucket = "kwargs bucket", subject.settings.kwargs_bucket
    if bucket is None:
        yield ok(check, "external_kwargs.enabled is false: none is read")
        return
    given = subject.settings.kwargs_bucket_is_given
    s3 = (subject.task_client if given else subject.client)("s3")
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        yield failure(
            check,
            f"{bucket} does not exist: no run starts",
            "Correct external_kwargs.bucket, and deploy.",
        )
    else:
        yield ok(check, f"s3://{bucket}/{subject.settings.kwargs_prefix}")


def quotas(subject: Subject) -> Iterator[Finding]:
    """Fargate quota"""
    chosen = subject.placed[1].get("launchType", subject.settings.launch_type)
    for provider in _providers(subject) or [chosen]:
        if provider not in QUOTAS:
            continue
        check = f"{provider} quota"
        quota = _quota(subject, QUOTAS[provider])
        if quota is None:
            yield unknown(check, "Service Quotas does not know it in this region")
            continue
        used = _used(subject, quota.get("UsageMetric"))
        limit = quota["Value"]
        if used is None:
            yield unknown(check, f"{limit:g} vCPUs at once; how many run, CloudWatch does not tell")
        elif used >= NEARLY_FULL * limit:
            yield warning(
                check,
                f"{used:g} of {limit:g} vCPUs run: launches are refused at the limit, and wait",
                "Ask for more in Service Quotas, 'AWS Fargate'.",
            )
        else:
            yield ok(check, f"{used:g} of {limit:g} vCPUs run at once")


def _quota(subject: Subject, code: str) -> Mapping[str, Any] | None:
    try:
        asked = subject.task_client("service-quotas").get_service_quota(
            ServiceCode="fargate", QuotaCode=code
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchResourceException":
            raise
        return None
    return dict(asked["Quota"])


def _used(subject: Subject, metric: Mapping[str, Any] | None) -> float | None:
    """Read the use of a quota in the account, by the metric that the quota itself names."""
    if not metric or not metric.get("MetricName"):
        return None
    found = figures(
        subject.task_client("cloudwatch"),
        metric["MetricNamespace"],
        metric["MetricName"],
        metric.get("MetricDimensions", {}),
        metric.get("MetricStatisticRecommendation", "Maximum"),
        until=subject.now(),
        window=timedelta(minutes=30),
        period=timedelta(minutes=5),
    )
    return found[-1] if found else None
