"""What became of a simulated world's runs: what was lost, what was doubled, and what is stuck."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.runs import CLAIM_ENV
from fargate_agent.task_details import told
from tests.support.simulated_prefect3 import DELETED
from tests.support.simulated_world import ENDED, World

CALLS_TOLD = 60


@dataclass(slots=True)
class Findings:
    """What is wrong; nothing, where all is as it should be.

    Lost is a run that came to another end than it should; doubled one that two tasks were started
    for, or that was executed twice, by one scheduling of it; stuck a run without an end, a task
    that still runs, a message that is still there.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.stuck)


def findings(world: World) -> Findings:
    """Look for what was lost, doubled or is stuck."""
    found = Findings(doubled=doubled(world))
    executed = {run for run, _ in world.fargate.executions}
    for run, ends in world.expected.items():
        state = world.side.state_of(run)
        if state not in ends:
            (found.lost if state in ENDED else found.stuck).append(f"{run}: {state}")
        elif state == "COMPLETED" and run not in executed:
            found.lost.append(f"{run}: never executed")
    found.stuck += [f"task of {task.run}" for task in world.fargate.live]
    for url, queue in world.work().items():
        found.stuck += [f"message in {url}: {message.body[:80]}" for message in queue.messages]
        if queue.dead_letters and queue.dead_letters.messages:
            found.stuck.append(f"dead letters of {url}")
    return found


def doubled(world: World) -> list[str]:
    """Tell which schedulings of a run had two tasks, or were executed twice."""
    executed = Counter(world.fargate.executions)
    started = Counter(_claim(task) for task in world.ecs.tasks.values())
    return [
        *(f"executed {n} times: {key}" for key, n in executed.items() if n > 1),
        *(f"{n} tasks: {claim}" for claim, n in started.items() if claim and n > 1),
    ]


def report(world: World) -> str:
    """Tell what happened, for a person to understand a failure."""
    lines = [str(call) for call in world.calls.made[-CALLS_TOLD:]]
    for run in world.expected:
        if world.side.state_of(run) != DELETED:
            lines += [f"run {run}", *world.side.told(run)]
    for task in world.ecs.tasks.values():
        lines.append(f"task of {task['startedBy']}: {task['lastStatus']}, claim {_claim(task)}")
    return "\n".join([*lines, f"executions: {world.fargate.executions}"])


def _claim(task: dict[str, Any]) -> str | None:
    return told(task, CLAIM_ENV)
