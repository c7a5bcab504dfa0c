"""The ``watch`` function: what ECS tells of tasks, told to Prefect.

A task that stopped is told to its run (:mod:`conclusion`), and its definition is deregistered where
that was asked. Every change of a task's state becomes a Prefect event (:mod:`task_events`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import process_partial_response

from fargate_agent import clients, settings
from fargate_agent.batches import MessageGroups, back_off
from fargate_agent.conclusion import Conclusions
from fargate_agent.container_logs import ContainerLogs
from fargate_agent.deregistration import deregister
from fargate_agent.observability import NO_METRICS, Metrics, logger, observed
from fargate_agent.orchestrators.reads import DELETED, Reads
from fargate_agent.orchestrators.wording import tellable
from fargate_agent.profiles.work_pool.tags import as_tag
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import CLAIM_ENV
from fargate_agent.task_details import Detail, flow_run_id, told
from fargate_agent.task_events import prefect_event
from fargate_agent.task_tags import TaskTags

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Watcher:
    """What the function holds while it is warm."""

    conclusions: Conclusions
    ecs: ECSClient
    sqs: SQSClient
    queue_url: str
    work_pool: str
    tags: TaskTags
    metrics: Metrics = NO_METRICS
    _events: list[dict[str, Any]] = field(default_factory=list)

    def receive(self, record: SQSRecord, reads: Reads) -> None:
        """Handle the message of one event; returning acknowledges it, after :meth:`emit`."""
        try:
            self._handle(json.loads(record.body), reads)
        except Exception as error:
            named = _named(_detail_of(record.body))
            text = tellable(str(error))
            logger.warning("will try again", message_id=record.message_id, **named, error=text)
            back_off(self.sqs, self.queue_url, record)
            raise

    def _handle(self, event: dict[str, Any], reads: Reads) -> None:
        detail = event["detail"]
        if flow_run_id(detail) is None:
            return
        if detail["lastStatus"] == "STOPPED":
            self.conclusions.conclude(detail, reads)
            deregister(self.ecs, detail)
        if self.conclusions.prefect.knows_events:
            tags = self.tags.of(detail)
            if self._is_served(tags, reads):
                self._events.append(prefect_event(event, tags))

    def _is_served(self, tags: Mapping[str, str], reads: Reads) -> bool:
        """Tell a task of the agent's pool from those of others, which are not its to tell of."""
        if "prefect.io/work-pool-name" in tags:
            return tags["prefect.io/work-pool-name"] == as_tag(self.work_pool)
        run_id = tags.get("prefect.io/flow-run-id")
        state = reads.state(run_id) if run_id else DELETED
        return state is not DELETED and state.is_served

    def emit(self) -> None:
        """Record the batch's events in Prefect, all in one call."""
        events = sorted(self._events, key=lambda event: str(event["occurred"]))
        self._events.clear()
        self.conclusions.prefect.emit(events)


@cache
def _watcher() -> Watcher:
    config = settings.load()
    ecs = clients.ecs(config)
    logs = ContainerLogs(ecs, clients.logs(config))
    tasks, metrics = RunningTasks(lambda: ecs, config.clusters), Metrics.from_settings(config)
    conclusions = Conclusions(
        prefect=clients.orchestrator(config),
        tasks=tasks,
        relaunch_attempts=config.relaunch_attempts,
        last_words=logs.last_words if config.send_logs else lambda _: (),
        metrics=metrics,
    )
    return Watcher(
        conclusions=conclusions,
        ecs=ecs,
        sqs=clients.sqs(),
        queue_url=config.task_events_queue_url,
        work_pool=config.work_pool,
        tags=TaskTags(tasks),
        metrics=metrics,
    )


def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Receive a batch from ``task-events``; return the messages that must come back."""
    watcher = _watcher()
    with observed(context, watcher.metrics):
        return _handle(event, context, watcher)


def _handle(event: dict[str, Any], context: LambdaContext, watcher: Watcher) -> Any:
    details = [d for record in event["Records"] if (d := _detail_of(record["body"]))]
    stopped = [flow_run_id(d) for d in details if d.get("lastStatus") == "STOPPED"]
    reads = Reads(watcher.conclusions.prefect, filter(None, stopped))
    if watcher.conclusions.prefect.knows_events:
        watcher.tags.learn(details)
    answer = process_partial_response(
        event=event,
        record_handler=lambda record: watcher.receive(record, reads),
        processor=MessageGroups(),
        context=context,
    )
    watcher.emit()  # where it fails all comes back: what is told twice is known by its id
    return answer


def _detail_of(body: str) -> Detail | None:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):  # which is told when the message is handled
        return None
    return detail if isinstance(detail, dict) and flow_run_id(detail) else None


def _named(detail: Detail | None) -> dict[str, Any]:
    if detail is None:
        return {}
    named = {"flow_run_id": flow_run_id(detail), "claim_id": told(detail, CLAIM_ENV)}
    return {**named, "task_arn": detail.get("taskArn")}


clients.made_at_start(_watcher)
