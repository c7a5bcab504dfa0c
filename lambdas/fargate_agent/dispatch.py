"""The ``dispatch`` function: from a queue message to a launch, or back to the queue.

A message is acknowledged last, so a crash anywhere is healed by redelivery.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from aws_lambda_powertools.utilities.batch import process_partial_response

from fargate_agent import clients, settings
from fargate_agent.batches import MessageGroups, back_off, hide, receives
from fargate_agent.errors import DeploymentDeleted, NoSlot, NotDueYet, PermanentError
from fargate_agent.launcher import Launcher
from fargate_agent.observability import NO_METRICS, Metric, Metrics, about, logger, observed
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.orchestrators.wording import tellable
from fargate_agent.runs import FlowRun
from fargate_agent.tasks import classify

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_sqs import SQSClient

WAKE_AHEAD_SECONDS = 1.0
"""An early message shows up again this long before its run is due, and the rest is slept: the
queue counts whole seconds, and a redelivery takes its time."""

SLOT_SECONDS = 30
"""A run that found a concurrency limit full is claimed again after this."""

LONGEST_HIDE_SECONDS = 300
"""An early message shows up at least this often, for its run may have been moved meanwhile."""

DOUBTFUL_AGE_SECONDS = 60.0
"""A message older than this is checked against the run's state before anything is done."""

GAVE_UP = "Gave up after"
"""So begins what a run is told whose message goes to the dead-letter queue."""

DEDUPE_SECONDS = 240.0
"""The queue drops repeats for 5 minutes. A message that a poll sent this long after its run was
due, or that follows another poll's by as much, may be the second of its kind."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Turns each message into a launch, a deferral, a retry or a word to its run."""

    launcher: Launcher
    sqs: SQSClient
    queue_url: str
    max_receives: int
    poll_interval_seconds: int
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep
    metrics: Metrics = NO_METRICS

    def deliver(self, record: SQSRecord, reads: Reads) -> None:
        """Handle one message; returning acknowledges it.

        Raises
        ------
        NotDueYet
            The message came early; it is hidden until its run is due.
        Exception
            Anything else is worth another try; the message is hidden for a while.
        """
        try:
            run = FlowRun.from_message(record.body)
        except ValueError:
            logger.exception(
                "poison message",
                message_id=record.message_id,
                flow_run_id=record.attributes.message_group_id,
            )
            self._back_off(record)
            raise
        try:
            if run.launched_before:
                self.launcher.earlier.clear_the_way(run, reads.state(run.id))
            self._wait_until_due(run, record)
            self.launcher.launch(run, known=reads if self._doubtful(run, record) else None)
        except NotDueYet:
            raise
        except NoSlot:
            self._await_slot(run, record)
        except Exception as error:
            self._failed(run, record, classify(error))

    def _wait_until_due(self, run: FlowRun, record: SQSRecord) -> None:
        wait = (run.scheduled_time - self.now()).total_seconds()
        hidden = min(int(wait - WAKE_AHEAD_SECONDS), LONGEST_HIDE_SECONDS)
        if hidden >= 1:
            self._defer(run, record, hidden, "not due yet")
        if wait > 0:
            self.sleep(wait)

    def _await_slot(self, run: FlowRun, record: SQSRecord) -> None:
        """Put the message back, for another claim; in the end drop it, for a poll to find the run.

        Waiting for a slot is no failure, however long: the run is not told.
        """
        if receives(record) >= self.max_receives // 2:  # the rest is for failures of the launch
            logger.info("gives its place back to the poll", **about(run))
            return
        self._defer(run, record, SLOT_SECONDS, "a concurrency limit is full")

    def _defer(self, run: FlowRun, record: SQSRecord, seconds: int, reason: str) -> NoReturn:
        hide(self.sqs, self.queue_url, record, seconds)
        logger.info("deferred", **about(run), seconds=seconds, reason=reason)
        raise NotDueYet(seconds)

    def _doubtful(self, run: FlowRun, record: SQSRecord) -> bool:
        sent = int(record.attributes.sent_timestamp or 0) / 1000
        received = int(record.attributes.approximate_first_receive_timestamp or 0) / 1000
        return (
            self.launcher.orchestrator.reads_every_run
            or receives(record) > 1
            or received - sent > DOUBTFUL_AGE_SECONDS  # by one clock, that of the queue
            or sent - run.scheduled_time.timestamp() > DEDUPE_SECONDS
            or self.poll_interval_seconds > DEDUPE_SECONDS
        )

    def _failed(self, run: FlowRun, record: SQSRecord, error: Exception) -> None:
        if isinstance(error, DeploymentDeleted):
            self._end(self.launcher.orchestrator.cancelled, run, record, str(error))
            logger.info("cancelled", **about(run), reason=str(error))
            return
        if isinstance(error, PermanentError):
            self._tell(run, record, str(error))
            return
        if receives(record) >= self.max_receives:
            self._tell(run, record, f"{GAVE_UP} {receives(record)} tries: {error}")
        else:
            self.metrics.add(Metric.TRANSIENT_FAILURES)
            logger.warning("will try again", **about(run), error=tellable(str(error)))
            self._back_off(record, at_least=getattr(error, "retry_after", 0))
        raise error

    def _tell(self, run: FlowRun, record: SQSRecord, message: str) -> None:
        """Crash the run with the reason; where even that fails, the message comes back."""
        self._end(self.launcher.orchestrator.crash, run, record, message)
        self.metrics.add(Metric.PERMANENT_FAILURES)
        logger.error("failed for good", **about(run), error=tellable(message))

    def _end(
        self, end: Callable[[str, str], None], run: FlowRun, record: SQSRecord, message: str
    ) -> None:
        try:
            end(run.id, message)
        except Exception as error:
            why = f"{error}. To be told: {message}"
            logger.warning("not told yet", **about(run), error=tellable(why))
            self._back_off(record)
            raise

    def _back_off(self, record: SQSRecord, *, at_least: float = 0) -> None:
        back_off(self.sqs, self.queue_url, record, at_least=at_least)


