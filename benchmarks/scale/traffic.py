"""The agent at work on very many runs: its three functions as deployed, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

from benchmarks.scale.cloud import LargeCloud
from benchmarks.scale.limits import Limits
from benchmarks.scale.queues import LargeQueue
from benchmarks.scale.server import LargeServer
from fargate_agent import clients, dispatch, poll, watch
from fargate_agent.cancellation import Cancellations
from fargate_agent.conclusion import Conclusions
from fargate_agent.dispatch import Deliveries
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.poll import SCHEDULE_SECONDS, NotAllSent, Poller
from fargate_agent.reconciliation import Reconciliation
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import FlowRun, claim_id
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import HASH_TAG, TaskDefinitions, content_hash
from fargate_agent.task_tags import TaskTags
from fargate_agent.upkeep import Upkeep
from fargate_agent.watch import Watcher
from infra.fargate_agent import DISPATCH_CONCURRENCY, MAX_RECEIVES, TIMEOUTS, WATCH_CONCURRENCY
from tests.faults.back_pressure.aws import ARN, Json, parameters
from tests.faults.back_pressure.prefect import UPDATED, URL
from tests.faults.back_pressure.virtual_time import VirtualTime
from tests.support import values

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
QUIET_SECONDS = 150.0
"""The agent works so long before midnight: what is scheduled shows up ahead."""
CLUSTER = f"{ARN}:cluster/flows"
QUEUE_LATENCY, EVENT_LATENCY = 0.02, 0.5
CONTEXT: Any = SimpleNamespace(function_name="scale", aws_request_id="0")

LIFE = (("PENDING", 5), ("ACTIVATING", 25), ("RUNNING", 2))
DEATH = (("DEACTIVATING", 0), ("STOPPING", 1), ("DEPROVISIONING", 1), ("STOPPED", 15))
"""The states of a task, and how many seconds after the one before; ECS tells of each
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html)."""

FLOW_SECONDS = (120.0, 1080.0)
"""How long a flow runs, from and to: ten minutes on average."""

CPU_SECONDS = {"message": 0.045, "AWS": 0.010, "Prefect": 0.005, "page": 0.175, "event": 0.006}
"""Of a function with 256 MB, which has a seventh of a core: for a run that is dispatched, a call
that poll makes, a full page of due runs, and a task event; seven times what was measured here."""


class TimedOut(BaseException):
    """Lambda ended an invocation."""


@dataclass
class Spent:
    """What the invocations of a function took."""

    invocations: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    timed_out: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def add(self, seconds: float) -> None:
        self.invocations += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)


@dataclass
class Traffic:
    """Runs that come due, and what becomes of them.

    Parameters
    ----------
    due
        When, in seconds after midnight, in rising order.
    deployments
        Of how many deployments they are, each with a task definition of its own.
    registered
        Whether ECS has those definitions already.
    limits, concurrency
        What the account may do, and how many batches the mapping hands to dispatch at once.
    watched
        Whether the tasks' events are played too.
    quiet
        So many seconds before midnight the agent begins to work.
    """

    due: Sequence[float]
    deployments: int = 10_000
    registered: bool = True
    limits: Limits = field(default_factory=Limits)
    concurrency: int = DISPATCH_CONCURRENCY
    watched: bool = False
    quiet: float = QUIET_SECONDS
    poll_seconds: int = 10
    seed: int = 1
    spent: dict[str, Spent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = VirtualTime(MIDNIGHT)
        self.queue = LargeQueue(self.clock, MAX_RECEIVES, self.limits.in_flight)
        self.cloud = LargeCloud(
            self.clock,
            self.queue,  # type: ignore[arg-type]
            limits=self.limits,
            on_call=partial(self._on_call, "AWS"),
            on_ticks=self._on_ticks,
            on_start=self._on_start,
        )
        self.server = LargeServer(
            self.clock, 0, self.deployments, on_call=partial(self._on_call, "Prefect")
        )
        self.spent = {name: Spent() for name in ("poll", "dispatch", "watch")}
        self.failed_polls, self.scheduled, self.tick_batches, self.told = 0, 0, 0, 0
        self.batches: Counter[int] = Counter()
        self._instance = threading.local()
        self._deadlines: dict[Any, float] = {}
        self._idle_pollers: list[tuple[Poller, Upkeep]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._events: deque[tuple[float, Json]] = deque()

    def run(self, *, patience: float) -> Self:
        """Let the agent work until every run is launched, or for so many seconds after midnight."""
        with self._world():
            config = self._settings()
            if self.registered:
                self._register_all(config)
            self.zero = self.clock.time() + self.quiet
            self.server.schedule(self.zero + at for at in self.due)
            self._forget()
            for _ in range(self.concurrency):
                self.clock.spawn(partial(self._dispatch_for_ever, self._deliveries(config)))
            for _ in range(WATCH_CONCURRENCY if self.watched else 0):
                self.clock.spawn(partial(self._watch_for_ever, self._watcher(config)))
            self.clock.spawn(self._live)
            end = self.zero + patience
            while not self._is_done() and self.clock.time() < end:
                self.scheduled += 1
                self.clock.spawn(partial(self._poll, config, {}))
                following = self.clock.time() + SCHEDULE_SECONDS
                while self.clock.time() < following and not self._is_done():
                    self.clock.sleep(min(1.0, following - self.clock.time()))
            self.ended = self.clock.time() - self.zero
        return self

    def _is_done(self) -> bool:
        return not len(self.queue) and not self.server.counts["SCHEDULED"]

    def _forget(self) -> None:
        self.cloud.calls.clear()
        self.server.calls.clear()

    # -- the world

    @contextmanager
    def _world(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(random.setstate, random.getstate())
            random.seed(self.seed)
            stack.enter_context(self.clock.installed())
            stack.enter_context(self.cloud.listening())
            stack.enter_context(self.server.listening())
            sleeping = {"sleep": self.clock.sleep}
            stack.enter_context(mock.patch.dict(TaskDefinitions.__init__.__kwdefaults__, sleeping))
            for module, maker in (
                (dispatch, "_deliveries"),
                (poll, "_poller"),
                (poll, "_upkeep"),
                (watch, "_watcher"),
            ):
                held = partial(getattr, self._instance, maker)
                stack.enter_context(mock.patch.object(module, maker, held))
            yield

    def _settings(self) -> Settings:
        return values.settings(
            api_url=URL,
            stack_kwargs=parameters(),
            kwargs_bucket="kwargs",
            poll_interval_seconds=self.poll_seconds,
            ticks_queue_url="https://sqs/ticks" if self.poll_seconds < SCHEDULE_SECONDS else None,
            max_receives=MAX_RECEIVES,
            claimant="agent",
            clusters=(CLUSTER,),
        )

    def _register_all(self, config: Settings) -> None:
        """Give ECS the definition of every deployment, as an earlier launch of each has left it."""
        launcher = Launcher.from_settings(config)
        for id, name in self.server.names.items():
            time = MIDNIGHT
            run = FlowRun(
                id=str(uuid.uuid4()),
                name="earlier",
                scheduled_time=time,
                claim_id=claim_id(id, time),
                flow_id=str(uuid.uuid4()),
                flow_name="etl",
                deployment_id=id,
                deployment_name=name,
                deployment_updated=UPDATED,
                work_pool_updated=UPDATED,
            )
            definition = dict(launcher.profile.render(run, None)[0].definition)
            tags = [*definition.pop("tags", []), {"key": HASH_TAG, "value": ""}]
            digest = content_hash(launcher.profile.render(run, None)[0].definition)
            tags[-1]["value"] = digest
            arn = f"{ARN}:task-definition/{definition['family']}:1"
            held = {**definition, "taskDefinitionArn": arn, "revision": 1, "status": "ACTIVE"}
            self.cloud.revisions[definition["family"]] = [{"taskDefinition": held, "tags": tags}]

    def _on_call(self, kind: str, operation: str) -> None:
        """Charge poll for a call, and end it where its time is up."""
        deadline = self._deadlines.get(self.clock.current)
        if deadline is None:
            return
        self.clock.sleep(CPU_SECONDS[kind])
        if "work_pools" in operation and self.server.counts["SCHEDULED"] > 200:
            self.clock.sleep(CPU_SECONDS["page"] / 2)  # pools are asked twice for each page
        if self.clock.time() > deadline:
            raise TimedOut

    # -- poll

    def _poll(self, config: Settings, event: Json) -> None:
        made = self._idle_pollers.pop() if self._idle_pollers else self._poller(config)
        self._instance._poller, self._instance._upkeep = made
        me, spent, began = self.clock.current, self.spent["poll"], self.clock.time()
        self._deadlines[me] = began + TIMEOUTS["poll"].to_seconds()
        spent.at_once += 1
        spent.most_at_once = max(spent.most_at_once, spent.at_once)
        try:
            poll.handler(event, CONTEXT)
            self._idle_pollers.append(made)
        except TimedOut:
            spent.timed_out += 1
        except (ApiError, NotAllSent):
            self.failed_polls += 1
            self._idle_pollers.append(made)
        finally:
            del self._deadlines[me]
            spent.at_once -= 1
            spent.add(self.clock.time() - began)

    def _on_ticks(self, entries: list[Json]) -> None:
        self.tick_batches += 1
        for entry in entries:
            tick = {"Records": [{"body": entry["MessageBody"]}]}
            self._later(entry["DelaySeconds"], partial(self._tick, tick))

    def _tick(self, event: Json) -> None:
        self.clock.spawn(partial(self._poll, self._settings(), event))

    def _poller(self, config: Settings) -> tuple[Poller, Upkeep]:
        prefect, sqs = clients.orchestrator(config), clients.sqs()
        poller = Poller(config, prefect, sqs, self.clock.now, self.clock.sleep)
        tasks = RunningTasks(lambda: clients.ecs(config), config.clusters)
        conclusions = Conclusions(prefect=prefect, tasks=tasks, relaunch_attempts=2)
        healing = Reconciliation(conclusions, tasks, poller.enqueue_again, self.clock.now)
        upkeep = Upkeep(
            Cancellations(prefect, tasks, self.clock.now), healing, clock=self.clock.time
        )
        return poller, upkeep

    # -- dispatch

    def _deliveries(self, config: Settings) -> Deliveries:
        return Deliveries(
            launcher=Launcher.from_settings(config),
            sqs=clients.sqs(),
            queue_url=config.runs_queue_url,
            max_receives=config.max_receives,
            poll_interval_seconds=config.poll_interval_seconds,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    def _dispatch_for_ever(self, deliveries: Deliveries) -> None:
        """Be one of the mapping's concurrent invocations, again and again."""
        self._instance._deliveries = deliveries
        while True:
            self.clock.sleep(QUEUE_LATENCY)
            records = self.queue.receive()
            if not records:
                self.clock.sleep(0.1)
                continue
            began = self.clock.time()
            answer = dispatch.handler({"Records": records}, CONTEXT)
            self.clock.sleep(CPU_SECONDS["message"] * len(records))
            self.spent["dispatch"].add(self.clock.time() - began)
            self.batches[len(records)] += 1
            failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
            self.queue.delete({r["receiptHandle"] for r in records if r["messageId"] not in failed})

    # -- the tasks, and watch

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.clock.time() + seconds, next(self._order), do))

    def _live(self) -> None:
        while True:
            while self._agenda and self._agenda[0][0] <= self.clock.time():
                heapq.heappop(self._agenda)[2]()
            self.clock.sleep(0.2)

    def _on_start(self, task: Json) -> None:
        self._tell(task, "PROVISIONING")
        at = 0.0
        for status, seconds in LIFE:
            at += seconds
            self._later(at, partial(self._change, task, status))
        at += random.uniform(*FLOW_SECONDS)
        for status, seconds in DEATH:
            at += seconds
            self._later(at, partial(self._change, task, status))

    def _change(self, task: Json, status: str) -> None:
        task["lastStatus"] = status
        run = self.server.told[task["startedBy"]]
        if status == "RUNNING":
            self.server.move(run, "RUNNING")
        elif status == "DEACTIVATING":
            self.server.move(run, "COMPLETED")
            task["desiredStatus"] = "STOPPED"
        elif status == "STOPPED":
            task["containers"] = [{"name": "prefect", "exitCode": 0}]
        self._tell(task, status)

    def _tell(self, task: Json, status: str) -> None:
        if self.watched:
            self.told += 1
            detail = {k: v for k, v in task.items() if k != "tags"} | {"lastStatus": status}
            event = {"id": str(uuid.uuid4()), "time": self.clock.now().isoformat()}
            self._events.append((self.clock.time() + EVENT_LATENCY, {**event, "detail": detail}))

    def _watch_for_ever(self, watcher: Watcher) -> None:
        self._instance._watcher = watcher
        while True:
            self.clock.sleep(1.0)  # the mapping's window
            batch: list[Json] = []
            while self._events and len(batch) < 10 and self._events[0][0] <= self.clock.time():
                batch.append(self._events.popleft()[1])
            if not batch:
                continue
            began = self.clock.time()
            records = [
                values.sqs_record(json.dumps(e), group=None, sent=self.clock.now()) for e in batch
            ]
            watch.handler({"Records": records}, CONTEXT)
            self.clock.sleep(CPU_SECONDS["event"] * len(batch))
            self.spent["watch"].add(self.clock.time() - began)

    def _watcher(self, config: Settings) -> Watcher:
        ecs = clients.ecs(config)
        tasks = RunningTasks(lambda: ecs, config.clusters)
        return Watcher(
            conclusions=Conclusions(
                prefect=clients.orchestrator(config), tasks=tasks, relaunch_attempts=2
            ),
            ecs=ecs,
            sqs=clients.sqs(),
            queue_url=config.task_events_queue_url,
            work_pool=config.work_pool,
            tags=TaskTags(tasks),
        )

    # -- what became of the runs

    @property
    def delays(self) -> list[float]:
        """How long after it was due each run's task was started, in seconds; in rising order."""
        due = {run["id"]: at for run, at in zip(self.server.told.values(), self.due, strict=True)}
        start = self.zero - self.clock.start
        return sorted(at - start - due[run] for at, run in self.cloud.started)

    @property
    def doubled(self) -> int:
        """How many runs got more than one task."""
        tasks = Counter(run for _, run in self.cloud.started)
        return sum(count > 1 for count in tasks.values())
