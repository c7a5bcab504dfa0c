"""The three functions of one agent, invoked as Lambda invokes them and wired by their own code.

Only time is not theirs: they tell and spend the simulated world's.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import urllib3.util.retry

from fargate_agent import batches, dispatch, poll, settings, watch
from fargate_agent.observability import logger
from fargate_agent.orchestrators import graphql
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import TaskDefinitions
from tests.support import simulated_http, simulated_service
from tests.support.simulated_calls import Invocation, Killed, OutsideCalls, current
from tests.support.simulated_clock import SkewedClock
from tests.support.simulated_sqs import Message, Queue

TIMEOUTS = {"poll": 55, "dispatch": 90, "watch": 60}
VISIBILITY, MAX_RECEIVES = 120, 200
CONTEXT: Any = SimpleNamespace(function_name="test", aws_request_id="test")

_HANDLERS: Mapping[str, Callable[..., Any]] = {
    "poll": poll.handler,
    "dispatch": dispatch.handler,
    "watch": watch.handler,
}
_FACTORIES: Mapping[str, Callable[[], Any]] = {
    "_poller": poll._poller.__wrapped__,
    "_upkeep": poll._upkeep.__wrapped__,
    "_deliveries": dispatch._deliveries.__wrapped__,
    "_watcher": watch._watcher.__wrapped__,
}
_MODULE_OF = {"_poller": poll, "_upkeep": poll, "_deliveries": dispatch, "_watcher": watch}


class Agent:
    """One deployed agent.

    Parameters
    ----------
    given
        Its settings, as its functions load them.
    services
        The AWS services that it calls, by botocore's names.
    prefect
        The server's ``answer`` is asked by it.
    queues
        By the addresses that its settings name.
    """

    def __init__(
        self,
        given: Settings,
        calls: OutsideCalls,
        clock: SkewedClock,
        *,
        services: Mapping[str, simulated_service.Service],
        prefect: Any,
        queues: Mapping[str, Queue],
    ) -> None:
        self.settings = given
        self.calls = calls
        self.clock = clock
        self.services = services
        self.prefect = prefect
        self.queues = queues
        self.next_poll = calls.clock.now()
        self._warm: dict[str, dict[str, Any]] = {name: {} for name in _HANDLERS}
        self.deletes = True
        """Whether the event source mapping deletes what was handled; else it comes back."""

    @property
    def runs(self) -> Queue:
        """The queue of runs."""
        return self.queues[self.settings.runs_queue_url]

    @property
    def task_events(self) -> Queue:
        """The queue of task events."""
        return self.queues[self.settings.task_events_queue_url]

    @property
    def ticks(self) -> Queue | None:
        """The queue of polls between the scheduled ones, where there is one."""
        url = self.settings.ticks_queue_url
        return self.queues[url] if url else None

    # -- invocations

    def cold_start(self, function: str | None = None) -> None:
        """Forget what a function holds, or all of them."""
        for name in [function] if function else list(self._warm):
            self._warm[name] = {}

    def poll(self) -> bool:
        """Invoke ``poll`` as the schedule does; tell whether it ended well."""
        interval = max(poll.SCHEDULE_SECONDS, self.settings.poll_interval_seconds)
        self.next_poll = max(self.next_poll, self.calls.clock.now()) + timedelta(seconds=interval)
        return self.invoke("poll", {}) is not None

    def receive(self) -> bool:
        """Hand each queue's next messages to its function; tell whether there were any."""
        found = [
            self._hand_on(self.ticks, "poll") if self.ticks else False,
            self._hand_on(self.runs, "dispatch"),
            self._hand_on(self.task_events, "watch"),
        ]
        return any(found)

    def _hand_on(self, queue: Queue, function: str) -> bool:
        messages = queue.receive()
        if messages:
            self.deliver(function, queue, messages)
        return bool(messages)

    def deliver(
        self, function: str, queue: Queue, messages: Sequence[Message], *, fresh: bool = False
    ) -> None:
        """Deliver a batch, and delete what was handled, as an event source mapping does.

        Parameters
        ----------
        fresh
            To another instance of the function, which has just started.
        """
        answer = self.invoke(function, {"Records": [m.record() for m in messages]}, fresh=fresh)
        if answer is None:  # all come back when their visibility time-out is over
            return
        failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", [])}
        for message in messages:
            if message.id not in failed and self.deletes:
                queue.delete(message)

    def invoke(self, function: str, event: dict[str, Any], *, fresh: bool = False) -> Any:
        """Invoke a function; the answer of one that is killed or raises is None.

        While another invocation is under way, which this one comes upon, it has an instance to
        itself.
        """
        fresh = fresh or current.get(None) is not None
        deadline = self.calls.clock.now() + timedelta(seconds=TIMEOUTS[function])
        instances = {} if fresh else self._warm[function]
        invocation = Invocation(function, self.calls, self, deadline, instances)
        token = current.set(invocation)
        try:
            return _HANDLERS[function](event, CONTEXT)
        except Killed:
            if not fresh:
                self.cold_start(function)
            return None
        except Exception:
            return None  # Lambda keeps the instance
        finally:
            invocation.dead = True
            current.reset(token)

    def made(self, name: str) -> Any:
        """Return what a function holds while it is warm, as it is wired by its own code."""
        held: Any = current.get().instances
        if name not in held:
            held[name] = self._with_clock(name, _FACTORIES[name]())
        return held[name]

    def _with_clock(self, name: str, made: Any) -> Any:
        match name:
            case "_upkeep":
                return replace(made, clock=self.clock.clock.seconds)
            case "_watcher":
                return made
        return replace(made, now=self.clock.now, sleep=self.clock.clock.sleep)


class _ThreadsOfInvocation(ThreadPoolExecutor):
    """Threads that belong to the invocation that starts them; a single one is none at all."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._max_workers > 1:
            return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        found: datetime = current.get().home.clock.now()
        return found


class _Time:
    """Stands in for the module ``time``: that of the agent whose function asks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(current.get().home.clock.as_module, name)


def _sleep(seconds: float) -> None:
    current.get().calls.clock.sleep(seconds)


@contextmanager
def simulated() -> Iterator[None]:
    """Let all agents live in their simulated worlds."""
    with ExitStack() as stack:
        stack.enter_context(simulated_http.without_network())
        stack.enter_context(simulated_service.answering())

        def patch(target: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(target, name, value))

        patch(settings, "load", lambda: current.get().home.settings)
        for name, module in _MODULE_OF.items():
            patch(module, name, lambda name=name: current.get().home.made(name))
        patch(batches, "ThreadPoolExecutor", _ThreadsOfInvocation)
        for module in [*_modules(), urllib3.util.retry]:
            if getattr(module, "time", None) is time:
                patch(module, "time", _Time())
            if getattr(module, "datetime", None) is datetime:
                patch(module, "datetime", _Datetime)
        for function in (TaskDefinitions.__init__, graphql.GraphQL.__init__):
            stack.enter_context(mock.patch.dict(function.__kwdefaults__, {"sleep": _sleep}))
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        stack.callback(logger.setLevel, level)
        yield


def _modules() -> list[ModuleType]:
    """Return the agent's own modules."""
    return [module for name, module in sys.modules.items() if name.startswith("fargate_agent.")]
