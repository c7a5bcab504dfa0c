"""A backlog and the agent that works it off: poll and dispatch as deployed, in virtual time."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

from fargate_agent import clients, dispatch
from fargate_agent.dispatch import Deliveries
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.poll import NotAllSent, Poller
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import TaskDefinitions
from infra.fargate_agent import DISPATCH_CONCURRENCY, MAX_RECEIVES
from tests.faults.back_pressure.aws import Aws, parameters
from tests.faults.back_pressure.prefect import URL, Prefect
from tests.faults.back_pressure.runs_queue import RunsQueue
from tests.faults.back_pressure.virtual_time import VirtualTime
from tests.support import values

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BATCH = 10
POLL_SECONDS = 10
QUEUE_LATENCY = 0.02
CONTEXT: Any = SimpleNamespace(function_name="dispatch", aws_request_id="0")


@dataclass
class Drain:
    """Runs that are all due at once, and what became of them.

    Parameters
    ----------
    runs, deployments
        How many there are, and of how many deployments, each with a definition of its own.
    seed
        The same seed gives the same course.
    concurrency
        How many batches the event source mapping hands out at a time.
    aws_options, prefect_options
        See :class:`Aws` and :class:`Prefect`.
    botocore
        The setting ``aws.botocore``.
    """

    runs: int
    deployments: int = 10
    seed: int = 1
    concurrency: int = DISPATCH_CONCURRENCY
    aws_options: Mapping[str, Any] = field(default_factory=dict)
    prefect_options: Mapping[str, Any] = field(default_factory=dict)
    botocore: Mapping[str, Any] = field(default_factory=dict)
    invocations: list[float] = field(default_factory=list)
    """How many seconds each invocation of dispatch took."""
    failed_polls: int = 0

    def __post_init__(self) -> None:
        self.clock = VirtualTime(NOON)
        self.queue = RunsQueue(self.clock, MAX_RECEIVES)
        self.aws = Aws(self.clock, self.queue, **self.aws_options)
        self.prefect = Prefect(self.clock, self.runs, self.deployments, **self.prefect_options)
        self._instance = threading.local()

    def run(self, *, patience: float = 7200.0) -> Self:
        """Let the agent work until nothing is left, or for so many seconds."""
        with self._world():
            config = self._settings()
            for _ in range(self.concurrency):
                deliveries = self._deliveries(config)
                self.clock.spawn(partial(self._consume, deliveries))
            # One may still follow a backlog when the next tick comes.
            pollers = itertools.cycle([self._poller(config), self._poller(config)])
            while not self._is_done() and self.clock.elapsed < patience:
                self.clock.spawn(partial(self._poll, next(pollers)))
                next_tick = self.clock.elapsed + POLL_SECONDS
                while self.clock.elapsed < next_tick and not self._is_done():
                    self.clock.sleep(0.5)
        return self

    def _is_done(self) -> bool:
        return not self.queue.messages and not self.prefect.states()["SCHEDULED"]

    @contextmanager
    def _world(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(random.setstate, random.getstate())
            random.seed(self.seed)  # botocore's jitter and the agent's are of this one
            stack.enter_context(self.clock.installed())
            stack.enter_context(self.aws.listening())
            stack.enter_context(self.prefect.listening())
            # These two were bound to the real clock when their modules were read.
            sleeping = {"sleep": self.clock.sleep}
            stack.enter_context(mock.patch.dict(TaskDefinitions.__init__.__kwdefaults__, sleeping))
            stack.enter_context(mock.patch.object(dispatch, "_deliveries", self._of_instance))
            yield

    def _settings(self) -> Settings:
        return values.settings(
            api_url=URL,
            stack_kwargs=parameters(),
            kwargs_bucket="kwargs",
            poll_interval_seconds=POLL_SECONDS,
            ticks_queue_url=None,
            max_receives=MAX_RECEIVES,
            claimant="agent",
            aws_botocore=self.botocore,
        )

    def _poller(self, config: Settings) -> Poller:
        prefect, sqs = clients.orchestrator(config), clients.sqs()
        return Poller(config, prefect, sqs, self.clock.now, self.clock.sleep)

    def _deliveries(self, config: Settings) -> Deliveries:
        """Return what one instance of dispatch holds: clients of its own."""
        return Deliveries(
            launcher=Launcher.from_settings(config),
            sqs=clients.sqs(),
            queue_url=config.runs_queue_url,
            max_receives=config.max_receives,
            poll_interval_seconds=config.poll_interval_seconds,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    def _poll(self, poller: Poller) -> None:
        try:
            poller.poll()
        except (ApiError, NotAllSent):
            self.failed_polls += 1  # the next one finds the same runs

    def _of_instance(self) -> Deliveries:
        found: Deliveries = self._instance.deliveries
        return found

    def _consume(self, deliveries: Deliveries) -> None:
        """Be one of the mapping's concurrent invocations, again and again."""
        self._instance.deliveries = deliveries
        while True:
            self.clock.sleep(QUEUE_LATENCY)
            records = self.queue.receive(BATCH)
            if not records:
                self.clock.sleep(0.1)
                continue
            began = self.clock.elapsed
            answer = dispatch.handler({"Records": records}, CONTEXT)
            self.invocations.append(self.clock.elapsed - began)
            self.clock.sleep(QUEUE_LATENCY)
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
            done = {r["receiptHandle"] for r in records if r["messageId"] not in failed}
            self.queue.delete(done)

    # -- what became of the runs

    @property
    def launches(self) -> list[float]:
        """When each task was started, in seconds after all runs were due."""
        return [at for at, _ in self.aws.started]

    @property
    def doubled(self) -> list[str]:
        """Runs that got more than one task."""
        tasks = Counter(run for _, run in self.aws.started)
        return [run for run, count in tasks.items() if count > 1]

    @property
    def lost(self) -> list[str]:
        """Runs that got no task."""
        return sorted(set(self.prefect.told) - {run for _, run in self.aws.started})

    @property
    def share_of_limit(self) -> float:
        """Tasks started, of those that AWS can have started until the last was."""
        return len(self.launches) / self.aws.allowed(self.launches[-1])
