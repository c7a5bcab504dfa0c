"""An AWS on loopback with as much as a launch needs, which counts what it is asked.

ECS, SQS and resource tags speak JSON, EC2 speaks XML, and S3 holds nothing. It answers at once and
checks nothing, so that a measurement is of who calls.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.support.json_http import Answer, JsonHttpServer, Request

ACCOUNT, REGION = "123456789012", "us-east-1"
SECRET = "shared-secret"
"""What every secret holds."""

OF_THE_MAPPING = frozenset({"ReceiveMessage", "DeleteMessageBatch"})
"""What Lambda's event source mapping calls, not the agent."""

Json = dict[str, Any]

DEFINITION: Json = {"requiresAttributes": [], "placementConstraints": [], "volumes": []}
CONTAINER: Json = {
    "cpu": 0,
    "essential": True,
    **{k: [] for k in ("environment", "mountPoints", "portMappings", "systemControls")},
    "volumesFrom": [],
}
NO_OBJECT = "<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>"
EC2_ANSWERS = {
    "DescribeVpcs": "<vpcSet><item><vpcId>vpc-1</vpcId><isDefault>true</isDefault></item></vpcSet>",
    "DescribeSubnets": "<subnetSet>"
    "<item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId></item>"
    "<item><subnetId>subnet-2</subnetId><vpcId>vpc-1</vpcId></item></subnetSet>",
}


