"""The tasks that ECS has of flow runs, in the agent's clusters: found, described, stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

MOST_DESCRIBED = 100
"""DescribeTasks takes so many tasks in one call."""


@dataclass(frozen=True, eq=False)
class RunningTasks:
    """The agent's clusters.

    Parameters
    ----------
    make_ecs
        Makes the client, which most invocations need not.
    clusters
        The ARNs of the clusters that the agent runs tasks in.
    """

    make_ecs: Callable[[], ECSClient]
    clusters: Sequence[str]

    @cached_property
    def _ecs(self) -> ECSClient:
        return self.make_ecs()

    def of_run(self, flow_run_id: str, *, stopped: bool = False) -> list[dict[str, Any]]:
        """Describe the tasks of a run that are not asked to stop, in all of the agent's clusters.

        Parameters
        ----------
        stopped
            Describe those that are, or have stopped, instead: ECS knows them for an hour or so.
        """
        return [
            detail
            for cluster in self.clusters
            if (arns := self._listed(cluster, flow_run_id, "STOPPED" if stopped else "RUNNING"))
            for detail in self.describe(cluster, arns)
        ]

    def _listed(self, cluster: str, flow_run_id: str, desired: str) -> list[str]:
        try:
            answer = self._ecs.list_tasks(
                cluster=cluster,
                startedBy=flow_run_id,
                desiredStatus=desired,  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ClusterNotFoundException":
                return []
            raise
        return answer["taskArns"]

    def describe(self, cluster: str, arns: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Describe tasks of a cluster; what ECS does not know any more is left out."""
        left = list(arns)
        for start in range(0, len(left), MOST_DESCRIBED):
            asked = left[start : start + MOST_DESCRIBED]
            try:
                answer = self._ecs.describe_tasks(cluster=cluster, tasks=asked, include=["TAGS"])
            except ClientError as error:
                if error.response["Error"]["Code"] == "ClusterNotFoundException":
                    return
                raise
            yield from cast(list[dict[str, Any]], answer["tasks"])

    def stop(self, detail: dict[str, Any], reason: str) -> None:
        """Ask ECS to stop a task, if there still is one; its end comes back as an event."""
        cluster, arn = detail["clusterArn"], detail["taskArn"]
        try:
            self._ecs.stop_task(cluster=cluster, task=arn, reason=reason)
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidParameterException":  # it is gone
                raise


def parsed(infrastructure_id: str | None) -> tuple[str, str] | None:
    """Split ``cluster::task_arn``, as :class:`tasks.Task` writes it."""
    cluster, separator, arn = (infrastructure_id or "").partition("::")
    return (cluster, arn) if separator else None
