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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self
from unittest import mock

TICK_SECONDS = 1e-6
"""No wait is shorter: a clock of floats would stand still, and who waits in a loop for ever."""


class _Ended(BaseException):
    """Raised in threads that still wait when the main thread is done."""


class Deadlock(AssertionError):
    """Every thread waits for another."""


@dataclass(eq=False)
class _Task:
    """A thread, which runs while ``go`` is released to it."""

    go: Any = field(default_factory=_thread.allocate_lock)
    woken: bool = False
    done: bool = False
    joining: list[_Task] = field(default_factory=list)

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
        self._ready: deque[_Task] = deque()
        self._waiting: list[tuple[float, int, _Task]] = []
        self._current = self._main = _Task()
        self._tasks: list[_Task] = []
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
        self._wait(max(seconds, 0.0))

    # -- threads

    def spawn(self, run: Callable[[], Any]) -> _Task:
        """Start a thread; an error in it is raised in the main thread."""
        task = _Task()

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
                self._make_ready(other)
            self._hand_on()

        _thread.start_new_thread(body, ())
        self._tasks.append(task)
        self._make_ready(task)
        return task

    def _fail(self, error: BaseException) -> None:
        if self._error is None and not self._ending:
            self._error = error
            self._ready.clear()
            self._make_ready(self._main)

    def join(self, task: _Task, timeout: float | None = None) -> None:
        """Wait until a thread has ended."""
        if not task.done:
            task.joining.append(self._current)
            self._wait(timeout)

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
            mock.patch.object(threading, "Lock", of(_Lock)),
            mock.patch.object(threading, "RLock", of(_RLock)),
            mock.patch.object(threading, "Condition", of(_Condition)),
            mock.patch.object(threading, "Thread", of(_Thread)),
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

    def _wait(self, timeout: float | None) -> bool:
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

    def _make_ready(self, task: _Task) -> None:
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


class _Lock:
    """As :class:`threading.Lock`."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self._holder: _Task | None = None
        self._waiting: deque[_Task] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while self._holder is not None:
            if not blocking:
                return False
            me = self._clock.current
            self._waiting.append(me)
            if not self._clock._wait(None if timeout < 0 else timeout):
                self._waiting.remove(me)
                return False
        self._holder = self._clock.current
        return True

    def release(self) -> None:
        if self._holder is None:
            raise RuntimeError("release unlocked lock")
        self._holder = None
        if self._waiting:
            self._clock._make_ready(self._waiting.popleft())

    def locked(self) -> bool:
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _RLock(_Lock):
    """As :class:`threading.RLock`."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__(clock)
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._holder is not self._clock.current and not super().acquire(blocking, timeout):
            return False
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            super().release()


class _Condition:
    """As :class:`threading.Condition`."""

    def __init__(self, clock: VirtualTime, lock: Any = None) -> None:
        self._clock = clock
        self._lock = lock or _RLock(clock)
        self._waiting: deque[_Task] = deque()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *given: object) -> None:
        self._lock.__exit__(*given)

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None and timeout <= 0:
            return False
        me = self._clock.current
        self._waiting.append(me)
        self._lock.release()
        try:
            woken = self._clock._wait(timeout)
            if not woken:
                self._waiting.remove(me)
        finally:
            self._lock.acquire()
        return woken

    def wait_for(self, met: Callable[[], Any], timeout: float | None = None) -> Any:
        end = None if timeout is None else self._clock.time() + timeout
        while not (found := met()):
            left = None if end is None else end - self._clock.time()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiting))):
            self._clock._make_ready(self._waiting.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


class _Thread:
    """As :class:`threading.Thread`, as far as a thread pool needs it."""

    def __init__(
        self,
        clock: VirtualTime,
        *,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        name: str | None = None,
        daemon: bool | None = None,
    ) -> None:
        self._clock = clock
        self._run = partial(target, *args)
        self.name, self.daemon = name, daemon
        self._task: _Task | None = None

    def start(self) -> None:
        self._task = self._clock.spawn(self._run)

    def join(self, timeout: float | None = None) -> None:
        assert self._task
        self._clock.join(self._task, timeout)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done
