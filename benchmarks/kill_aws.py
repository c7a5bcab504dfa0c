"""An AWS whose tasks live and die, and at which calls can be held and dropped.

Its queues hide what was received for seconds where the stack's do for two minutes, so that what
comes back need not be waited for as long.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.aws_endpoint import ACCOUNT, REGION, AwsEndpoint
from benchmarks.kill_gates import Dropped, Gates
from local.client_tokens import ClientTokens, Conflict
from tests.support.json_http import Answer, Request

Json = dict[str, Any]

CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/default"
OURS, OBSERVED = "task-events", "prefect-ecs-tasks-events"
"""The queues of ECS's events: the agent's, and the one that the worker's observer looks for."""


class KillAws(AwsEndpoint):
    """The account of one contender.

    Parameters
    ----------
    play
        Lives the life of a task's container, given the task and its flow run.
    has_observed_queue
        Whether somebody deployed the queue that the worker's observer looks for.
    """

    visibility_seconds = 5

    def __init__(
        self, gates: Gates, play: Callable[[KillAws, Json, str], None], *, has_observed_queue: bool
    ) -> None:
        super().__init__()
        self.tasks: dict[str, Json] = {}
        self._gates = gates
        self._play = play
        self._has_observed_queue = has_observed_queue
        self._tokens = ClientTokens()
        self._events: dict[str, list[Json]] = defaultdict(list)

    def tasks_of(self, run: str) -> list[Json]:
        """Return the tasks that were started for a run."""
        return [task for task in self.tasks.values() if run_of(task) == run]

    def end(self, arn: str, *, exit_code: int, code: str, reason: str) -> None:
        """Let a task stop, and tell of it."""
        with self._lock:
            task = self.tasks[arn]
            if task["lastStatus"] == "STOPPED":
                return
            container = {"name": _container(task), "lastStatus": "STOPPED", "exitCode": exit_code}
            task.update(
                lastStatus="STOPPED",
                desiredStatus="STOPPED",
                stopCode=code,
                stoppedReason=reason,
                containers=[container],
            )
            detail = {key: value for key, value in task.items() if key != "tags"}
        for queue in (OURS, OBSERVED):
            self._events[queue].append(_message(detail))

    def _answer(self, request: Request) -> Answer | None:  # type: ignore[override]
        operation = request.headers.get("X-Amz-Target", "GetObject").rpartition(".")[2]
        text = f"{operation} {request.path} {request.body.decode(errors='replace')}"
        if operation == "ReceiveMessage" and OBSERVED in text:
            time.sleep(0.5)  # it long-polls
        try:
            return self._gates.run(text, lambda: super(KillAws, self)._answer(request))
        except Dropped:
            return None

    # -- ECS

    def _RunTask(self, given: Json) -> Json:
        def start() -> list[str]:
            arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/default/{uuid.uuid4().hex}"
            self.started.append(time.monotonic())
            self.tasks[arn] = {
                "taskArn": arn,
                "clusterArn": CLUSTER,
                "taskDefinitionArn": given["taskDefinition"],
                "startedBy": given.get("startedBy", ""),
                "overrides": given.get("overrides", {}),
                "tags": given.get("tags", []),
                "group": "family:flows",
                "lastStatus": "PROVISIONING",
                "desiredStatus": "RUNNING",
                "version": 1,
                "containers": [],
            }
            run = run_of(self.tasks[arn])
            arguments = [self, self.tasks[arn], run]
            threading.Thread(target=self._play, args=arguments, daemon=True).start()
            return [arn]

        try:
            arns, _ = self._tokens.run(CLUSTER, given, start)
        except Conflict as conflict:
            code = {"__type": "ConflictException", "message": str(conflict)}
            return {**code, "resourceIds": conflict.task_arns}
        return {"tasks": [self.tasks[arn] for arn in arns], "failures": []}

    def _ListTasks(self, given: Json) -> Json:
        return {
            "taskArns": [
                arn
                for arn, task in self.tasks.items()
                if task["startedBy"] == given["startedBy"]
                and task["desiredStatus"] == given.get("desiredStatus", "RUNNING")
            ]
        }

    def _DescribeTasks(self, given: Json) -> Json:
        return {"tasks": [self.tasks[arn] for arn in given["tasks"] if arn in self.tasks]}

    def _StopTask(self, given: Json) -> Json:
        task = self.tasks[given["task"]]
        task["desiredStatus"] = "STOPPED"
        told = {"code": "UserInitiated", "reason": given.get("reason", "")}
        stopping = threading.Timer(0.5, self.end, [task["taskArn"]], {"exit_code": 143, **told})
        stopping.daemon = True
        stopping.start()
        return {"task": task}

    # -- SQS

    def _GetQueueUrl(self, given: Json) -> Json:
        if self._has_observed_queue and given["QueueName"] == OBSERVED:
            return {"QueueUrl": f"{self.url}/{ACCOUNT}/{OBSERVED}"}
        return super()._GetQueueUrl(given)

    def _ReceiveMessage(self, given: Json) -> Json:
        name = given["QueueUrl"].rpartition("/")[2]
        if name not in (OURS, OBSERVED):
            return super()._ReceiveMessage(given)
        now, found = time.monotonic(), []
        for message in self._events[name]:
            if message["visible"] <= now and len(found) < given.get("MaxNumberOfMessages", 1):
                message["visible"] = now + self.visibility_seconds
                receives = int(message["Attributes"]["ApproximateReceiveCount"]) + 1
                message["Attributes"]["ApproximateReceiveCount"] = str(receives)
                first = str(int(time.time() * 1000))
                message["Attributes"].setdefault("ApproximateFirstReceiveTimestamp", first)
                found.append({key: held for key, held in message.items() if key != "visible"})
        return {"Messages": found}

    def _DeleteMessage(self, given: Json) -> Json:
        return self._delete(given["QueueUrl"], {given["ReceiptHandle"]})

    def _DeleteMessageBatch(self, given: Json) -> Json:
        super()._DeleteMessageBatch(given)
        self._delete(given["QueueUrl"], {entry["ReceiptHandle"] for entry in given["Entries"]})
        return {"Successful": [{"Id": entry["Id"]} for entry in given["Entries"]], "Failed": []}

    def _ChangeMessageVisibility(self, given: Json) -> Json:
        for message in self._events[given["QueueUrl"].rpartition("/")[2]]:
            if message["ReceiptHandle"] == given["ReceiptHandle"]:
                message["visible"] = time.monotonic() + given["VisibilityTimeout"]
        return super()._ChangeMessageVisibility(given)

    def _delete(self, queue_url: str, receipts: set[str]) -> Json:
        name = queue_url.rpartition("/")[2]
        left = [m for m in self._events[name] if m["ReceiptHandle"] not in receipts]
        self._events[name] = left
        return {}


def run_of(task: Json) -> str:
    """Return the flow run that a task is to execute."""
    for container in task["overrides"].get("containerOverrides", []):
        for entry in container.get("environment", []):
            if entry["name"] == "PREFECT__FLOW_RUN_ID":
                return str(entry["value"])
    return ""


def _container(task: Json) -> str:
    return str(task["overrides"]["containerOverrides"][0]["name"])


def _message(detail: Json) -> Json:
    id = uuid.uuid4().hex
    event = {
        "id": str(uuid.uuid4()),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "source": "aws.ecs",
        "detail-type": "ECS Task State Change",
        "region": REGION,
        "resources": [detail["taskArn"]],
        "detail": detail,
    }
    attributes = {"ApproximateReceiveCount": "0", "SentTimestamp": str(int(time.time() * 1000))}
    return {
        "MessageId": id,
        "ReceiptHandle": id,
        "Body": json.dumps(event),
        "Attributes": attributes,
        "visible": 0.0,
    }
