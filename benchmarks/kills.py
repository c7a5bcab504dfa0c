"""Kills who launches runs, at every call of the way, and counts what becomes of the runs.

The real ECS worker and this agent, on one real Prefect server, each with a work pool and an AWS of
its own. A trial brings some runs to one call of their launch and kills the process (with SIGKILL)
just before the call takes effect, or just after; then the process is started again. The worker has
both its options that help: the observer's queue and the cancellation of pending runs. Two further
trials kill nothing: runs are cancelled just before ``RunTask``, and tasks are lost to a Spot
interruption while their flows run; these the worker meets as it comes, too.

Tasks are played: their flows run for a second. What is Pending for long after the restart has no
end, for the server offers a worker only what is Scheduled. What is Cancelling for five minutes,
here half of one, the server itself ends, by its workers if it has any. A task that nobody stops
ends by itself only once its image is there: its container then finds its run cancelled.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.kill_aws import KillAws
from benchmarks.kill_contenders import Contender, agent, ecs_worker
from benchmarks.kill_gates import Gate, Gates
from benchmarks.kill_proxy import PrefectProxy
from fargate_agent.orchestrators.http import RETRIES, ApiError, JsonClient
from local.prefect_server import prefect_server

WIDTH = 140
PATIENCE_SECONDS = 60
"""For the runs of a trial to come to an end."""

CANCELLING = "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS"
CANCELLING_SECONDS = 30
"""After this the server ends what is Cancelling."""

QUIET_SECONDS = 8
"""Nothing more comes of runs to which nothing happened for so long, after who launches has asked
for due runs again."""

COUNTS = ("well", "lost", "doubled", "stuck", "not stopped", "untold")
FINISHED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A call on the way of a launch."""

    name: str
    pattern: str
    role: str
    """Who makes it."""


def _points(role: str) -> tuple[Point, ...]:
    return (
        Point("claim", r'/set_state .*"name": ?"Pending"', role),
        Point("RegisterTaskDefinition", r"^RegisterTaskDefinition", role),
        Point("RunTask", r"^RunTask", role),
        Point("report of the task", r"^PATCH /flow_runs/[^/ ]+ .*infrastructure_pid", role),
    )


WORKER_POINTS = (
    *_points("worker"),
    Point("labels", r"^PATCH /flow_runs/[^/ ]+/labels", "worker"),
    Point("Submitting", r'/set_state .*"name": ?"Submitting"', "worker"),
)
AGENT_POINTS = (
    *_points("dispatch"),
    Point("enqueue", r"^SendMessageBatch", "schedule"),
    Point("kwargs file", r"^GetObject", "dispatch"),
    Point("last look", r"^POST /flow_runs/filter", "dispatch"),
)
RUN_TASK = r"^RunTask"
CANCELLED, LOST = "cancelled before RunTask", "Spot interruption"


@dataclass(slots=True)
class Run:
    """One flow run of a trial, and what became of it."""

    id: str
    deployment: str
    image: str
    reached: bool = False
    tasks: int = 0
    alive: int = 0
    """Of its tasks, those that have not stopped."""
    state: str = ""
    told: bool = False
    """It knows its task, by which it can be cancelled."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What its calls are known by."""
        return self.id, self.deployment, self.image


@dataclass(slots=True)
class Trial:
    """What was done to some runs of one contender."""

    contender: str
    point: str
    when: str
    reached: int
    runs: list[Run]

    @property
    def well(self) -> int:
        """So many were executed by one task, or cancelled with none left, or told of their loss."""
        ends = {CANCELLED: ("CANCELLED",), LOST: ("COMPLETED", "CRASHED")}
        good = ends.get(self.point, ("COMPLETED",))
        return sum(
            run.state in good and not run.alive and run.tasks <= self._most for run in self.runs
        )

    @property
    def _most(self) -> int:
        return 2 if self.point == LOST else 1

    @property
    def lost(self) -> int:
        """So many never had a task."""
        return sum(run.tasks == 0 and run.state != "CANCELLED" for run in self.runs)

    @property
    def doubled(self) -> int:
        """So many had a second task that nobody asked for."""
        return sum(run.tasks > self._most for run in self.runs)

    @property
    def stuck(self) -> int:
        """So many never came to an end."""
        return sum(run.state not in FINISHED for run in self.runs)

    @property
    def left(self) -> int:
        """So many have a task that nobody stopped."""
        return sum(run.alive > 0 for run in self.runs)

    @property
    def untold(self) -> int:
        """So many do not know the task they have, or had."""
        return sum(run.tasks > 0 and not run.told for run in self.runs)

    @property
    def counts(self) -> dict[str, int]:
        """What is shown of it."""
        counts = (self.well, self.lost, self.doubled, self.stuck, self.left, self.untold)
        return dict(zip(COUNTS, counts, strict=True))