class AwsEndpoint:
    """The endpoint; ``calls`` counts operations, ``started`` says when each task was."""

    visibility_seconds = 120
    """So long a message that was received is hidden, as the stack's queues hide it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.started: list[float] = []
        self.launches: list[tuple[float, str]] = []
        """When each task was started, by the wall's clock, and for which run."""
        self._lock = threading.Lock()
        self._definitions: dict[str, list[Json]] = {}
        self._messages: list[Json] = []
        self._server = JsonHttpServer(self._answer)

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def environment(self) -> Mapping[str, str]:
        """Return what lets a program call it, and no other AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def __enter__(self) -> AwsEndpoint:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def forget_calls(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.calls.clear()
            self.started.clear()
            self.launches.clear()

    def _answer(self, request: Request) -> Answer:
        if target := request.headers.get("X-Amz-Target"):
            return self._json(target.rpartition(".")[2], json.loads(request.body))
        if request.method == "GET":
            self._count("GetObject")
            return Answer(404, NO_OBJECT)
        (operation,) = urllib.parse.parse_qs(request.body.decode())["Action"]
        self._count(operation)
        return Answer(200, f"<{operation}Response>{EC2_ANSWERS[operation]}</{operation}Response>")

    def _json(self, operation: str, given: Json) -> Answer:
        self._count(operation)
        with self._lock:
            answer = getattr(self, f"_{operation}")(given)
        if "__type" not in answer:
            return Answer.json(200, answer)
        return Answer(400, json.dumps(answer), {"x-amzn-query-error": answer.get("__query", "")})

    def _count(self, operation: str) -> None:
        if operation not in OF_THE_MAPPING:
            with self._lock:
                self.calls[operation] += 1

    # -- ECS

    def _RegisterTaskDefinition(self, given: Json) -> Json:
        revisions = self._definitions.setdefault(given["family"], [])
        name = f"{given['family']}:{len(revisions) + 1}"
        definition = {
            **DEFINITION,
            **given,
            "containerDefinitions": [{**CONTAINER, **c} for c in given["containerDefinitions"]],
            "taskDefinitionArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{name}",
            "revision": len(revisions) + 1,
            "status": "ACTIVE",
        }
        tags = definition.pop("tags", [])
        revisions.append({"taskDefinition": definition, "tags": tags})
        return revisions[-1]

    def _DescribeTaskDefinition(self, given: Json) -> Json:
        family, _, revision = given["taskDefinition"].rpartition("/")[2].partition(":")
        revisions = self._definitions.get(family, [])
        if not revisions:
            return {"__type": "ClientException", "message": "Unable to describe task definition."}
        return revisions[int(revision or 0) - 1]

    def _RunTask(self, given: Json) -> Json:
        self.started.append(time.monotonic())
        self.launches.append((time.time(), _run_of(given)))
        cluster = given.get("cluster", "default").rpartition("/")[2]
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
        task = {
            "taskArn": f"{arn}:task/{cluster}/{uuid.uuid4().hex}",
            "clusterArn": f"{arn}:cluster/{cluster}",
            "taskDefinitionArn": given["taskDefinition"],
            "lastStatus": "PROVISIONING",
        }
        return {"tasks": [task], "failures": []}

    def _DescribeTasks(self, given: Json) -> Json:
        return {"tasks": [], "failures": []}

    def _GetSecretValue(self, given: Json) -> Json:
        return {"SecretString": SECRET}

    # -- SQS, the queue of runs; the worker's observer looks for one of events, which not all have

    def _GetQueueUrl(self, given: Json) -> Json:
        return {
            "__type": "com.amazonaws.sqs#QueueDoesNotExist",
            "__query": "AWS.SimpleQueueService.NonExistentQueue;Sender",
            "message": "No such queue.",
        }

    def _SendMessageBatch(self, given: Json) -> Json:
        known = {message["Attributes"]["MessageDeduplicationId"] for message in self._messages}
        for entry in given["Entries"]:
            if entry["MessageDeduplicationId"] in known:
                continue
            attributes = {
                "MessageGroupId": entry["MessageGroupId"],
                "MessageDeduplicationId": entry["MessageDeduplicationId"],
                "SentTimestamp": str(int(time.time() * 1000)),
                "ApproximateReceiveCount": "0",
            }
            body = entry["MessageBody"]
            message = {"MessageId": entry["Id"], "Body": body, "Attributes": attributes}
            self._messages.append({**message, "visible": 0.0})
        successful = [{"Id": e["Id"], "MessageId": e["Id"]} for e in given["Entries"]]
        return {"Successful": successful, "Failed": []}

    def _ReceiveMessage(self, given: Json) -> Json:
        now = time.monotonic()
        found = [m for m in self._messages if m["visible"] <= now and "gone" not in m][:10]
        for message in found:
            message["visible"] = now + self.visibility_seconds
            receives = int(message["Attributes"]["ApproximateReceiveCount"]) + 1
            message["Attributes"]["ApproximateReceiveCount"] = str(receives)
            first = str(int(time.time() * 1000))
            message["Attributes"].setdefault("ApproximateFirstReceiveTimestamp", first)
        shown = ("MessageId", "Body", "Attributes")
        return {
            "Messages": [
                {**{key: m[key] for key in shown}, "ReceiptHandle": m["MessageId"]} for m in found
            ]
        }

    def _ChangeMessageVisibility(self, given: Json) -> Json:
        for message in self._messages:
            if message["MessageId"] == given["ReceiptHandle"]:
                message["visible"] = time.monotonic() + given["VisibilityTimeout"]
        return {}

    def _DeleteMessageBatch(self, given: Json) -> Json:
        gone = {entry["ReceiptHandle"] for entry in given["Entries"]}
        for message in self._messages:
            if message["MessageId"] in gone:
                message["gone"] = True
        return {"Successful": [{"Id": e["Id"]} for e in given["Entries"]], "Failed": []}

    # -- tags

    def _GetResources(self, given: Json) -> Json:
        return {"ResourceTagMappingList": []}


def _run_of(request: Json) -> str:
    """Return the flow run that a task is to execute, as Prefect 1 or a later one tells it."""
    for container in request.get("overrides", {}).get("containerOverrides", []):
        for entry in container.get("environment", []):
            if entry["name"].endswith("__FLOW_RUN_ID"):
                return str(entry["value"])
    return ""
