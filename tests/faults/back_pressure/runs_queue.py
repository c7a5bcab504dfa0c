"""The runs queue as SQS has it, and what Lambda's event source mapping takes from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.back_pressure.virtual_time import VirtualTime

VISIBILITY_SECONDS, DEDUPE_SECONDS = 120, 300


@dataclass(eq=False)
class Message:
    """A message, from when it was sent until it is deleted."""

    id: str
    body: str
    group: str
    sent: float
    visible: float
    receives: int = 0
    first_received: float = 0.0
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class BackOff:
    """One time that a message was hidden after it was received."""

    receives: int
    seconds: int


@dataclass
class RunsQueue:
    """A FIFO queue whose messages are each of a group of their own, or wait for their group.

    Parameters
    ----------
    max_receives
        A message that was received so often is a dead letter.
    """

    clock: VirtualTime
    max_receives: int
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    back_offs: list[BackOff] = field(default_factory=list)
    most_receives: int = 0
    _known: dict[str, float] = field(default_factory=dict)
    _ids: Any = field(default_factory=itertools.count)

    def send(self, entry: Mapping[str, Any]) -> None:
        """Take a message, unless it is a repeat."""
        now, repeat_of = self.clock.time(), entry["MessageDeduplicationId"]
        if now - self._known.get(repeat_of, float("-inf")) < DEDUPE_SECONDS:
            return
        self._known[repeat_of] = now
        message = Message(
            f"m{next(self._ids)}", entry["MessageBody"], entry["MessageGroupId"], now, now
        )
        self.messages.append(message)

    def hide(self, receipt: str, seconds: int) -> None:
        """Change the visibility of a message that is being worked on."""
        for message in self.messages:
            if message.receipt == receipt:
                message.visible = self.clock.time() + seconds
                self.back_offs.append(BackOff(message.receives, seconds))

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        """Hand out a batch, in the form of Lambda's events; what fails too often is dead."""
        now = self.clock.time()
        groups_at_work = {message.group for message in self.messages if message.visible > now}
        batch: list[Message] = []
        for message in list(self.messages):
            if len(batch) == most:
                break
            if message.group in groups_at_work:
                continue
            if message.receives >= self.max_receives:
                self.messages.remove(message)
                self.dead.append(message)
                continue
            message.receives += 1
            message.first_received = message.first_received or now
            message.receipt = f"{message.id}-{message.receives}"
            message.visible = now + VISIBILITY_SECONDS
            batch.append(message)
            self.most_receives = max(self.most_receives, message.receives)
        return [as_record(message) for message in batch]

    def delete(self, receipts: set[str]) -> None:
        """Delete messages, each unless it was received again meanwhile."""
        self.messages = [m for m in self.messages if m.receipt not in receipts]


def as_record(message: Message) -> dict[str, Any]:
    """Return a message in the form of Lambda's events."""
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": {
            "MessageGroupId": message.group,
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }
