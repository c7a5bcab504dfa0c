"""The ``poll`` function: asks the orchestrator for runs that come due, and enqueues each.

The schedule invokes it every minute. For a shorter interval that invocation sends itself delayed
messages, ticks, which invoke it in between: waiting in the queue costs nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from fargate_agent import clients, settings, url
from fargate_agent.cancellation import Cancellations
from fargate_agent.conclusion import Conclusions
from fargate_agent.observability import NO_METRICS, Metric, Metrics, about, logger, observed
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.reconciliation import Reconciliation
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import FlowRun
from fargate_agent.settings import Settings
from fargate_agent.upkeep import Upkeep

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

SCHEDULE_SECONDS = 60
"""The schedule's own interval, the shortest that EventBridge has."""

MARGIN_SECONDS = 60
"""Runs due this long after the next poll are enqueued too: EventBridge Scheduler keeps to the
minute, not to the second, and a poll may fail. What comes early waits in the queue."""

BATCH_SIZE = 10
"""SQS takes at most so many messages in one call."""

SEND_ATTEMPTS = 3

REPEAT_SECONDS = 240
"""The queue drops repeats for 5 minutes: what was sent so lately is not sent again. Most runs are
found by several polls until they are due."""

BACKLOG_SECONDS = 40
"""A backlog is followed for this long at most, well within the function's time-out."""


UPKEEP_UNTIL_SECONDS = 45
"""So long after its beginning an invocation takes up another run to cancel or to heal."""


class NotAllSent(Exception):
    """SQS kept refusing some messages. Their runs are still scheduled: the next poll finds them."""


@dataclass(frozen=True, slots=True)
class Poller:
    """What the function holds while it is warm."""

    settings: Settings
    prefect: Orchestrator
    sqs: SQSClient
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep
    metrics: Metrics = NO_METRICS
    _sent: dict[str, datetime] = field(default_factory=dict)
    """When each claim was sent that a poll found lately."""

    def send_ticks(self) -> None:
        """Send the polls between this scheduled one and the next, as delayed messages."""
        queue = self.settings.ticks_queue_url
        if queue is None:
            return
        interval = self.settings.poll_interval_seconds
        delays = range(interval, SCHEDULE_SECONDS, interval)
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(delay), "MessageBody": json.dumps({"tick": delay}), "DelaySeconds": delay}
            for delay in delays
        ]
        self._send(queue, entries)

    def poll(self) -> int:
        """Enqueue every run that is due before the next poll, and return how many were found.

        A backlog that one sweep does not see to its end, as hundreds of runs due at one instant,
        shows once the first of them are claimed: so it is swept until the next poll takes over.
        """
        interval = self.settings.poll_interval_seconds
        self._heartbeat(interval)
        started = self.now()
        horizon = started + timedelta(seconds=interval + MARGIN_SECONDS)
        patience = timedelta(seconds=min(interval, BACKLOG_SECONDS))
        seen: set[str] = set()
        found, progress = 0, started
        until = started + patience
        while not self._sweep(horizon, seen, until) and self.now() < until:
            if len(seen) > found:
                found, progress = len(seen), self.now()
            elif self.now() - progress >= patience / 2:
                break  # what is in the way waits for longer, as for a slot of a concurrency limit
            self.sleep(1)
        for claim in [claim for claim in self._sent if claim not in seen]:
            del self._sent[claim]
        if seen:  # an idle agent writes nothing, for every line is paid for
            logger.info("polled", found=len(seen), horizon=horizon.isoformat())
        return len(seen)

    def _sweep(self, horizon: datetime, seen: set[str], until: datetime) -> bool:
        """Enqueue what is due and not yet ``seen``; tell whether that was all there is.

        Of thousands of runs those that are due first are enqueued ``until`` then, which keeps ECS
        busy; the next poll goes on with them.
        """
        after: datetime | None = None
        while True:
            page = self.prefect.due_runs(horizon, after=after)
            self._enqueue_once(r for r in self._within_limits(page.runs) if r.claim_id not in seen)
            seen |= {run.claim_id for run in page.runs}
            if not page.full:
                return True
            if page.resume_after is None:  # the next show once some of these are claimed
                return all(run.scheduled_time > self._next_poll() for run in page.runs)
            if self.now() >= until:
                return False
            after = page.resume_after

    def _enqueue_once(self, runs: Iterable[FlowRun]) -> None:
        """Send those runs that were not sent lately, and tell of those that never were."""
        now = self.now()
        lately = now - timedelta(seconds=REPEAT_SECONDS)
        unsent = [r for r in runs if self._sent.get(r.claim_id, lately) <= lately]
        self._enqueue(unsent)
        for run in unsent:
            if run.claim_id not in self._sent:
                self.metrics.add(Metric.RUNS_ENQUEUED)
                logger.info("enqueued", **about(run), due=run.scheduled_time.isoformat())
            self._sent[run.claim_id] = now

    def _next_poll(self) -> datetime:
        return self.now() + timedelta(seconds=self.settings.poll_interval_seconds)

    def _within_limits(self, page: Sequence[FlowRun]) -> list[FlowRun]:
        """Leave for a later poll what is due later, where a concurrency limit applies.

        The server counts a run only from its claim on: what waits in the queue would take no slot,
        and the next poll be given another run for it.
        """
        now = self.now()
        ahead = {run.work_queue_id for run in page if run.scheduled_time > now}
        limited = self.prefect.limited_queues() if ahead else frozenset()
        return [r for r in page if r.scheduled_time <= now or r.work_queue_id not in limited]

    def _heartbeat(self, interval: int) -> None:
        try:
            self.prefect.heartbeat(interval)
        except ApiError as error:
            # It shows the agent online, no more: no run waits for it.
            logger.warning("no heartbeat", error=str(error))

    def enqueue_again(self, runs: Iterable[FlowRun]) -> None:
        """Send messages of which the queue would drop a repeat; of each run one an hour at most."""
        self._enqueue(runs, suffix=f"-{self.now():%Y%m%d%H}")

    def _enqueue(self, runs: Iterable[FlowRun], *, suffix: str = "") -> None:
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": run.claim_id,
                "MessageBody": run.to_message(),
                "MessageGroupId": run.id,
                "MessageDeduplicationId": run.claim_id + suffix,
            }
            for run in runs
        ]
        self._send(self.settings.runs_queue_url, entries)

    def _send(self, queue_url: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        unsent = 0
        for start in range(0, len(entries), BATCH_SIZE):
            unsent += len(self._send_batch(queue_url, entries[start : start + BATCH_SIZE]))
        if unsent:
            raise NotAllSent(f"{unsent} of {len(entries)} messages were not sent")

    def _send_batch(
        self, queue_url: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]
    ) -> list[SendMessageBatchRequestEntryTypeDef]:
        """Send one batch and return what SQS refused to the last."""
        left = list(entries)
        for attempt in range(SEND_ATTEMPTS):
            if attempt:
                self.sleep(0.2 * 2**attempt)
            answer = self.sqs.send_message_batch(QueueUrl=queue_url, Entries=left)
            refused = {failure["Id"]: failure for failure in answer.get("Failed", [])}
            runs = {entry["Id"]: entry.get("MessageGroupId") for entry in left}
            for id, failure in refused.items():
                named: dict[str, Any] = {"flow_run_id": runs[id], "claim_id": id}
                logger.warning("message refused", **named, code=failure["Code"])
            left = [entry for entry in left if entry["Id"] in refused]
            if not left or all(failure["SenderFault"] for failure in refused.values()):
                break
        return left


