"""Threads in virtual time: the clock moves only when every thread waits.

One thread runs at a time and hands on only where it sleeps or waits for another, so that hours
pass in seconds and the same seed gives the same course. What is made of ``threading`` and
``queue`` inside :meth:`VirtualTime.installed` waits in virtual time too: the locks of botocore's
rate limiter, thread pools, futures.
"""

from __future__ import annotations

import _thread
import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from unittest import mock

from tests.faults.back_pressure.virtual_threading import (
    VirtualCondition,
    VirtualLock,
    VirtualRLock,
    VirtualThread,
)

TICK_SECONDS = 1e-6
"""No wait is shorter: a clock of floats would stand still, and who waits in a loop for ever."""


class _Ended(BaseException):
    """Raised in threads that still wait when the main thread is done."""


class Deadlock(AssertionError):
    """Every thread waits for another."""


@dataclass(eq=False)
class Waiter:
    """A thread, which runs while ``go`` is released to it."""

    go: Any = field(default_factory=_thread.allocate_lock)
    woken: bool = False
    done: bool = False
    joining: list[Waiter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.go.acquire()


class VirtualTime:
    """A clock and the threads that live by it.

    Parameters
    ----------
    start
        What the clock shows at first.
    """

    def __init__(self, start: datetime) -> None:
        self.start = start.timestamp()
        self._now = self.start
        self._order = itertools.count()
        self._ready: deque[Waiter] = deque()
        self._waiting: list[tuple[float, int, Waiter]] = []
        self._current = self._main = Waiter()
        self._tasks: list[Waiter] = []
        self._error: BaseException | None = None
        self._ending = False

    # -- the clock

    def time(self) -> float:
        """Return seconds, as :func:`time.time`."""
        return self._now

    @property
    def elapsed(self) -> float:
        """How many seconds have passed."""
        return self._now - self.start

    def now(self) -> datetime:
        """Return the time as an aware datetime."""
        return datetime.fromtimestamp(self._now, UTC)

    def sleep(self, seconds: float) -> None:
        """Wait, and let the others run meanwhile."""
        self.wait(max(seconds, 0.0))

    # -- threads

    def spawn(self, run: Callable[[], Any]) -> Waiter:
        """Start a thread; an error in it is raised in the main thread."""
        task = Waiter()

        def body() -> None:
            task.go.acquire()
            try:
                if not self._ending:
                    run()
            except _Ended:
                pass
            except BaseException as error:
                self._fail(error)
            task.done = True
            for other in task.joining:
                self.make_ready(other)
            self._hand_on()

        _thread.start_new_thread(body, ())
        self._tasks.append(task)
        self.make_ready(task)
        return task

    def _fail(self, error: BaseException) -> None:
        if self._error is None and not self._ending:
            self._error = error
            self._ready.clear()
            self.make_ready(self._main)

    def join(self, task: Waiter, timeout: float | None = None) -> None:
        """Wait until a thread has ended."""
        if not task.done:
            task.joining.append(self._current)
            self.wait(timeout)

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Make time virtual inside the block, for what is made there; then end all threads."""

        def of(kind: type) -> Callable[..., Any]:
            return lambda *given, **options: kind(self, *given, **options)

        patches = [
            mock.patch.object(time, "time", self.time),
            mock.patch.object(time, "monotonic", self.time),
            mock.patch.object(time, "sleep", self.sleep),
            mock.patch.object(threading, "_time", self.time),
            mock.patch.object(queue, "time", self.time),
            mock.patch.object(threading, "Lock", of(VirtualLock)),
            mock.patch.object(threading, "RLock", of(VirtualRLock)),
            mock.patch.object(threading, "Condition", of(VirtualCondition)),
            mock.patch.object(threading, "Thread", of(VirtualThread)),
            mock.patch.object(queue, "SimpleQueue", queue.Queue),
        ]
        for patch in patches:
            patch.start()
        try:
            yield self
        finally:
            self._end()
            for patch in reversed(patches):
                patch.stop()

    def _end(self) -> None:
        """Raise :class:`_Ended` in each thread that still waits, one after the other."""
        self._ending = True
        for task in self._tasks:
            if not task.done:
                self._ready = deque([self._main])  # to which it hands on when it is through
                self._current = task
                task.go.release()
                self._main.go.acquire()
                self._current = self._main

    # -- how they wait

    def wait(self, timeout: float | None) -> bool:
        """Wait to be made ready, or for so long; tell which it was."""
        me = self._current
        me.woken = False
        if timeout is not None:
            until = self._now + (timeout and max(timeout, TICK_SECONDS))
            heapq.heappush(self._waiting, (until, next(self._order), me))
        self._hand_on()
        me.go.acquire()
        self._current = me
        if me is self._main and self._error:
            raise self._error
        if self._ending and me is not self._main:
            raise _Ended
        return me.woken

    def make_ready(self, task: Waiter) -> None:
        self._waiting = [entry for entry in self._waiting if entry[2] is not task]
        heapq.heapify(self._waiting)
        task.woken = True
        self._ready.append(task)

    def _hand_on(self) -> None:
        if self._ready:
            following = self._ready.popleft()
        elif self._waiting:
            self._now, _, following = heapq.heappop(self._waiting)
        else:
            self._error = self._error or Deadlock("every thread waits for another")
            following = self._main
        self._current = following
        following.go.release()

    @property
    def current(self) -> Any:
        """The thread that runs now."""
        return self._current
