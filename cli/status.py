"""``status``: what the agent does now, and what it did lately."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.activity import Activity, Watcher
from cli.errors import CommandError
from cli.output import AsJson, console, show
from cli.prefect import Run

SHOWN = 10
"""So many launches and failures, the last ones; ``--json`` has them all."""

LONGEST = timedelta(days=3650)
"""As long as CloudWatch keeps a log."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def status(
    context: typer.Context,
    *,
    since: Annotated[str, typer.Option(help="How far to look back: 30m, 1h, 2d.")] = "1h",
    watch: Annotated[bool, typer.Option(help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=1)] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the last poll, the queues, the running tasks, launches and failures."""
    if watch and as_json:
        raise CommandError("--watch is for people and --json for programs: choose one")
    watcher = Watcher(context.obj, period(since))
    if watch:
        _watch(watcher, since, every)
        return
    activity = watcher.look()
    show(asdict(activity), drawn(activity, since), as_json=as_json)


def period(text: str) -> timedelta:
    """Read a period such as ``30m``.

    Raises
    ------
    CommandError
        It is none.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if not found:
        raise CommandError(f"--since {text}: must be a number and s, m, h or d, as in 30m")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > LONGEST.total_seconds():
        raise CommandError(f"--since {text}: must be {LONGEST.days}d at most")
    return timedelta(seconds=seconds)


def _watch(watcher: Watcher, since: str, every: float) -> None:
    try:
        with Live(
            drawn(watcher.look(), since), console=console, screen=console.is_terminal
        ) as live:
            while True:
                time.sleep(every)
                live.update(drawn(watcher.look(), since), refresh=True)
    except KeyboardInterrupt:
        return


def drawn(activity: Activity, since: str) -> RenderableType:
    """Draw a look at the agent."""
    parts: list[RenderableType] = [_poll(activity), *_queues(activity), _tasks(activity)]
    parts += [_launches(activity, since), _failures(activity, since)]
    parts += [Text(f"Not known: {reason}", style="cyan") for reason in activity.unknown]
    return Group(*parts)


def _poll(activity: Activity) -> Text:
    if activity.last_poll is None:
        told = "Last poll: not known"
    else:
        age = (activity.at - activity.last_poll).total_seconds()
        told = (
            f"Last poll: {activity.last_poll:%H:%M:%S} UTC, {max(age, 0):.0f} s ago; "
            f"one every {activity.poll_interval_seconds} s"
        )
    return Text(told if activity.enabled else f"{told}. The agent is disabled (agent.enabled).")


def _queues(activity: Activity) -> list[Text]:
    return [
        Text(
            f"Queue of {name}: {depth.visible} waiting, {depth.in_flight} hidden or in flight, "
            f"{depth.delayed} delayed, {depth.dead_letters} dead letters",
            style="red" if depth.dead_letters else "",
        )
        for name, depth in activity.queues.items()
    ]


def _tasks(activity: Activity) -> RenderableType:
    if not activity.tasks:
        return Text("No task runs.")
    table = _table("Tasks", "run", "flow run", "in Prefect", "task", "since", "cpu / memory")
    for task in activity.tasks:
        size = f"{task.cpu} / {task.memory}"
        state = task.run.state if task.run else ""
        since = _clock(task.since)
        table.add_row(_name(task.run), task.flow_run_id, state, task.status, since, size)
    return table


def _launches(activity: Activity, since: str) -> RenderableType:
    if not activity.launches:
        return Text(f"No launch in {since}.")
    delays = [launch.delay_seconds for launch in activity.launches]
    title = (
        f"{len(delays)} launches in {since}: delay median {statistics.median(delays):.2f} s, "
        f"max {max(delays):.2f} s"
    )
    table = _table(title, "at", "run", "flow run", "in Prefect", "task definition", "delay")
    for launch in activity.launches[-SHOWN:]:
        table.add_row(
            _clock(launch.at),
            _name(launch.run),
            launch.flow_run_id,
            launch.run.state if launch.run else "",
            launch.task_definition,
            f"{launch.delay_seconds:+.2f} s",
        )
    return table


def _failures(activity: Activity, since: str) -> RenderableType:
    if not activity.troubles:
        return Text(f"No failure in {since}.")
    counts = ", ".join(f"{count} {what}" for what, count in activity.counts.items())
    table = _table(f"Failures in {since}: {counts}", "at", "what", "run", "flow run", "why")
    for trouble in activity.troubles[-SHOWN:]:
        run = _name(trouble.run)
        table.add_row(_clock(trouble.at), trouble.what, run, trouble.flow_run_id, trouble.reason)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "flow run")
    return table


def _clock(time: datetime | None) -> str:
    return f"{time:%H:%M:%S}" if time else ""


def _name(run: Run | None) -> Text:
    return Text(run.name if run else "")
