"""AWS as the functions call it: answered below botocore, whose own retries are in force."""

from __future__ import annotations

import io
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import boto3
from botocore.awsrequest import AWSResponse

from tests.faults.back_pressure.buckets import FARGATE_TASKS, RUN_TASK_CALLS, TokenBucket
from tests.faults.back_pressure.runs_queue import RunsQueue
from tests.faults.back_pressure.virtual_time import VirtualTime
from tests.support.aws import default_session

ARN = "arn:aws:ecs:us-east-1:123456789012"
LATENCY = (0.05, 0.1)
REGISTRATION = (0.2, 0.4)
"""Seconds that AWS takes for a call, and for a registration, from and to."""

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}

THROTTLED = {"__type": "ThrottlingException", "message": "Rate exceeded"}
CONCURRENT = {
    "__type": "ClientException",
    "message": "Too many concurrent attempts to create a new revision of the specified family.",
}
NO_FAMILY = {"__type": "ClientException", "message": "Unable to describe task definition."}
NO_OBJECT = b"<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>"

Json = dict[str, Any]


@dataclass
class Aws:
    """SQS, S3 without an object, and ECS with its limits.

    Parameters
    ----------
    run_task_limit
        Burst and calls a second that are left of the account's.
    fargate_tokens
        How many tasks Fargate would start at once at first, which is less than none where it is
        behind; all that it ever does, unless told.
    """

    clock: VirtualTime
    queue: RunsQueue
    run_task_limit: tuple[float, float] = RUN_TASK_CALLS
    fargate_tokens: float | None = None
    calls: Counter[str] = field(default_factory=Counter)
    throttled: list[float] = field(default_factory=list)
    """When RunTask was throttled, in seconds after the start."""
    refused_registrations: int = 0
    started: list[tuple[float, str]] = field(default_factory=list)
    """When each task was started, in seconds after the start, and of which run."""
    revisions: dict[str, list[Json]] = field(default_factory=dict)
    _tasks: dict[str, Json] = field(default_factory=dict)
    _registering: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        time = self.clock.time
        self.run_task_calls = TokenBucket(*self.run_task_limit, time)
        self.fargate_tasks = TokenBucket(*FARGATE_TASKS, time, self.fargate_tokens)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer the calls of clients that are made inside the block."""
        session = default_session()
        # Last, so that botocore's own rate limiter comes before what it limits.
        session.events.register_last("before-send", self._answer)
        # S3 is never throttled here: half of all calls need not be signed and parsed.
        session.events.register("before-call.s3.GetObject", self._no_object)
        try:
            with (
                mock.patch.dict(os.environ, ENVIRONMENT),
                mock.patch.object(boto3, "DEFAULT_SESSION", session),
            ):
                yield
        finally:
            session.events.unregister("before-send", self._answer)
            session.events.unregister("before-call.s3.GetObject", self._no_object)

    def allowed(self, seconds: float) -> float:
        """Return how many tasks AWS can have started so long after the start."""
        return min(b.given_by(seconds) for b in (self.run_task_calls, self.fargate_tasks))

    # -- how a call is answered

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        target = request.headers.get("X-Amz-Target", b"")
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        self.calls[operation or "GetObject"] += 1
        self.clock.sleep(random.uniform(*LATENCY) / 2)
        if not operation:
            answer, status, body = None, 404, NO_OBJECT
        else:
            answer = self._call(operation, json.loads(request.body))
            status, body = 400 if "__type" in answer else 200, json.dumps(answer).encode()
        self.clock.sleep(random.uniform(*LATENCY) / 2)
        return AWSResponse(request.url, status, {"x-amzn-requestid": "0"}, _Raw(body))

    def _call(self, operation: str, given: Json) -> Json:
        answer: Json = getattr(self, f"_{operation}")(given)
        return answer

    def _no_object(self, **_: Any) -> tuple[AWSResponse, Json]:
        self.calls["GetObject"] += 1
        self.clock.sleep(random.uniform(*LATENCY))
        return AWSResponse("", 404, {}, _Raw()), {"Error": {"Code": "NoSuchKey", "Message": ""}}

    def _SendMessageBatch(self, given: Json) -> Json:
        for entry in given["Entries"]:
            self.queue.send(entry)
        sent = [
            {"Id": e["Id"], "MessageId": e["Id"], "MD5OfMessageBody": ""} for e in given["Entries"]
        ]
        return {"Successful": sent, "Failed": []}

    def _ChangeMessageVisibility(self, given: Json) -> Json:
        self.queue.hide(given["ReceiptHandle"], given["VisibilityTimeout"])
        return {}

    def _GetResources(self, given: Json) -> Json:
        return {"ResourceTagMappingList": []}

    def _DescribeTaskDefinition(self, given: Json) -> Json:
        family, _, revision = given["taskDefinition"].rpartition("/")[2].partition(":")
        revisions = self.revisions.get(family, [])
        return revisions[int(revision or 0) - 1] if revisions else NO_FAMILY

    def _RegisterTaskDefinition(self, given: Json) -> Json:
        family = given["family"]
        if family in self._registering:
            self.refused_registrations += 1
            return CONCURRENT
        self._registering.add(family)
        try:
            self.clock.sleep(random.uniform(*REGISTRATION))
        finally:
            self._registering.discard(family)
        revisions = self.revisions.setdefault(family, [])
        number = len(revisions) + 1
        definition = {
            **{key: value for key, value in given.items() if key != "tags"},
            "taskDefinitionArn": f"{ARN}:task-definition/{family}:{number}",
            "revision": number,
            "status": "ACTIVE",
        }
        revisions.append({"taskDefinition": definition, "tags": given.get("tags", [])})
        return revisions[-1]

    def _RunTask(self, given: Json) -> Json:
        if not self.run_task_calls.has_one():
            return self._throttle()
        self.run_task_calls.take()
        token = given["clientToken"]
        if token not in self._tasks:
            if not self.fargate_tasks.has_one():
                return self._throttle()
            self.fargate_tasks.take()
            self.started.append((self.clock.elapsed, given["startedBy"]))
            self._tasks[token] = self._task(given)
        return {"tasks": [self._tasks[token]], "failures": []}

    def _throttle(self) -> Json:
        self.throttled.append(self.clock.elapsed)
        return THROTTLED

    def _task(self, given: Json) -> Json:
        cluster = given["cluster"].rpartition("/")[2]
        return {
            "taskArn": f"{ARN}:task/{cluster}/{uuid.uuid4().hex}",
            "clusterArn": f"{ARN}:cluster/{cluster}",
            "taskDefinitionArn": given["taskDefinition"],
            "startedBy": given["startedBy"],
            "overrides": given.get("overrides", {}),
            "lastStatus": "PROVISIONING",
        }

    def _ListTasks(self, given: Json) -> Json:
        found = [t for t in self._tasks.values() if t["startedBy"] == given["startedBy"]]
        return {"taskArns": [task["taskArn"] for task in found]}

    def _DescribeTasks(self, given: Json) -> Json:
        found = [t for t in self._tasks.values() if t["taskArn"] in given["tasks"]]
        return {"tasks": found, "failures": []}


class _Raw(io.BytesIO):
    """A body as urllib3 hands it on."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        if content := self.read():
            yield content


def parameters(**changes: Any) -> Mapping[str, Any]:
    """Return what the stack gives every run."""
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}}
    role = "arn:aws:iam::123456789012:role/execution"
    given = {"cluster": f"{ARN}:cluster/flows", "networkConfiguration": network}
    return {**given, "executionRoleArn": role, **changes}
