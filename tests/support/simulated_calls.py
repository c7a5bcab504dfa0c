"""The calls that functions make to the outside, one after the other, and what goes wrong with them.

A function's whole path is a list of outside calls; a plan lets any of them fail, by its number.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tests.support.simulated_clock import Clock

CALL_SECONDS = 0.05
"""So long takes a call that nothing goes wrong with."""


class Killed(BaseException):
    """The function's process is gone: no ``except Exception`` of it is ever reached."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the outside."""

    number: int
    function: str
    service: str
    """``prefect``, or botocore's name of an AWS service."""
    operation: str
    asked: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.number}: {self.function}: {self.service} {self.operation}"


@dataclass(slots=True, eq=False)
class Invocation:
    """One invocation of a function, in which its time-out or a fault may kill it."""

    function: str
    calls: OutsideCalls
    home: Any
    """The agent whose function it is."""
    deadline: datetime
    instances: Mapping[str, Any] = field(default_factory=dict)
    """What the function holds while it is warm, by its name in the function's module."""
    dead: bool = False

    def die(self) -> None:
        """Kill the function."""
        self.dead = True
        raise Killed

    def check(self) -> None:
        """Kill the function where its time is over, or it is dead in another thread."""
        if self.dead or self.calls.clock.now() > self.deadline:
            self.die()


current: ContextVar[Invocation] = ContextVar("invocation")
"""The invocation that the thread belongs to."""


class Fault(Protocol):
    """What goes wrong with a call. Either part may raise, or give the answer in its place.

    What is ``lasting`` goes wrong with every attempt that an HTTP client makes by itself.
    """

    lasting: bool

    def before(self, call: Call, invocation: Invocation) -> Any:
        """Go wrong before the call takes effect."""

    def after(self, call: Call, invocation: Invocation) -> Any:
        """Go wrong once it has taken effect."""


class OutsideCalls:
    """All calls of all functions of one world, numbered in their order.

    ``plan`` names faults by the number of the call that they hit; ``rules`` are asked of every
    call for a fault, as an outage is one.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[Call] = []
        self.plan: dict[int, Fault] = {}
        self.rules: list[Callable[[Call], Fault | None]] = []
        self.faults = 0
        """How many came to pass."""
        self.broken: list[str] = []
        """What the simulation itself failed with: a function would take it for a fault."""
        self._lock = threading.Lock()

    def make(
        self, service: str, operation: str, asked: Mapping[str, Any], effect: Callable[[], Any]
    ) -> Any:
        """Make a call of the function that this thread belongs to."""
        invocation, call, fault = self._begin(service, operation, asked)
        answer = self.meet(fault, call, invocation, effect) if fault else self._sound(effect)
        invocation.check()
        return answer

    def make_by_http(self, operation: str, request: Callable[[], Any]) -> Any:
        """Make a call of Prefect, whose client tries again by itself: see :meth:`attempt`."""
        invocation, call, fault = self._begin("prefect", operation, {})
        token = _by_http.set(_HttpCall(call, fault))
        try:
            answer = request()
        finally:
            _by_http.reset(token)
        invocation.check()
        return answer

    def attempt(self, effect: Callable[[], Any]) -> Any:
        """Make one attempt of the call that :meth:`make_by_http` makes."""
        invocation, http = current.get(), _by_http.get()
        invocation.check()
        http.attempts += 1
        if http.fault is None or (http.attempts > 1 and not http.fault.lasting):
            return self._sound(effect)
        return self.meet(http.fault, http.call, invocation, effect, count=http.attempts == 1)

    def _begin(
        self, service: str, operation: str, asked: Mapping[str, Any]
    ) -> tuple[Invocation, Call, Fault | None]:
        invocation = current.get()
        invocation.check()
        with self._lock:
            call = Call(len(self.made), invocation.function, service, operation, asked)
            self.made.append(call)
        self.clock.sleep(CALL_SECONDS)
        asked = (rule(call) for rule in self.rules)
        return invocation, call, self.plan.get(call.number) or next(filter(None, asked), None)

    def _sound(self, effect: Callable[[], Any]) -> Any:
        try:
            return effect()
        except Exception:
            self.broken.append(traceback.format_exc())
            raise

    def meet(
        self,
        fault: Fault,
        call: Call,
        invocation: Invocation,
        effect: Callable[[], Any],
        *,
        count: bool = True,
    ) -> Any:
        """Make a call that something goes wrong with."""
        if count:
            self.faults += 1
        instead = fault.before(call, invocation)
        if instead is not None:
            return instead
        answer = self._sound(effect)
        instead = fault.after(call, invocation)
        return answer if instead is None else instead


@dataclass(slots=True)
class _HttpCall:
    call: Call
    fault: Fault | None
    attempts: int = 0


_by_http: ContextVar[_HttpCall] = ContextVar("HTTP call")
