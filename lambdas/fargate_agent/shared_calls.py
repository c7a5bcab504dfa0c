"""One call for all threads that want its answer at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class SharedCalls:
    """Lets the runs of a batch, a thread each, share what they all read.

    They share a failure as well: with a server that hangs each of them waits once, and not for
    each of the others in turn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Any]] = {}

    def make(self, key: Hashable, call: Callable[[], Any]) -> Any:
        """Make a call, or wait for the same one that another thread is making.

        Parameters
        ----------
        key
            Tells which calls are the same.
        call
            Looks first whether it is still to be made: another thread may just have done so.
        """
        with self._lock:
            other = self._under_way.get(key)
            future: Future[Any] = other or Future()
            self._under_way[key] = future
        if other:
            return other.result()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._lock:
                del self._under_way[key]
        return future.result()
