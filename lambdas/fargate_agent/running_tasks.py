"""The tasks that ECS has of flow runs, in the agent's clusters: found, described, stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from fargate_agent.task_details import flow_run_id

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

MOST_DESCRIBED = 100
"""DescribeTasks takes so many tasks in one call."""

MOST_STOPPED = 1000

_INVALID = "InvalidParameterException"


@dataclass(frozen=True, eq=False)
class RunningTasks:
    """The agent's clusters.

    Parameters
    ----------
    make_ecs
        Makes the client, which most invocations need not.
    named
        The ARNs of the clusters that the agent may run tasks in.
    """

    make_ecs: Callable[[], ECSClient]
    named: Sequence[str]

    @cached_property
    def clusters(self) -> Sequence[str]:
        """Those of the account and region of the first, the agent's own."""
        home = self.named[0].partition(":cluster/")[0] if self.named else ""
        return [name for name in self.named if name.partition(":cluster/")[0] == home]

    @cached_property
    def _ecs(self) -> ECSClient:
        return self.make_ecs()

    def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Describe the tasks of a run, in all clusters, that are not asked to stop."""
        return [
            detail
            for cluster in self.clusters
            if (arns := self._listed(cluster, startedBy=run_id))  # which must be alone
            for detail in self.describe(cluster, arns)
            # What stopped a moment ago may be listed among those that live.
            if detail.get("desiredStatus") != "STOPPED"
        ]

    def living(self, cluster: str) -> list[str]:
        """Return the ARNs of the tasks of a cluster that are not asked to stop."""
        return self._listed(cluster)

    def stopped(self) -> dict[str, list[dict[str, Any]]]:
        """Describe the tasks that are stopping or stopped lately, by their runs, for an hour or so.

        Of each cluster the first :data:`MOST_STOPPED`, for others may use it too.
        """
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for cluster in self.clusters:
            arns = self._listed(cluster, desiredStatus="STOPPED")
            for detail in self.describe(cluster, arns):
                if run_id := flow_run_id(detail):
                    by_run[run_id].append(detail)
        return by_run

    def _listed(self, cluster: str, **filters: Any) -> list[str]:
        paginator = self._ecs.get_paginator("list_tasks")
        pages = paginator.paginate(
            cluster=cluster, **filters, PaginationConfig={"MaxItems": MOST_STOPPED}
        )
        try:
            return [arn for page in pages for arn in page["taskArns"]]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ClusterNotFoundException":
                return []
            raise

    def describe(self, cluster: str, arns: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Describe tasks of a cluster; what ECS does not know, or not any more, is left out."""
        left = list(arns)
        for start in range(0, len(left), MOST_DESCRIBED):
            yield from self._described(cluster, left[start : start + MOST_DESCRIBED])

    def _described(self, cluster: str, arns: list[str]) -> Iterator[dict[str, Any]]:
        try:
            answer = self._ecs.describe_tasks(cluster=cluster, tasks=arns, include=["TAGS"])
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "ClusterNotFoundException":
                    return
                case code if code == _INVALID and len(arns) > 1:
                    for arn in arns:  # one is no task's: the others are none the worse for it
                        yield from self._described(cluster, [arn])
                case code if code != _INVALID:
                    raise
        else:
            yield from cast(list[dict[str, Any]], answer["tasks"])

    def stop(self, detail: dict[str, Any], reason: str) -> None:
        """Ask ECS to stop a task, if there still is one; its end comes back as an event."""
        cluster, arn = detail["clusterArn"], detail["taskArn"]
        try:
            self._ecs.stop_task(cluster=cluster, task=arn, reason=reason)
        except ClientError as error:
            if error.response["Error"]["Code"] != _INVALID:  # it is gone
                raise


def parsed(infrastructure_id: str | None) -> tuple[str, str] | None:
    """Split ``cluster::task_arn``, as :class:`tasks.Task` writes it."""
    cluster, separator, arn = (infrastructure_id or "").partition("::")
    return (cluster, arn) if separator else None
