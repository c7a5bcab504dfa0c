"""Time in a simulated world: it passes only where somebody waits, and things have their order."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """A clock, and the agenda of what is to happen at which time."""

    def __init__(self) -> None:
        self._time = START
        self._lock = threading.Lock()
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """Tell the time."""
        return self._time

    def seconds(self) -> float:
        """Tell the time as seconds, for clocks that only count."""
        return self._time.timestamp()

    def sleep(self, seconds: float) -> None:
        """Let time pass; what is on the agenda meanwhile happens late."""
        with self._lock:
            self._time += timedelta(seconds=max(seconds, 0))

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Put something on the agenda."""
        due = self._time + timedelta(seconds=seconds)
        with self._lock:
            heapq.heappush(self._agenda, (due, next(self._order), do))

    @property
    def next(self) -> datetime | None:
        """When the next thing on the agenda is due."""
        return self._agenda[0][0] if self._agenda else None

    def advance(self, to: datetime) -> None:
        """Go to a time, which may be in the past already, and do what is due."""
        self._time = max(self._time, to)
        while self._agenda and self._agenda[0][0] <= self._time:
            with self._lock:
                _, _, do = heapq.heappop(self._agenda)
            do()


class SkewedClock:
    """The clock of a machine that is some seconds ahead of the world's, or behind it."""

    def __init__(self, clock: Clock, ahead: float = 0) -> None:
        self.clock = clock
        self.ahead = ahead

    def now(self) -> datetime:
        """Tell the time as the machine has it."""
        return self.clock.now() + timedelta(seconds=self.ahead)

    @property
    def as_module(self) -> SimpleNamespace:
        """What stands in for the module ``time`` in a module that uses it."""
        return SimpleNamespace(
            sleep=self.clock.sleep,
            monotonic=self.clock.seconds,
            time=lambda: self.now().timestamp(),
        )