class Arena:
    """One contender with its pool, its AWS, and its way to the Prefect server."""

    def __init__(
        self,
        stack: ExitStack,
        url: str,
        name: str,
        pool: str,
        make: Callable[[str, KillAws, str], Contender],
        *,
        has_observed_queue: bool,
    ) -> None:
        self.name = name
        self.pool = pool
        self.prefect = JsonClient(url, lambda _: None, retries=RETRIES.new(total=12))
        self.gates = Gates()
        self.aws = stack.enter_context(
            KillAws(self.gates, self._play, has_observed_queue=has_observed_queue)
        )
        proxy = stack.enter_context(PrefectProxy(url, self.gates))
        self._make_pool()
        self.contender = stack.enter_context(make(proxy.url, self.aws, self.pool))
        self.trials: list[Trial] = []
        self._slow_images: set[str] = set()
        self._interrupted: set[str] = set()

    def _make_pool(self) -> None:
        view = self.prefect.get("/collections/views/aggregate-worker-metadata")
        template = view["prefect-aws"]["ecs"]["default_base_job_configuration"]
        body = {"name": self.pool, "type": "ecs", "base_job_template": template}
        self.prefect.post("/work_pools/", body)

    # -- the trials

    def kill(self, point: Point, runs: int, *, after: bool) -> None:
        """Kill who makes a call, with all runs at that point; then start it again."""
        scheduled = self._schedule(runs)

        def act() -> None:
            self.contender.kill(point.role)

        gate = self._gate(scheduled, point.pattern, act, after=after)
        reached = gate.wait()
        self.contender.start(point.role)
        polls = self.gates.polls
        self._keep(point.name, "after" if after else "before", reached, scheduled)
        self._settle(lambda: self.gates.polls > polls + 1)

    def cancel(self, runs: int) -> None:
        """Cancel runs whose launch has come as far as ``RunTask``; their images are pulled long."""
        scheduled = self._schedule(runs)
        self._slow_images |= {run.id for run in scheduled}

        def act() -> None:
            for run in scheduled:
                state = {"type": "CANCELLING", "name": "Cancelling"}
                self.prefect.post(f"/flow_runs/{run.id}/set_state", {"state": state})
            time.sleep(2)  # who hears of it at once may do what it does

        reached = self._gate(scheduled, RUN_TASK, act, drops=False).wait()
        self._keep(CANCELLED, "", reached, scheduled)
        ended = time.monotonic() + CANCELLING_SECONDS
        self._settle(lambda: time.monotonic() > ended)

    def interrupt(self, runs: int) -> None:
        """Let the tasks of runs be lost while their flows run."""
        scheduled = self._schedule(runs)
        self._interrupted |= {run.id for run in scheduled}
        reached = self._gate(scheduled, RUN_TASK, lambda: None, drops=False).wait()
        self._keep(LOST, "", reached, scheduled)
        self._settle()

    def _gate(
        self, runs: Sequence[Run], pattern: str, act: Callable[[], None], **options: bool
    ) -> Gate:
        self.gates.gate = gate = Gate(pattern, [run.marks for run in runs], act, **options)
        self.prefect.send("PATCH", f"/work_pools/{self.pool}", {"is_paused": False})
        return gate

    def _keep(self, point: str, when: str, reached: int, runs: list[Run]) -> None:
        self.trials.append(Trial(self.name, point, when, reached, runs))

    def _schedule(self, count: int) -> list[Run]:
        """Make runs of a deployment each; the pool is paused until all are there."""
        self.prefect.send("PATCH", f"/work_pools/{self.pool}", {"is_paused": True})
        made = []
        for _ in range(count):
            name = f"d-{uuid.uuid4().hex[:8]}"
            flow = self.prefect.post("/flows/", {"name": f"flow-{name}"})["id"]
            image = f"example/{name}:1"
            body = {
                "name": name,
                "flow_id": flow,
                "work_pool_name": self.pool,
                "job_variables": {"image": image},
            }
            id = self.prefect.post("/deployments/", body)["id"]
            due = {"scheduled_time": datetime.now(UTC).isoformat()}
            body = {"state": {"type": "SCHEDULED", "state_details": due}}
            run = self.prefect.post(f"/deployments/{id}/create_flow_run", body)["id"]
            made.append(Run(id=run, deployment=name, image=image))
        return made

    # -- the tasks

    def _play(self, aws: KillAws, task: Json, run: str) -> None:
        """Live the life of a container: what ``prefect flow-run execute`` does, in short."""
        arn = task["taskArn"]
        if run in self._slow_images:
            return  # it is stopped, or goes on for ever
        time.sleep(1)
        task["lastStatus"] = "RUNNING"
        try:
            state = self.prefect.get(f"/flow_runs/{run}")["state_type"]
            if state not in FINISHED and self._propose(run, "RUNNING") == "ACCEPT":
                if run in self._interrupted and len(aws.tasks_of(run)) == 1:
                    reason = "Your Spot Task was interrupted."
                    aws.end(arn, exit_code=137, code="SpotInterruption", reason=reason)
                    return
                time.sleep(1)
                self._propose(run, "COMPLETED")
        except ApiError as error:
            print(f"a container lost its server: {error}")
        reason = "Essential container in task exited"
        aws.end(arn, exit_code=0, code="EssentialContainerExited", reason=reason)

    def _propose(self, run: str, type: str) -> str:
        body = {"state": {"type": type}, "force": False}
        return str(self.prefect.post(f"/flow_runs/{run}/set_state", body)["status"])

    # -- what became of it

    def _settle(self, is_back: Callable[[], bool] = lambda: True) -> None:
        """Wait until the runs of the last trial have come to an end, or nothing more happens."""
        runs = self.trials[-1].runs
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen, since = "", time.monotonic()
        while time.monotonic() < deadline:
            self._look(runs)
            if all(run.state in FINISHED and not run.alive for run in runs):
                return
            if seen != (now := repr(runs)) or not is_back():
                seen, since = now, time.monotonic()
            if time.monotonic() - since > QUIET_SECONDS:
                return
            time.sleep(0.5)

    def look_again(self) -> None:
        """Read once more what became of the runs of all trials, those that were given up too."""
        for trial in self.trials:
            self._look(trial.runs)

    def _look(self, runs: Sequence[Run]) -> None:
        for run in runs:
            held = self.prefect.get(f"/flow_runs/{run.id}")
            tasks = self.aws.tasks_of(run.id)
            run.state, run.told = held["state_type"], bool(held["infrastructure_pid"])
            run.tasks = len(tasks)
            run.alive = sum(task["lastStatus"] != "STOPPED" for task in tasks)


