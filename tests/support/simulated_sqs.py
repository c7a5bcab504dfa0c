"""SQS queues, FIFO and standard, by AWS's documented rules.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.support.simulated_clock import Clock
from tests.support.simulated_service import Refusal

DEDUPE_SECONDS = 300


@dataclass(slots=True, eq=False)
class Message:
    """One message, from its sending to its deletion."""

    body: str
    group: str
    sent: datetime
    visible_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receives: int = 0
    first_received: datetime | None = None
    receipt: str = ""

    def record(self) -> dict[str, Any]:
        """Return it as Lambda hands it to a function."""
        attributes = {
            "ApproximateReceiveCount": str(self.receives),
            "SentTimestamp": _milliseconds(self.sent),
            "ApproximateFirstReceiveTimestamp": _milliseconds(self.first_received or self.sent),
            **({"MessageGroupId": self.group} if self.group else {}),
        }
        return {
            "messageId": self.id,
            "receiptHandle": self.receipt,
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        }


class Queue:
    """One queue.

    Parameters
    ----------
    visibility
        So many seconds is a received message hidden.
    dead_letters
        Where a message goes that was received ``max_receives`` times.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        fifo: bool,
        visibility: int,
        max_receives: int = 0,
        dead_letters: Queue | None = None,
    ) -> None:
        self._clock = clock
        self._fifo = fifo
        self._visibility = visibility
        self._max_receives = max_receives
        self.dead_letters = dead_letters
        self.messages: list[Message] = []
        self._repeats: dict[tuple[str, str], datetime] = {}
        self._lock = threading.RLock()

    def send(self, body: str, *, group: str = "", dedupe: str = "", delay: float = 0) -> None:
        """Send a message, unless it repeats one of its group that was sent not long ago."""
        now = self._clock.now()
        with self._lock:
            before = self._repeats.get((group, dedupe))
            if self._fifo and before and (now - before).total_seconds() < DEDUPE_SECONDS:
                return
            self._repeats[group, dedupe] = now
            self.messages.append(Message(body, group, now, now + timedelta(seconds=delay)))

    def receive(self, limit: int = 10) -> list[Message]:
        """Receive messages; of a group that has one in flight none is handed out."""
        now = self._clock.now()
        received: list[Message] = []
        with self._lock:
            blocked = {m.group for m in self.messages if self._fifo and m.visible_at > now}
            for message in list(self.messages):
                if len(received) == limit:
                    break
                if message.visible_at > now or message.group in blocked:
                    continue
                if self._max_receives and message.receives >= self._max_receives:
                    self._bury(message)
                    continue
                message.receives += 1
                message.first_received = message.first_received or now
                message.receipt = f"{message.id}/{message.receives}"
                message.visible_at = now + timedelta(seconds=self._visibility)
                received.append(message)
        return received

    def _bury(self, message: Message) -> None:
        self.messages.remove(message)
        if self.dead_letters is not None:
            self.dead_letters.messages.append(message)

    def delete(self, message: Message) -> None:
        """Delete a message that was handled."""
        with self._lock:
            self.messages = [one for one in self.messages if one.id != message.id]

    def hide(self, receipt: str, seconds: float) -> None:
        """Hide a received message for so long from now."""
        with self._lock:
            for message in self.messages:
                if message.receipt == receipt:
                    message.visible_at = self._clock.now() + timedelta(seconds=seconds)
                    return
        raise Refusal("InvalidParameterValue", "The receipt handle has expired or is not valid.")

    def redrive(self) -> int:
        """Send the dead letters again, as a person does by hand; return how many there were."""
        assert self.dead_letters is not None
        buried, self.dead_letters.messages = self.dead_letters.messages, []
        for message in buried:  # each is a new message, with a new id
            self.send(message.body, group=message.group, dedupe=str(uuid.uuid4()))
        return len(buried)

    @property
    def next(self) -> datetime | None:
        """When the next message shows."""
        times = [message.visible_at for message in self.messages]
        if not self._fifo or not times:
            return min(times, default=None)
        heads: dict[str, datetime] = {}
        for message in self.messages:  # one in flight keeps its whole group back
            held = heads.get(message.group)
            heads[message.group] = max(held, message.visible_at) if held else message.visible_at
        return min(heads.values())


class SqsService:
    """What functions call of SQS."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self._queues = queues

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        queue = self._queues[asked["QueueUrl"]]
        match operation:
            case "SendMessageBatch":
                return {"Successful": list(self._send(queue, asked["Entries"]))}
            case "ChangeMessageVisibility":
                queue.hide(asked["ReceiptHandle"], asked["VisibilityTimeout"])
                return {}
        raise AssertionError(f"no function calls {operation}")

    def _send(self, queue: Queue, entries: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, str]]:
        for entry in entries:
            queue.send(
                entry["MessageBody"],
                group=entry.get("MessageGroupId", ""),
                dedupe=entry.get("MessageDeduplicationId", str(uuid.uuid4())),
                delay=entry.get("DelaySeconds", 0),
            )
            yield {"Id": entry["Id"]}


def _milliseconds(time: datetime) -> str:
    return str(int(time.timestamp() * 1000))
