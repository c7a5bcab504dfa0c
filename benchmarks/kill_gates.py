"""Where who launches runs is killed: just before a call of its takes effect, or just after.

All runs of a trial are brought to that point: the calls of the kind are held until each run's has
come, or no more come. Then it is done to them, and none of the calls is answered.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Answer = TypeVar("Answer")

COME_SECONDS = 90
"""The first of the calls must come within this; a worker takes its time to start."""

GATHER_SECONDS = 4
"""The others may come so much later: those who call do not wait for an answer for ever."""


class Dropped(Exception):
    """The connection is closed without an answer."""


class Gate:
    """Holds the calls that a pattern is found in, of the runs that go by these marks.

    Parameters
    ----------
    after
        The calls take effect before they are held.
    act
        What is then done, once.
    drops
        None of the calls is answered, for who made them is dead.
    """

    def __init__(
        self,
        pattern: str,
        marks: Iterable[Iterable[str]],
        act: Callable[[], None],
        *,
        after: bool = False,
        drops: bool = True,
    ) -> None:
        self._pattern = re.compile(pattern)
        self._marks = [tuple(mark) for mark in marks]
        self._act = act
        self._after = after
        self._drops = drops
        self._held: set[int] = set()
        self._condition = threading.Condition()
        self._last_came = float("inf")
        self.is_open = False

    def run(self, text: str, effect: Callable[[], Answer]) -> Answer:
        """Let a call take effect, now or later or never."""
        found = self._runs_in(text)
        if self.is_open or not found:
            return effect()
        answer = effect() if self._after else None
        with self._condition:
            self._held |= found
            self._last_came = time.monotonic()
            self._condition.notify_all()
            self._condition.wait_for(lambda: self.is_open)
        if self._drops:
            raise Dropped
        return effect() if answer is None else answer

    def _runs_in(self, text: str) -> set[int]:
        if not self._pattern.search(text):
            return set()
        return {i for i, mark in enumerate(self._marks) if any(name in text for name in mark)}

    def wait(self) -> int:
        """Wait for the calls, act, and open; return how many runs had come to the point."""
        deadline = time.monotonic() + COME_SECONDS
        with self._condition:
            while len(self._held) < len(self._marks):
                left = min(deadline, self._last_came + GATHER_SECONDS) - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            self._act()
            self.is_open = True
            self._condition.notify_all()
            return len(self._held)


class Gates:
    """The gate of the moment, which both what plays AWS and what stands before Prefect ask."""

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.polls = 0
        """How often due runs were asked for."""

    def run(self, text: str, effect: Callable[[], Answer]) -> Answer:
        """Let a call take effect as the gate says; see :class:`Gate`."""
        self.polls += "get_scheduled_flow_runs" in text
        return self.gate.run(text, effect) if self.gate else effect()
