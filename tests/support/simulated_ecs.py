"""ECS: task definitions, tasks started idempotently by their client tokens, and their ends.

And what finds its resources by tags, and the logs of its containers.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from local.client_tokens import ClientTokens, Conflict
from tests.support.simulated_clock import Clock
from tests.support.simulated_service import Refusal

ACCOUNT, REGION = "123456789012", "us-east-1"

Detail = dict[str, Any]

PAGE = 100

CONSISTENT_AFTER = 5.0
"""ECS is eventually consistent: so many seconds after its start a task is not listed yet, nor
described."""


def cluster_arn(name: str) -> str:
    """Name a cluster."""
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"


class EcsService:
    """One region's ECS.

    Parameters
    ----------
    clusters
        The ARNs of those that exist.
    start
        Begins the life of a task.
    stop
        Stops a task, for a reason.
    """

    def __init__(
        self,
        clock: Clock,
        clusters: Sequence[str],
        start: Callable[[Detail], None],
        stop: Callable[[Detail, str], None],
    ) -> None:
        self._clock = clock
        self._clusters = set(clusters)
        self._start, self._stop = start, stop
        self._tokens = ClientTokens(now=clock.seconds)
        self._lock = threading.RLock()
        self.definitions: dict[str, Detail] = {}
        self.tasks: dict[str, Detail] = {}
        self._shows_at: dict[str, datetime] = {}

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "RegisterTaskDefinition": self._register,
            "DescribeTaskDefinition": self._describe_definition,
            "DeregisterTaskDefinition": self._deregister,
            "RunTask": self._run_task,
            "ListTasks": self._list_tasks,
            "DescribeTasks": self._describe_tasks,
            "StopTask": self._stop_task,
        }
        with self._lock:
            return answers[operation](asked)

    # -- task definitions

    def _register(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        revisions = self._revisions(asked["family"])
        number = len(revisions) + 1
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{asked['family']}:{number}"
        given = {name: value for name, value in asked.items() if name != "tags"}
        definition = {**given, "taskDefinitionArn": arn, "revision": number, "status": "ACTIVE"}
        self.definitions[arn] = {"taskDefinition": definition, "tags": asked.get("tags", [])}
        return self.definitions[arn]

    def _revisions(self, family: str) -> list[Detail]:
        """Return a family's revisions, the oldest first."""
        held = self.definitions.values()
        return [found for found in held if found["taskDefinition"]["family"] == family]

    def _definition(self, name: str) -> Detail:
        family, _, number = name.rpartition("/")[2].partition(":")
        for found in reversed(self._revisions(family)):
            definition = found["taskDefinition"]
            if number == str(definition["revision"]):
                return found
            if not number and definition["status"] == "ACTIVE":
                return found
        raise Refusal("ClientException", "Unable to describe task definition.")

    def _describe_definition(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._definition(asked["taskDefinition"])

    def _deregister(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self._definition(asked["taskDefinition"])["taskDefinition"]
        found["status"] = "INACTIVE"
        return {"taskDefinition": found}

    # -- tasks

    def _run_task(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(asked)
        definition = self._definition(asked["taskDefinition"])["taskDefinition"]
        if definition["status"] != "ACTIVE":
            raise Refusal("ClientException", "TaskDefinition is inactive")
        try:
            arns, _ = self._tokens.run(cluster, asked, lambda: [self._begin(asked, definition)])
        except Conflict as conflict:
            ids = conflict.task_arns
            raise Refusal("ConflictException", str(conflict), resourceIds=ids) from conflict
        return {"tasks": [self.tasks[arn] for arn in arns], "failures": []}

    def _begin(self, asked: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
        cluster = self._cluster(asked)
        name = cluster.rpartition("/")[2]
        task: Detail = {
            "taskArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{name}/{uuid.uuid4().hex}",
            "clusterArn": cluster,
            "taskDefinitionArn": definition["taskDefinitionArn"],
            "startedBy": asked.get("startedBy", ""),
            "overrides": asked.get("overrides", {}),
            "tags": asked.get("tags", []),
            "containers": [{"name": c["name"]} for c in definition["containerDefinitions"]],
            "lastStatus": "PROVISIONING",
            "desiredStatus": "RUNNING",
            "version": 1,
        }
        self.tasks[task["taskArn"]] = task
        self._shows_at[task["taskArn"]] = self._clock.now() + timedelta(seconds=CONSISTENT_AFTER)
        self._start(task)
        return str(task["taskArn"])

    def _cluster(self, asked: Mapping[str, Any]) -> str:
        found = asked.get("cluster", "default")
        arn = found if found.startswith("arn:") else cluster_arn(found)
        if arn not in self._clusters:
            raise Refusal("ClusterNotFoundException", "Cluster not found.")
        return str(arn)

    def _list_tasks(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(asked)
        filters = {name: asked[name] for name in ("startedBy", "desiredStatus") if name in asked}
        if len(filters) > 1:
            raise Refusal("InvalidParameterException", "startedBy must be the only filter.")
        wanted = {"clusterArn": cluster, "desiredStatus": "RUNNING", **filters}
        found = [arn for arn, task in self._known().items() if wanted.items() <= task.items()]
        start = int(asked.get("nextToken", 0))
        end = start + asked.get("maxResults", PAGE)
        more = {"nextToken": str(end)} if found[end:] else {}
        return {"taskArns": found[start:end], **more}

    def _describe_tasks(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert len(asked["tasks"]) <= PAGE
        cluster = self._cluster(asked)
        known = {arn for arn, task in self._known().items() if task["clusterArn"] == cluster}
        return {
            "tasks": [dict(self.tasks[arn]) for arn in asked["tasks"] if arn in known],
            "failures": [
                {"arn": arn, "reason": "MISSING"} for arn in asked["tasks"] if arn not in known
            ],
        }

    def _known(self) -> dict[str, Detail]:
        now = self._clock.now()
        return {arn: task for arn, task in self.tasks.items() if self._shows_at[arn] <= now}

    def _stop_task(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        task = self.tasks.get(asked["task"])
        if task is None or task["clusterArn"] != self._cluster(asked):
            raise Refusal("InvalidParameterException", "The referenced task was not found.")
        self._stop(task, asked["reason"])
        return {"task": task}


class TaggingService:
    """Finds task definitions by their tags."""

    def __init__(self, ecs: EcsService) -> None:
        self._ecs = ecs

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        assert operation == "GetResources"
        (wanted,) = asked["TagFilters"]
        return {
            "ResourceTagMappingList": [
                {"ResourceARN": arn, "Tags": []}
                for arn, held in self._ecs.definitions.items()
                if any(
                    tag["key"] == wanted["Key"] and tag["value"] in wanted["Values"]
                    for tag in held["tags"]
                )
            ]
        }


class LogsService:
    """Holds one line of each container that started."""

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        assert operation == "GetLogEvents"
        return {"events": [{"timestamp": 0, "message": "the container's last words"}]}
