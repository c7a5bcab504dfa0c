"""The ``watch`` function: what ECS tells of tasks, told to Prefect.

A task that stopped is told to its run (:mod:`conclusion`), and its definition is deregistered where
that was asked. Every change of a task's state becomes a Prefect event (:mod:`task_events`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import process_partial_response
from botocore.exceptions import BotoCoreError, ClientError

from fargate_agent import clients, settings
from fargate_agent.batches import MessageGroups, back_off
from fargate_agent.conclusion import Conclusions
from fargate_agent.container_logs import ContainerLogs
from fargate_agent.deregistration import deregister
from fargate_agent.observability import logger
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import CLAIM_ENV
from fargate_agent.task_details import Detail, flow_run_id, told
from fargate_agent.task_events import prefect_event

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_sqs import SQSClient

MOST_TAGS_HELD = 1000
"""The tags of so many tasks are remembered: ECS's events of a task do not repeat them."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """What the function holds while it is warm."""

    conclusions: Conclusions
    ecs: ECSClient
    sqs: SQSClient
    queue_url: str
    _tags: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _events: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, record: SQSRecord, reads: Reads) -> None:
        """Handle the message of one event; returning acknowledges it, after :meth:`emit`."""
        try:
            self._handle(json.loads(record.body), reads)
        except Exception as error:
            logger.warning("will try again", message_id=record.message_id, error=str(error))
            back_off(self.sqs, self.queue_url, record)
            raise

    def _handle(self, event: dict[str, Any], reads: Reads) -> None:
        detail = event["detail"]
        if flow_run_id(detail) is None:
            return
        if detail["lastStatus"] == "STOPPED":
            self.conclusions.conclude(detail, reads)
            deregister(self.ecs, detail)
        if not self.conclusions.prefect.runs_outlive_containers:
            told = prefect_event(event, self._tags_of(detail))
            if told:
                self._events.append(told)

    def emit(self) -> None:
        """Record the batch's events in Prefect, all in one call."""
        events = sorted(self._events, key=lambda event: str(event["occurred"]))
        self._events.clear()
        self.conclusions.prefect.emit(events)

    def _tags_of(self, detail: Detail) -> Mapping[str, str]:
        """Return a task's tags; where ECS has none, as of one that was stopped, its run alone."""
        arn = detail["taskArn"]
        if arn not in self._tags:
            found = self._read_tags(detail)
            with self._lock:
                self._tags[arn] = found
                if len(self._tags) > MOST_TAGS_HELD:
                    del self._tags[next(iter(self._tags))]
        return self._tags[arn]

    def _read_tags(self, detail: Detail) -> Mapping[str, str]:
        by_itself = {"prefect.io/flow-run-id": str(flow_run_id(detail))}
        try:
            described = self.conclusions.tasks.describe(detail["clusterArn"], [detail["taskArn"]])
            tags = {tag["key"]: tag["value"] for task in described for tag in task.get("tags", [])}
        except (ClientError, BotoCoreError) as error:
            logger.warning("no tags", task_arn=detail["taskArn"], error=str(error))
            return by_itself
        return {**by_itself, **tags} if told(detail, CLAIM_ENV) else tags


@cache
def _watcher() -> Watcher:
    config = settings.load()
    ecs = clients.ecs(config)
    logs = ContainerLogs(ecs, clients.logs(config))
    conclusions = Conclusions(
        prefect=clients.orchestrator(config),
        tasks=RunningTasks(lambda: ecs, config.clusters),
        relaunch_attempts=config.relaunch_attempts,
        last_words=logs.last_words if config.send_logs else lambda _: (),
    )
    return Watcher(conclusions, ecs, clients.sqs(), config.task_events_queue_url)


def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Receive a batch from ``task-events``; return the messages that must come back."""
    watcher = _watcher()
    ids = [_run_of_a_stopped_task(record["body"]) for record in event["Records"]]
    reads = Reads(watcher.conclusions.prefect, filter(None, ids))
    answer = process_partial_response(
        event=event,
        record_handler=lambda record: watcher.receive(record, reads),
        processor=MessageGroups(),
        context=context,
    )
    watcher.emit()  # where it fails all comes back: what is told twice is known by its id
    return answer


def _run_of_a_stopped_task(body: str) -> str | None:
    try:
        detail = json.loads(body)["detail"]
        return flow_run_id(detail) if detail["lastStatus"] == "STOPPED" else None
    except (ValueError, KeyError, TypeError):  # which is told when the message is handled
        return None


clients.made_at_start(_watcher)
