"""The agent's functions in this process, wired as the stack wires them.

Their environment is the template's own; AWS is moto with resources of those very names. Every AWS
call is recorded, and judged by the role of the function that made it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import urllib3

from fargate_agent import dispatch, poll, settings, watch
from fargate_agent.external_kwargs import external_key
from infra.config import AgentConfig, runtime_settings
from tests.support import aws, moto_ecs
from tests.support.aws_faults import AwsFaults
from tests.support.iam import Judge, requests
from tests.support.recorder import Recorder
from tests.support.stack_template import REGION, Deployed, of_type

FUNCTIONS = ("poll", "dispatch", "watch")
CONTEXT = SimpleNamespace(function_name="test", aws_request_id="test")


class Functions:
    """The three functions of one agent.

    Parameters
    ----------
    config
        The agent's settings.
    template
        The stack's, which was synthesized from them.
    """

    def __init__(
        self,
        config: AgentConfig,
        template: Mapping[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.recorder = Recorder()
        self.aws_faults = AwsFaults(self.recorder)
        moto_ecs.mend(monkeypatch)
        self.deployed = Deployed(template, _network(template))
        self.environment = {name: self._environment(name) for name in FUNCTIONS}
        self._make_queues()
        self.bucket = self.environment["dispatch"].get("KWARGS_BUCKET")
        if self.bucket:
            aws.moto("s3").create_bucket(Bucket=self.bucket)
        kwargs = json.loads(self.environment["dispatch"]["STACK_KWARGS"])
        self.cluster = config.ecs.kwargs.get("cluster") or kwargs["cluster"]
        aws.moto("ecs").create_cluster(clusterName=self.cluster.rpartition("/")[2])
        monkeypatch.setattr(settings, "SETTINGS_FILE", tmp_path / "settings.json")
        self.prefect_calls: list[tuple[str, str]] = []
        self._count_calls(monkeypatch, config.prefect.api_url)
        self.deploy(config)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record the functions' calls inside the block, and let them meet the faults."""
        with self.recorder.listening(), self.aws_faults.listening():
            yield

    def _environment(self, name: str) -> dict[str, str]:
        _, resource = self.deployed.function(name)
        return self.deployed.environment(name) if "Environment" in resource["Properties"] else {}

    def _make_queues(self) -> None:
        sqs = aws.moto("sqs")
        for id, queue in of_type(self.deployed.template, "AWS::SQS::Queue").items():
            fifo = queue["Properties"].get("FifoQueue")
            url = self.deployed.resolve({"Ref": id})
            sqs.create_queue(
                QueueName=url.rpartition("/")[2], Attributes={"FifoQueue": "true"} if fifo else {}
            )

    def _count_calls(self, monkeypatch: pytest.MonkeyPatch, api: str) -> None:
        original = urllib3.PoolManager.request

        def request(pool: Any, method: str, url: str, **options: Any) -> Any:
            if self.recorder.on and url.startswith(api):
                self.prefect_calls.append((method, url.removeprefix(api)))
            return original(pool, method, url, **options)

        monkeypatch.setattr(urllib3.PoolManager, "request", request)

    # -- the functions

    def deploy(self, config: AgentConfig) -> None:
        """Give the functions these settings; their environments and roles stay."""
        settings.SETTINGS_FILE.write_text(json.dumps(runtime_settings(config)))
        self.cold_start()

    def cold_start(self) -> None:
        """Forget what warm functions hold."""
        for cached in (
            settings.load,
            dispatch._deliveries,
            poll._poller,
            poll._secret,
            poll._upkeep,
            watch._watcher,
        ):
            cached.cache_clear()

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """Let the functions' clock be so much ahead inside the block."""

        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=seconds)

        with (
            mock.patch.object(poll, "datetime", Later),
            mock.patch.object(dispatch, "datetime", Later),
        ):
            yield

    @contextmanager
    def inside(self, function: str) -> Iterator[None]:
        """Be that function: its environment, and its calls recorded."""
        settings.load.cache_clear()
        kept = {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "PATH", "HOME"))}
        with (
            mock.patch.dict(os.environ, {**kept, **self.environment[function]}, clear=True),
            self.recorder.function(function),
        ):
            yield

    def heal(self, later: float = 0) -> None:
        """Poll as a cold function does, which heals at once, so many seconds later."""
        self.cold_start()
        with self.later(later):
            self.poll()

    def poll(self, event: dict[str, Any] | None = None) -> int:
        """Invoke ``poll``, as the schedule does or with an event of the ticks queue."""
        with self.inside("poll"):
            return poll.handler(event or {}, CONTEXT)["found"]  # type: ignore[arg-type]

    def poke(self, secret: str) -> dict[str, Any]:
        """Call the function URL to poll now."""
        headers = {"authorization": f"Bearer {secret}"}
        event = {"rawPath": "/api/poke", "headers": headers, "requestContext": {"http": {}}}
        with self.inside("poll"):
            return dict(poll.handler(event, CONTEXT))  # type: ignore[arg-type]

    def deliver(self, change: Callable[[dict[str, Any]], None] | None = None) -> list[str]:
        """Receive a batch from the runs queue, invoke ``dispatch``, delete what it acknowledged.

        Parameters
        ----------
        change
            Alters each record before it is delivered.

        Returns
        -------
        The flow runs whose messages were reported as failed.
        """
        records = self.receive()
        for record in records:
            if change:
                change(record)
        return self.dispatch(records)

    def dispatch(self, records: list[dict[str, Any]]) -> list[str]:
        """Invoke ``dispatch`` with these records, as an event source mapping does."""
        with self.inside("dispatch"):
            answer = dispatch.handler({"Records": records}, CONTEXT)  # type: ignore[arg-type]
        failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        sqs, queue = aws.moto("sqs"), self.runs_queue
        for record in records:
            if record["messageId"] not in failed:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=record["receiptHandle"])
        return [r["attributes"]["MessageGroupId"] for r in records if r["messageId"] in failed]

    def receive(self, queue: str | None = None) -> list[dict[str, Any]]:
        """Receive from the runs queue, as Lambda's event source mapping hands it on."""
        answer = aws.moto("sqs").receive_message(
            QueueUrl=queue or self.runs_queue,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
            }
            for message in answer.get("Messages", [])
        ]

    def unacknowledged(self) -> int:
        """Count the messages of the runs queue, those that are hidden too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = aws.moto("sqs").get_queue_attributes(
            QueueUrl=self.runs_queue, AttributeNames=names
        )
        return sum(int(answer["Attributes"][name]) for name in names)

    def stopped(self, task: Mapping[str, Any], *, fails: bool = False, **detail: Any) -> None:
        """Invoke ``watch`` with the event of a task that stopped, which it acknowledges or not."""
        self.changed(task, fails=fails, **{"lastStatus": "STOPPED", **detail})

    def changed(self, task: Mapping[str, Any], *, fails: bool = False, **detail: Any) -> None:
        """Invoke ``watch`` with the event of a change of a task's state."""
        told = {k: v for k, v in task.items() if k != "tags"}  # which ECS's events lack
        event = {
            "id": str(uuid.uuid4()),
            "time": datetime.now(UTC).isoformat(),
            "detail": {**json.loads(json.dumps(told, default=str)), **detail},
        }
        sqs, queue = aws.moto("sqs"), self.environment["watch"]["TASK_EVENTS_QUEUE_URL"]
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event))
        records = self.receive(queue)
        with self.inside("watch"):
            answer = watch.handler({"Records": records}, CONTEXT)  # type: ignore[arg-type]
        assert bool(answer["batchItemFailures"]) is fails
        for record in records:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=record["receiptHandle"])

    @property
    def runs_queue(self) -> str:
        """The URL of the runs queue."""
        return self.environment["dispatch"]["RUNS_QUEUE_URL"]

    @property
    def claimant(self) -> str:
        """The name that the agent claims runs by."""
        return self.environment["poll"]["CLAIMANT"]

    @property
    def max_receives(self) -> int:
        """So often is a message of the runs queue received at most."""
        return int(self.environment["dispatch"]["MAX_RECEIVES"])

    # -- AWS

    def tasks(self) -> list[dict[str, Any]]:
        """Describe every task of the cluster."""
        ecs = aws.moto("ecs")
        arns = ecs.list_tasks(cluster=self.cluster)["taskArns"]
        if not arns:
            return []
        return list(ecs.describe_tasks(cluster=self.cluster, tasks=arns, include=["TAGS"])["tasks"])

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """Return what was asked with each call of an operation, in order."""
        return [call.params for call in self.recorder.calls if call.operation == operation]

    def request_of(self, run: str) -> dict[str, Any]:
        """Return what RunTask was last asked for a run."""
        return [asked for asked in self.requests("RunTask") if asked["startedBy"] == run][-1]

    def definition(self, arn: str) -> dict[str, Any]:
        """Describe a task definition."""
        answer = aws.moto("ecs").describe_task_definition(taskDefinition=arn, include=["TAGS"])
        return {**answer["taskDefinition"], "tags": answer.get("tags", [])}

    def put_file(self, flow_name: str, flow_id: str, body: Any) -> str:
        """Put a flow's kwargs file (bytes as they are, all else as JSON); return its URL."""
        return self.put_object(external_key("kwargs", flow_name, flow_id), body)

    def put_object(self, key: str, body: Any) -> str:
        """Put an object into the kwargs bucket, as :meth:`put_file` does."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert self.bucket
        aws.moto("s3").put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"

    # -- what every test ends with

    def assert_all_calls_are_allowed(self) -> None:
        """Judge every recorded call by the role of the function that made it."""
        judges = {name: Judge(self.deployed, name) for name in FUNCTIONS}
        for call in self.recorder.calls:
            for request in requests(call):
                assert judges[call.function].allows(request), f"{call.function}: {request}"


def older(record: dict[str, Any], seconds: float = 120) -> None:
    """Let a record look as if it had waited in the queue."""
    sent = int(record["attributes"]["SentTimestamp"]) - int(seconds * 1000)
    record["attributes"]["SentTimestamp"] = str(sent)


def _network(template: Mapping[str, Any]) -> dict[str, str]:
    """Make the VPC's parts, whose ids AWS chooses; return them by logical id."""
    ec2 = aws.moto("ec2")
    made: dict[str, str] = {}
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    for index, id in enumerate(of_type(template, "AWS::EC2::Subnet")):
        subnet = ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"{REGION}a"
        )
        made[id] = subnet["Subnet"]["SubnetId"]
    for id in of_type(template, "AWS::EC2::SecurityGroup"):
        group = ec2.create_security_group(GroupName=id, Description=id, VpcId=vpc)
        made[id] = group["GroupId"]
    return made


def redelivered(record: dict[str, Any], receives: int = 2) -> dict[str, Any]:
    """Return the record as the queue hands it out again."""
    attributes = {**record["attributes"], "ApproximateReceiveCount": str(receives)}
    return {**record, "attributes": attributes}