@cache
def _poller() -> Poller:
    config = settings.load()
    return Poller(
        settings=config,
        prefect=clients.orchestrator(config),
        sqs=clients.sqs(),
        metrics=Metrics.from_settings(config),
    )


@cache
def _upkeep() -> Upkeep:
    """Make what ends and heals runs, which an idle agent needs not: its clients are made late."""
    config, poller = settings.load(), _poller()
    tasks = RunningTasks(lambda: clients.ecs(config), config.clusters)
    conclusions = Conclusions(
        prefect=poller.prefect,
        tasks=tasks,
        relaunch_attempts=config.relaunch_attempts,
        metrics=poller.metrics,
    )
    return Upkeep(
        Cancellations(poller.prefect, tasks, poller.now),
        Reconciliation(conclusions, tasks, poller.enqueue_again, poller.now),
    )


@cache
def _secret() -> url.SharedSecret:
    return url.SharedSecret(clients.secrets_manager, settings.load().url_secret)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Poll once. Invoked by the schedule (which sends the ticks), the ticks queue, and the URL."""
    poller = _poller()
    with observed(context, poller.metrics):
        return _handle(event, poller)


def _handle(event: dict[str, Any], poller: Poller) -> dict[str, Any]:
    if url.is_request(event):
        return url.respond(event, _secret(), _poke if poller.settings.enabled else None)
    if "Records" in event:
        return {"found": poller.poll()}
    until = time.monotonic() + UPKEEP_UNTIL_SECONDS
    try:
        poller.send_ticks()
    finally:
        try:
            found = poller.poll()
        finally:
            _upkeep().tend(until=until)
    return {"found": found}


def _poke() -> int:
    until = time.monotonic() + UPKEEP_UNTIL_SECONDS
    try:
        return _poller().poll()
    finally:
        _upkeep().cancel(until=until)


clients.made_at_start(_poller)
