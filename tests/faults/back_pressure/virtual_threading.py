"""As ``threading`` has them, in virtual time: locks, conditions and threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.back_pressure.virtual_time import VirtualTime, Waiter


class VirtualLock:
    """As :class:`threading.Lock`."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self._holder: Waiter | None = None
        self._waiting: deque[Waiter] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while self._holder is not None:
            if not blocking:
                return False
            me = self._clock.current
            self._waiting.append(me)
            if not self._clock.wait(None if timeout < 0 else timeout):
                self._waiting.remove(me)
                return False
        self._holder = self._clock.current
        return True

    def release(self) -> None:
        if self._holder is None:
            raise RuntimeError("release unlocked lock")
        self._holder = None
        if self._waiting:
            self._clock.make_ready(self._waiting.popleft())

    def locked(self) -> bool:
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class VirtualRLock(VirtualLock):
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


class VirtualCondition:
    """As :class:`threading.Condition`."""

    def __init__(self, clock: VirtualTime, lock: Any = None) -> None:
        self._clock = clock
        self._lock = lock or VirtualRLock(clock)
        self._waiting: deque[Waiter] = deque()
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
            woken = self._clock.wait(timeout)
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
            self._clock.make_ready(self._waiting.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


class VirtualThread:
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
        self._task: Waiter | None = None

    def start(self) -> None:
        self._task = self._clock.spawn(self._run)

    def join(self, timeout: float | None = None) -> None:
        assert self._task
        self._clock.join(self._task, timeout)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done
