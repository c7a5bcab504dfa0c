"""A whole world in virtual time: Prefect, AWS, one agent or more, and what goes wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fargate_agent.external_kwargs import external_key
from fargate_agent.settings import Settings
from tests.support import values
from tests.support.simulated_calls import Fault, OutsideCalls
from tests.support.simulated_clock import Clock, SkewedClock
from tests.support.simulated_ecs import (
    ACCOUNT,
    REGION,
    EcsService,
    LogsService,
    TaggingService,
    cluster_arn,
)
from tests.support.simulated_faults import AwsError, HttpStatus
from tests.support.simulated_functions import MAX_RECEIVES, VISIBILITY, Agent
from tests.support.simulated_prefect1 import Prefect1Side
from tests.support.simulated_prefect3 import DELETED, Prefect3Side
from tests.support.simulated_s3 import S3Service, SecretsService
from tests.support.simulated_sqs import Queue, SqsService
from tests.support.simulated_tasks import Detail, Fargate, event

Side = Prefect1Side | Prefect3Side

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", DELETED)
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:prefect-key"
KEY = "the-key"

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}}

PATIENCE = timedelta(minutes=12)
"""After this the healing pass looks at what has not changed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A service is down for a while: every call of it fails."""

    service: str
    begin: datetime
    end: datetime
    fault: Fault


class World:
    """One server, one region, and the agents that serve it.

    Parameters
    ----------
    make_side
        Makes Prefect.
    file
        The flow's kwargs file, where there is one.
    clusters
        The names of those that exist.
    """

    def __init__(
        self,
        make_side: Callable[[Clock], Side],
        *,
        file: Mapping[str, Any] | None = None,
        clusters: Collection[str] = ("flows",),
        seed: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.calls = OutsideCalls(self.clock)
        self.calls.rules.append(lambda call: self._fault_of(call.service))
        self.side = make_side(self.clock)
        self.outages: list[Outage] = []
        self.fargate = Fargate(
            self.clock,
            self.side,
            prefect_is_up=lambda: not self.is_down("prefect"),
            emit=self._emit,
        )
        self.ecs = EcsService(
            self.clock, [cluster_arn(c) for c in clusters], self.fargate.start, self.fargate.stop
        )
        self.s3, self.secrets = S3Service(), SecretsService()
        self.secrets.secrets[SECRET] = KEY
        if file is not None:
            name, id = self.side.flow
            self.s3.objects[external_key("kwargs", name, id)] = json.dumps(file).encode()
        self.queues: dict[str, Queue] = {}
        self.services: dict[str, Any] = {
            "ecs": self.ecs,
            "s3": self.s3,
            "secretsmanager": self.secrets,
            "sqs": SqsService(self.queues),
            "resourcegroupstaggingapi": TaggingService(self.ecs),
            "logs": LogsService(),
        }
        self.agents: list[Agent] = []
        self.event_delays: Callable[[], Iterable[float]] = lambda: [0.3]
        """How long an event of a task is on its way, for each time that it arrives."""
        self._on_their_way = 0
        self.expected: dict[str, Collection[str]] = {}

    # -- what there is

    def add_agent(
        self, name: str = "fargate-agent", *, cluster: str = "flows", skew: float = 0, **given: Any
    ) -> Agent:
        """Deploy an agent that runs tasks in a cluster, by default without polls in between."""
        urls = {
            kind: f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}-{kind}"
            for kind in ("runs.fifo", "ticks", "task-events")
        }
        dead = [Queue(self.clock, fifo=fifo, visibility=30) for fifo in (True, False)]
        options: dict[str, Any] = {"visibility": VISIBILITY, "max_receives": MAX_RECEIVES}
        self.queues[urls["runs.fifo"]] = Queue(
            self.clock, fifo=True, dead_letters=dead[0], **options
        )
        self.queues[urls["task-events"]] = Queue(
            self.clock, fifo=False, dead_letters=dead[1], **options
        )
        self.queues[urls["ticks"]] = Queue(self.clock, fifo=False, visibility=60)
        arn = cluster_arn(cluster)
        claimant = arn if self.side.kind == 1 else f"{ACCOUNT}/{REGION}/{name}"
        agent = Agent(
            self._settings(name, urls, clusters=(arn,), claimant=claimant, **given),
            self.calls,
            SkewedClock(self.clock, skew),
            services=self.services,
            prefect=self.side,
            queues=self.queues,
        )
        self.agents.append(agent)
        return agent

    def _settings(self, name: str, urls: Mapping[str, str], **given: Any) -> Settings:
        kwargs = {
            "cluster": given["clusters"][0],
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "networkConfiguration": NETWORK,
        }
        fields: dict[str, Any] = {
            "agent_name": name,
            "prefect_version": self.side.kind,
            "api_url": "http://prefect.test",
            "api_key_secret": SECRET if self.side_has_key else None,
            "stack_kwargs": kwargs,
            "kwargs_bucket": "kwargs",
            "poll_interval_seconds": 60,
            "runs_queue_url": urls["runs.fifo"],
            "task_events_queue_url": urls["task-events"],
            "ticks_queue_url": None,
            "max_receives": MAX_RECEIVES,
            "work_pool": "fargate" if self.side.kind != 1 else "",
            **given,
        }
        if fields["poll_interval_seconds"] < 60:
            fields["ticks_queue_url"] = urls["ticks"]
        return values.settings(**fields)

    @property
    def side_has_key(self) -> bool:
        """Whether the server asks for a key."""
        key = self.side.key if isinstance(self.side, Prefect3Side) else self.side.token
        return key is not None

    def schedule(self, ahead: float = 0, ends: Collection[str] = ("COMPLETED",)) -> str:
        """Schedule a run, which is expected to end in one of these states."""
        run = self.side.schedule(ahead)
        self.expected[run] = ends
        return run

    # -- what goes wrong

    def at_call(self, number: int, fault: Fault) -> None:
        """Let a fault hit a call, counted from the next on."""
        self.calls.plan[len(self.calls.made) + number] = fault

    def outage(
        self, service: str, *, hours: float, begin: float = 0, fault: Fault | None = None
    ) -> None:
        """Let a service be down, by default from now on, and with an answer that says so."""
        start = self.clock.now() + timedelta(seconds=begin)
        if fault is None:
            down = {"code": "ServiceUnavailable", "status": 503}
            fault = HttpStatus(status=503) if service == "prefect" else AwsError(**down)
        self.outages.append(Outage(service, start, start + timedelta(hours=hours), fault))
        self.clock.after(begin + hours * 3600, lambda: None)  # then queues are looked at again

    def is_down(self, service: str) -> bool:
        """Tell whether a service is down now."""
        return self._fault_of(service) is not None

    def _fault_of(self, service: str) -> Fault | None:
        now = self.clock.now()
        down = (o for o in self.outages if o.service == service and o.begin <= now < o.end)
        return next((outage.fault for outage in down), None)

    def _emit(self, detail: Detail) -> None:
        told = json.dumps(event(detail, self.clock.now().isoformat()))
        for agent in self.agents:
            wanted = detail["lastStatus"] == "STOPPED" or self.side.kind != 1
            if wanted and detail["clusterArn"] in agent.settings.clusters:
                for delay in self.event_delays():
                    self._arrive(agent.task_events, told, delay)

    def _arrive(self, queue: Queue, body: str, delay: float) -> None:
        def arrive() -> None:
            self._on_their_way -= 1
            if self.is_down("sqs"):  # EventBridge tries again for 24 hours
                self._arrive(queue, body, 60)
            else:
                queue.send(body, dedupe=str(self.random.random()))

        self._on_their_way += 1
        self.clock.after(delay, arrive)

    # -- time

    def step(self) -> None:
        """Go on to what happens next."""
        times = [self.clock.next, *(agent.next_poll for agent in self.agents)]
        if not self.is_down("sqs"):
            times += [queue.next for queue in self.queues.values()]
        self.clock.advance(min(time for time in times if time is not None))
        for agent in self.agents:
            if agent.next_poll <= self.clock.now():
                agent.poll()
        self.deliver()

    def deliver(self) -> None:
        """Let the queues' messages be received that show now."""
        if not self.is_down("sqs"):
            for agent in self.agents:
                agent.receive()

    def run_until(self, time: datetime) -> None:
        """Go on until a time."""
        while self.clock.now() < time:
            self.step()

    def run_for(self, seconds: float) -> None:
        """Go on for so long."""
        self.run_until(self.clock.now() + timedelta(seconds=seconds))

    def settle(self, *, hours: float = 3) -> None:
        """Go on until nothing is left to do, and longer still, for what is not to come."""
        end = self.clock.now() + timedelta(hours=hours)
        while self.clock.now() < end and not self.is_quiet:
            self.step()
        self.clock.sleep(PATIENCE.total_seconds())
        for agent in self.agents:
            agent.next_poll = self.clock.now()
        for _ in range(3):
            self.step()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: no outage, no message, no task, no run to be ended."""
        return (
            not any(self.clock.now() < outage.end for outage in self.outages)
            and not any(queue.messages for queue in self.work().values())
            and not self.fargate.live
            and not self._on_their_way
            and all(
                self.side.state_of(run) in ENDED or self.side.state_of(run) in ends
                for run, ends in self.expected.items()
            )
        )

    def work(self) -> dict[str, Queue]:
        """Return the queues whose messages are to be worked off; ticks always follow ticks."""
        return {url: queue for url, queue in self.queues.items() if queue.dead_letters is not None}
