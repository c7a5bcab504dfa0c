"""Threads that want the same at the same time ask once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fargate_agent.shared_calls import SharedCalls


class Slow:
    """A call that ends when all others have come to wait for it, or been made."""

    def __init__(self, result: str | Exception) -> None:
        self.made = 0
        self.started, self.may_end = threading.Event(), threading.Event()
        self._result = result

    def __call__(self) -> str:
        self.made += 1
        self.started.set()
        assert self.may_end.wait(10)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def test_what_is_under_way_is_waited_for():
    calls, slow = SharedCalls(), Slow("answer")
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(calls.make, "pool", slow)
        assert slow.started.wait(10)
        others = [threads.submit(calls.make, "pool", slow) for _ in range(3)]
        assert calls.make("other", lambda: "at once") == "at once"
        slow.may_end.set()
        assert {f.result(10) for f in (first, *others)} == {"answer"}


def test_a_failure_is_shared_and_not_kept():
    calls, slow = SharedCalls(), Slow(TimeoutError("no answer"))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(calls.make, "pool", slow)
        assert slow.started.wait(10)
        slow.may_end.set()
        with pytest.raises(TimeoutError):
            first.result(10)

    assert calls.make("pool", lambda: "answer") == "answer"
