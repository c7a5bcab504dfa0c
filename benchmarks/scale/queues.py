"""The runs queue, with as many messages as one likes."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.back_pressure.runs_queue import (
    DEDUPE_SECONDS,
    VISIBILITY_SECONDS,
    Message,
    as_record,
)
from tests.faults.back_pressure.virtual_time import VirtualTime


@dataclass
class LargeQueue:
    """A FIFO queue as :class:`RunsQueue`, which finds its messages without a search.

    Parameters
    ----------
    in_flight_limit
        Beyond so many messages that are received and not deleted it hands out none.
    """

    clock: VirtualTime
    max_receives: int
    in_flight_limit: int
    sent: int = 0
    repeats: int = 0
    """Messages that were dropped as repeats."""
    dead: list[Message] = field(default_factory=list)
    receives: int = 0
    """Messages that were handed out, each time counted."""
    receive_calls: int = 0
    hidden: int = 0
    """Calls that hid a message."""
    most_receives: int = 0
    most_messages: int = 0
    most_in_flight: int = 0
    _known: dict[str, float] = field(default_factory=dict)
    _groups: dict[str, deque[Message]] = field(default_factory=dict)
    _ready: list[tuple[int, Message]] = field(default_factory=list)
    _hidden: list[tuple[float, int, Message]] = field(default_factory=list)
    _hides: Any = field(default_factory=itertools.count)
    _received: dict[str, Message] = field(default_factory=dict)
    _order: Any = field(default_factory=itertools.count)
    _length: int = 0

    def __len__(self) -> int:
        return self._length

    def send(self, entry: Mapping[str, Any]) -> None:
        """Take a message, unless it is a repeat."""
        now, repeat_of = self.clock.time(), entry["MessageDeduplicationId"]
        if now - self._known.get(repeat_of, float("-inf")) < DEDUPE_SECONDS:
            self.repeats += 1
            return
        self._known[repeat_of] = now
        number = next(self._order)
        group = entry["MessageGroupId"]
        message = Message(str(number), entry["MessageBody"], group, now, now)
        waiting = self._groups.setdefault(group, deque())
        waiting.append(message)
        if len(waiting) == 1:
            heapq.heappush(self._ready, (number, message))
        self.sent += 1
        self._length += 1
        self.most_messages = max(self.most_messages, self._length)

    def hide(self, receipt: str, seconds: int) -> None:
        """Change the visibility of a message that is being worked on."""
        if message := self._received.get(receipt):
            self.hidden += 1
            self._hide(message, seconds)

    def _hide(self, message: Message, seconds: float) -> None:
        message.visible = self.clock.time() + seconds
        heapq.heappush(self._hidden, (message.visible, next(self._hides), message))

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        """Hand out a batch, in the form of Lambda's events; what fails too often is dead."""
        now = self.clock.time()
        self._show(now)
        if not self._ready or len(self._received) >= self.in_flight_limit:
            return []
        batch: list[Message] = []
        while self._ready and len(batch) < most:
            _, message = heapq.heappop(self._ready)
            if message.receives >= self.max_receives:
                self.dead.append(message)
                self._remove(message)
                continue
            message.receives += 1
            message.first_received = message.first_received or now
            message.receipt = f"{message.id}-{message.receives}"
            self._received[message.receipt] = message
            self._hide(message, VISIBILITY_SECONDS)
            batch.append(message)
            self.most_receives = max(self.most_receives, message.receives)
        self.receives += len(batch)
        self.receive_calls += 1
        self.most_in_flight = max(self.most_in_flight, len(self._received))
        return [as_record(message) for message in batch]

    def _show(self, now: float) -> None:
        while self._hidden and self._hidden[0][0] <= now:
            at, _, message = heapq.heappop(self._hidden)
            if message.visible == at and self._received.pop(message.receipt, None):
                heapq.heappush(self._ready, (int(message.id), message))

    def delete(self, receipts: set[str]) -> None:
        """Delete messages, each unless it was received again meanwhile."""
        for receipt in receipts:
            if message := self._received.pop(receipt, None):
                self._remove(message)

    def _remove(self, message: Message) -> None:
        waiting = self._groups[message.group]
        waiting.popleft()
        self._length -= 1
        if waiting:
            heapq.heappush(self._ready, (int(waiting[0].id), waiting[0]))
        else:
            del self._groups[message.group]