def play(arena: Arena, points: Sequence[Point], runs: int, *, further: bool) -> None:
    """Make the trials of a contender: a kill at each point, and perhaps those without one."""
    for point in points:
        for after in (False, True):
            arena.kill(point, runs, after=after)
    if further:
        arena.cancel(runs)
        arena.interrupt(runs)


def table(trials: Sequence[Trial]) -> Table:
    """Show what became of the runs of each trial."""
    shown = Table("", "at", "reached", title="What became of runs")
    for name in (*COUNTS, "states"):
        shown.add_column(name, justify="left" if name == "states" else "right")
    for trial in trials:
        states = sorted({run.state for run in trial.runs})
        shown.add_row(
            trial.contender,
            f"{trial.when} {trial.point}".strip(),
            f"{trial.reached} of {len(trial.runs)}",
            *(str(count or "") for count in trial.counts.values()),
            ", ".join(states),
        )
    return shown


def totals(trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """Add up the trials of each contender, those with a kill apart."""
    made: dict[str, dict[str, int]] = {}
    for trial in trials:
        kind = f"{trial.contender}: {'killed' if trial.when else trial.point}"
        held = made.setdefault(kind, dict.fromkeys(("runs", *COUNTS), 0))
        held["runs"] += len(trial.runs)
        for name, count in trial.counts.items():
            held[name] += count
    return made


def measure(folder: Path, url: str, runs: int) -> list[Trial]:
    """Let all contenders meet their trials, side by side."""

    def with_options(api: str, aws: KillAws, pool: str) -> Contender:
        return ecs_worker(folder / pool, api, aws, pool, cancels=True)

    def plain(api: str, aws: KillAws, pool: str) -> Contender:
        return ecs_worker(folder / pool, api, aws, pool, cancels=False)

    def ours(api: str, aws: KillAws, pool: str) -> Contender:
        return agent(folder / pool, api, aws, pool)

    half = len(WORKER_POINTS) // 2  # two workers, each in a pool of its own, save time
    plan: tuple[tuple[str, str, Any, Sequence[Point], bool], ...] = (
        ("worker", "workers-1", with_options, WORKER_POINTS[:half], False),
        ("worker", "workers-2", with_options, WORKER_POINTS[half:], True),
        ("worker, as it comes", "plain", plain, (), True),
        ("agent", "agents", ours, AGENT_POINTS, True),
    )
    with ExitStack() as stack, ThreadPoolExecutor(len(plan)) as threads:
        arenas, played = [], []
        for name, pool, make, points, further in plan:
            observed = make is with_options
            arenas.append(Arena(stack, url, name, pool, make, has_observed_queue=observed))
            played.append(threads.submit(play, arenas[-1], points, runs, further=further))
        for trials in played:
            trials.result()
        for arena in arenas:
            arena.look_again()
        return [trial for arena in arenas for trial in arena.trials]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="in each trial")
    parser.add_argument("--json", type=Path, help="a file for all that was counted")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with prefect_server(folder, settings={CANCELLING: str(CANCELLING_SECONDS)}) as url:
            trials = measure(folder, url, given.runs)
    console = Console(width=WIDTH)
    console.print(table(trials))
    summary = totals(trials)
    for kind, counts in summary.items():
        console.print(kind, *(f"{name}={count}" for name, count in counts.items()))
    print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        shown = [{**asdict(trial), "counts": trial.counts} for trial in trials]
        written = {"totals": summary, "trials": shown}
        given.json.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
