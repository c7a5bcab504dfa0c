"""Lets the functions' AWS calls fail as AWS lets them fail, which moto never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.support.recorder import Recorder


@dataclass(frozen=True, slots=True)
class _Fault:
    operation: str
    effect: Callable[[], Any]


class AwsFaults:
    """What goes wrong with the next calls of an operation, each time once.

    Faults lie above botocore's own retries: one fault is one call that failed for good.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._before: list[_Fault] = []
        self._after: list[_Fault] = []

    def refuse(
        self,
        operation: str,
        code: str,
        message: str = "no",
        *,
        times: int = 1,
        after_effect: bool = False,
    ) -> None:
        """Refuse the next calls with an error code, before or after they have taken effect."""
        error = ClientError({"Error": {"Code": code, "Message": message}}, operation)
        faults = self._after if after_effect else self._before
        faults += [_Fault(operation, _raising(error))] * times

    def answer(self, operation: str, answer: Mapping[str, Any], *, times: int = 1) -> None:
        """Give the next calls this answer, and do nothing."""
        told = (AWSResponse("", 200, {}, None), dict(answer))
        self._before += [_Fault(operation, lambda: told)] * times

    def lose(self, operation: str, *, after_effect: bool) -> None:
        """Close the connection of the next call, before or after it has taken effect."""
        error = ConnectionClosedError(endpoint_url="https://aws.test")
        (self._after if after_effect else self._before).append(_Fault(operation, _raising(error)))

    def kill(self, operation: str, *, after_effect: bool) -> None:
        """Kill the function at its next call, before or after that has taken effect."""
        # A killed function handles no exception: this one passes every "except Exception".
        faults = self._after if after_effect else self._before
        faults.append(_Fault(operation, _raising(KeyboardInterrupt())))

    def after(self, operation: str, do: Callable[[], Any]) -> None:
        """Let something happen just after the next call, before its answer arrives."""
        self._after.append(_Fault(operation, do))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the functions' calls meet the faults inside the block."""
        assert boto3.DEFAULT_SESSION is not None
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call.*.*", self._before_call)
        events.register("after-call.*.*", self._after_call)
        try:
            yield
        finally:
            events.unregister("before-call.*.*", self._before_call)
            events.unregister("after-call.*.*", self._after_call)

    def _before_call(self, model: Any, **_: Any) -> Any:
        return self._meet(self._before, model.name)

    def _after_call(self, model: Any, **_: Any) -> None:
        self._meet(self._after, model.name)

    def _meet(self, faults: list[_Fault], operation: str) -> Any:
        if not self._recorder.on:
            return None
        found = next((fault for fault in faults if fault.operation == operation), None)
        if found is None:
            return None
        faults.remove(found)
        return found.effect()


def _raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