@cache
def _deliveries() -> Deliveries:
    config = settings.load()
    metrics = Metrics.from_settings(config)
    return Deliveries(
        launcher=Launcher.from_settings(config, metrics),
        sqs=clients.sqs(),
        queue_url=config.runs_queue_url,
        max_receives=config.max_receives,
        poll_interval_seconds=config.poll_interval_seconds,
        metrics=metrics,
    )


def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Receive a batch from ``runs.fifo``; return the messages that must come back.

    Invoked by a person with ``{"validate_configuration": true}``, start a tiny task instead.
    """
    deliveries = _deliveries()
    if event.get("validate_configuration"):
        return deliveries.launcher.rehearse()
    with observed(context, deliveries.metrics):
        return _handle(event, context, deliveries)


def _handle(event: dict[str, Any], context: LambdaContext, deliveries: Deliveries) -> Any:
    ids = [record["attributes"]["MessageGroupId"] for record in event["Records"]]
    reads = Reads(deliveries.launcher.orchestrator, ids)
    answer = process_partial_response(
        event=event,
        record_handler=lambda record: deliveries.deliver(record, reads),
        processor=MessageGroups(),
        context=context,
    )
    unconfirmed = deliveries.launcher.finish()
    return _with_failures(answer, event["Records"], unconfirmed)


def _with_failures(answer: Any, records: list[dict[str, Any]], runs: list[str]) -> Any:
    """Return a batch's answer with the messages of further runs among those that must come back."""
    failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
    failed |= {r["messageId"] for r in records if r["attributes"]["MessageGroupId"] in runs}
    return {"batchItemFailures": [{"itemIdentifier": id} for id in sorted(failed)]}


clients.made_at_start(_deliveries)
