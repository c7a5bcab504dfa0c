"""A stand-in for ECS that knows tasks, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tests.support.aws import client_error
from tests.support.values import CLUSTER_ARN, RUN_ID, claimed_overrides

MOST_DESCRIBED = 100
"""As many tasks as DescribeTasks takes in one call."""

MOST_LISTED = 100
"""As many tasks as a page of ListTasks holds."""


@dataclass
class FakeEcs:
    """The ECS of some clusters."""

    tasks: list[dict[str, Any]] = field(default_factory=list)
    clusters: Sequence[str] = (CLUSTER_ARN,)
    failures: dict[str, Exception] = field(default_factory=dict)
    """Raised by each call of an operation."""
    definition: dict[str, Any] = field(default_factory=dict)
    listed_still: set[str] = field(default_factory=set)
    """Tasks that stopped a moment ago, which may be listed among those that run."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_tasks"
        return SimpleNamespace(paginate=self._pages)

    def _pages(
        self, *, cluster: str, PaginationConfig: dict[str, int], **filters: str
    ) -> Iterator[Any]:
        assert len(filters) == 1, "ECS wants startedBy to be the only filter"
        self._ask("list_tasks", cluster=cluster, **filters)
        desired = filters.get("desiredStatus", "RUNNING")
        found = [
            task["taskArn"]
            for task in self._of(cluster)
            if task["startedBy"] == filters.get("startedBy", task["startedBy"])
            and (task["desiredStatus"] == desired or task["taskArn"] in self.listed_still)
        ][: PaginationConfig["MaxItems"]]
        yield {"taskArns": found[:MOST_LISTED]}
        for start in range(MOST_LISTED, len(found), MOST_LISTED):
            yield {"taskArns": found[start : start + MOST_LISTED]}

    def describe_tasks(self, *, cluster: str, tasks: list[str], include: list[str]) -> Any:
        self._ask("describe_tasks", cluster=cluster, tasks=tasks, include=include)
        assert 0 < len(tasks) <= MOST_DESCRIBED
        if any(not arn.startswith("arn:") for arn in tasks):
            raise client_error("InvalidParameterException", "Invalid identifier")
        known = [task for task in self._of(cluster) if task["taskArn"] in tasks]
        arns = [task["taskArn"] for task in known]
        missing = [{"arn": arn, "reason": "MISSING"} for arn in tasks if arn not in arns]
        return {"tasks": known, "failures": missing}

    def stop_task(self, *, cluster: str, task: str, reason: str) -> Any:
        self._ask("stop_task", cluster=cluster, task=task, reason=reason)
        (found,) = (known for known in self._of(cluster) if known["taskArn"] == task)
        found["desiredStatus"] = "STOPPED"
        return {"task": found}

    def describe_task_definition(self, *, taskDefinition: str) -> Any:
        self._ask("describe_task_definition", taskDefinition=taskDefinition)
        return {"taskDefinition": self.definition}

    def deregister_task_definition(self, *, taskDefinition: str) -> Any:
        self._ask("deregister_task_definition", taskDefinition=taskDefinition)

    def _ask(self, operation: str, **params: Any) -> None:
        self.asked.append((operation, params))
        if operation in self.failures:
            raise self.failures[operation]

    def _of(self, cluster: str) -> list[dict[str, Any]]:
        if cluster not in self.clusters:
            raise client_error("ClusterNotFoundException")
        return [task for task in self.tasks if task["clusterArn"] == cluster]

    def of(self, operation: str) -> list[dict[str, Any]]:
        """Return what each call of an operation asked."""
        return [params for name, params in self.asked if name == operation]

    @property
    def stopped(self) -> list[str]:
        """The ARNs of the tasks that were asked to stop, in order."""
        return [params["task"] for params in self.of("stop_task")]


def task(
    number: int = 1,
    *,
    run: str = RUN_ID,
    claim: str | None = "claim-1",
    status: str = "RUNNING",
    cluster: str = CLUSTER_ARN,
    **changes: Any,
) -> dict[str, Any]:
    """Return a task as ECS describes it."""
    name = cluster.rpartition("/")[2]
    return {
        "taskArn": f"{cluster.partition(':cluster/')[0]}:task/{name}/{number:032d}",
        "clusterArn": cluster,
        "taskDefinitionArn": f"{cluster.partition(':cluster/')[0]}:task-definition/etl:7",
        "startedBy": run,
        "lastStatus": status,
        "desiredStatus": "STOPPED" if status == "STOPPED" else "RUNNING",
        "containers": [{"name": "prefect"}],
        "overrides": dict(claimed_overrides(claim)) if claim else {},
        "tags": [],
        **changes,
    }


def infrastructure_id(of: dict[str, Any]) -> str:
    """Return what a run is told of its task."""
    return f"{of['clusterArn']}::{of['taskArn']}"
