"""What the agent does: its last poll, its queues, its tasks, and what its functions wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cli import prefect, queues
from cli.deployed_agent import DeployedAgent
from cli.errors import EXPECTED, told
from cli.function_log import Line, lines
from cli.prefect import Run
from fargate_agent import clients
from fargate_agent.orchestrators.http import HASTY, JsonClient
from fargate_agent.orchestrators.references import is_uuid
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.settings import Settings
from fargate_agent.task_details import flow_run_id

LAUNCHED = "launched"
FAILURES = {
    "dispatch": ("failed for good", "will try again", "not told yet"),
    "watch": ("crashed", "relaunched"),
    "poll": ("crashed", "relaunched", "enqueued again"),
}
"""What goes wrong with runs, in the functions' own words, by who writes them."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that has not stopped, and its run, if Prefect told of it."""

    task_arn: str
    status: str
    since: datetime | None
    cpu: str
    memory: str
    flow_run_id: str
    run: Run | None


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch; ``delay_seconds`` is from when the run was due."""

    at: datetime
    flow_run_id: str
    task_arn: str
    task_definition: str
    delay_seconds: float
    run: Run | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with a run."""

    at: datetime
    what: str
    flow_run_id: str
    reason: str
    run: Run | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A look at the agent. ``unknown`` tells what could not be asked, and why."""

    at: datetime
    enabled: bool
    last_poll: datetime | None = None
    poll_interval_seconds: int
    queues: Mapping[str, queues.Depth] = field(default_factory=dict)
    tasks: list[RunningTask] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Watcher:
    """Looks at one agent, as often as is asked, with the clients that it made once."""

    agent: DeployedAgent
    since: timedelta
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def look(self) -> Activity:
        """Ask AWS and Prefect; what one of them does not tell is left out, and named."""
        unknown: list[str] = []
        last_poll = self._asked(unknown, "last poll", None, self._last_poll)
        depths = self._asked(unknown, "queues", {}, self._depths)
        details = self._asked(unknown, "tasks", [], lambda: [*self._details()])
        launched = self._asked(unknown, "launches", [], lambda: self._lines("dispatch", LAUNCHED))
        failed = self._asked(unknown, "failures", [], lambda: [*self._failures()])
        ids = {str(flow_run_id(detail)) for detail in details}
        ids |= {str(line.fields.get("flow_run_id")) for line in (*launched, *failed)}
        ids = set(filter(is_uuid, ids))  # one that is none would have the server refuse them all
        runs = self._asked(
            unknown, "runs", {}, lambda: prefect.runs(self._settings, self._api, ids)
        )
        return Activity(
            at=self.now(),
            enabled=self._settings.enabled,
            last_poll=last_poll,
            poll_interval_seconds=self._settings.poll_interval_seconds,
            queues=depths,
            tasks=[_task(detail, runs) for detail in details],
            launches=[_launch(line, runs) for line in launched],
            troubles=[_trouble(line, runs) for line in failed],
            counts=dict(Counter(line.message for line in failed)),
            unknown=unknown,
        )

    def _asked(self, unknown: list[str], what: str, default: Any, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except EXPECTED as error:
            unknown.append(f"{what}: {told(error)}")
            return default

    def _last_poll(self) -> datetime | None:
        return prefect.last_poll(self._settings, self._api)

    @cached_property
    def _settings(self) -> Settings:
        return self.agent.settings()

    @cached_property
    def _api(self) -> JsonClient:
        return clients.api(self._settings, retries=HASTY)

    @cached_property
    def _sqs(self) -> Any:
        return self.agent.client("sqs")

    @cached_property
    def _logs(self) -> Any:
        return self.agent.client("logs")

    @cached_property
    def _tasks(self) -> RunningTasks:
        ecs = clients.ecs(self._settings)
        return RunningTasks(lambda: ecs, self._settings.clusters)

    @cached_property
    def _queues(self) -> dict[str, queues.Queue]:
        return {
            "runs": queues.runs(self.agent),
            "task events": queues.task_events(self.agent, self._sqs),
        }

    def _depths(self) -> dict[str, queues.Depth]:
        return {name: queues.depth(self._sqs, queue) for name, queue in self._queues.items()}

    def _details(self) -> Iterator[Mapping[str, Any]]:
        for cluster in self._tasks.clusters:
            for detail in self._tasks.describe(cluster, self._tasks.living(cluster)):
                if flow_run_id(detail):
                    yield detail

    def _lines(self, function: str, *messages: str) -> list[Line]:
        since, written_by = self.now() - self.since, self.agent.function(function)
        found = [lines(self._logs, written_by, since, message) for message in messages]
        return [line for some in found for line in some if line.message in messages]

    def _failures(self) -> list[Line]:
        found = [line for name, words in FAILURES.items() for line in self._lines(name, *words)]
        return sorted(found, key=lambda line: line.at)


def _task(detail: Mapping[str, Any], runs: Mapping[str, Run]) -> RunningTask:
    id, since = str(flow_run_id(detail)), detail.get("startedAt") or detail.get("createdAt")
    return RunningTask(
        task_arn=detail["taskArn"],
        status=detail["lastStatus"],
        since=since.astimezone(UTC) if since else None,
        cpu=detail.get("cpu", ""),
        memory=detail.get("memory", ""),
        flow_run_id=id,
        run=runs.get(id),
    )


def _launch(line: Line, runs: Mapping[str, Run]) -> Launch:
    id = str(line.fields.get("flow_run_id", ""))
    return Launch(
        at=line.at,
        flow_run_id=id,
        task_arn=str(line.fields.get("task_arn", "")),
        task_definition=str(line.fields.get("task_definition", "")),
        delay_seconds=float(line.fields.get("delay_seconds", 0)),
        run=runs.get(id),
    )


def _trouble(line: Line, runs: Mapping[str, Run]) -> Trouble:
    id = str(line.fields.get("flow_run_id", ""))
    reason = line.fields.get("error") or line.fields.get("reason") or ""
    return Trouble(line.at, line.message, id, str(reason), runs.get(id))
