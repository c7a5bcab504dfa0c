"""Works through a batch of queue messages: groups side by side, each group in its order."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from mypy_boto3_sqs import SQSClient

MAX_BACKOFF_SECONDS = 300


class MessageGroups(BatchProcessor):
    """A batch processor that fails, in each message group, all that follows the first failure.

    Powertools' own FIFO processor does so too, but one message after the other: ten runs that
    are due at once would start seconds apart. Groups are independent, so each has a thread.
    """

    def __init__(self) -> None:
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=False)

    def process(self) -> list[tuple[Any, ...]]:
        """Process all records; see :meth:`BatchProcessor.process`."""
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.records:
            attributes = record["attributes"]
            groups[attributes.get("MessageGroupId", record["messageId"])].append(record)
        with ThreadPoolExecutor(max_workers=max(len(groups), 1)) as threads:
            return [result for done in threads.map(self._group, groups.values()) for result in done]

    def _group(self, records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        results: list[tuple[Any, ...]] = []
        for record in records:
            if results and results[-1][0] == "fail":
                failed = self._to_batch_type(record, event_type=self.event_type)
                results.append(self.failure_handler(failed, _follows_a_failure()))
            else:
                results.append(self._process_record(record))
        return results


def _follows_a_failure() -> tuple[Any, Any, Any]:
    error = RuntimeError("an earlier message of this group failed")
    return type(error), error, None


def hide(sqs: SQSClient, queue_url: str, record: SQSRecord, seconds: int) -> None:
    """Keep a message from being received again for so many seconds (at most 12 hours)."""
    sqs.change_message_visibility(
        QueueUrl=queue_url,
        ReceiptHandle=record.receipt_handle,
        VisibilityTimeout=min(seconds, 43_200),
    )


def receives(record: SQSRecord) -> int:
    """Return how often a message was received, this time included."""
    return int(record.attributes.approximate_receive_count or 1)


def back_off(sqs: SQSClient, queue_url: str, record: SQSRecord, *, at_least: float = 0) -> None:
    """Hide a message that failed, the longer the more often it did."""
    seconds = max(backoff_seconds(receives(record)), math.ceil(at_least))
    hide(sqs, queue_url, record, seconds)


def backoff_seconds(
    receives: int, *, jitter: Callable[[float, float], float] = random.uniform
) -> int:
    """Choose how long a failed message waits: exponential, with full jitter above half.

    Parameters
    ----------
    receives
        How often the message was received, this time included.
    """
    ceiling = min(2.0 ** min(receives, 16), MAX_BACKOFF_SECONDS)
    return max(1, round(jitter(ceiling / 2, ceiling)))
