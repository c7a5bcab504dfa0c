"""The command ``plan``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError
from cli.output import AsJson, show
from cli.plan.layers import Ingredients
from cli.plan.planning import Plan, Value, ingredients, plan
from cli.plan.targets import Target, targets
from fargate_agent import clients
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles

_ACTIONS = {
    "reuse": "reuses task definition {revision}",
    "register": "registers a new revision",
    "named": "runs the task definition {revision}",
    "refuse": "would be refused",
}
_STYLES = {"+": "green", "-": "red", "~": "yellow", " ": "dim"}


def plan_command(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A deployment, flow or flow run, by name or id.")],
    changes: Annotated[
        bool, typer.Option("--changes", help="Leave out what is as it was.")
    ] = False,
    request: Annotated[
        bool, typer.Option("--request", help="Show the request itself too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be launched, and where each value comes from. Launches nothing."""
    agent: DeployedAgent = context.obj
    given = ingredients(agent)
    files = clients.kwargs_files(given.settings, given.model)
    plans = [_planned(given, target, files) for target in targets(agent, what)]
    show(
        [as_data(made) for made in plans],
        Group(*(t for made in plans for t in as_text(made, changes=changes, request=request))),
        as_json=as_json,
    )


def _planned(given: Ingredients, target: Target, files: KwargsFiles) -> Plan:
    try:
        return plan(given, target, files.read(target.run))
    except PermanentError as error:  # which names no deployment, and there may be several
        raise CommandError(f"{target.title}: {error}") from error


def as_data(made: Plan) -> dict[str, Any]:
    """Return a plan as plain values."""
    return asdict(made)


def as_text(
    made: Plan, *, changes: bool = False, request: bool = False
) -> Iterable[RenderableType]:
    """Draw a plan.

    Parameters
    ----------
    changes
        Leave out the values that are as they were.
    request
        Show also the exact keyword arguments of ``run_task``.
    """
    does = _ACTIONS[made.action].format(revision=made.revision)
    yield Text(f"{made.title}: {does}", style="bold")
    if made.state not in (None, "SCHEDULED", "PENDING"):
        yield Text(f"  The run is {made.state}: nothing would be launched now.", style="yellow")
    for reason in made.why:
        yield Text(f"  {reason}")
    if made.definition:
        compared = f", compared with {made.latest}" if made.latest else ", not registered yet"
        yield _table(f"Task definition{compared}", made.definition, changes=changes)
    yield _table("run_task, compared with a plain run's", made.request, changes=changes)
    if request:
        yield Text("run_task with exactly:")
        yield Text(json.dumps(made.run_task, indent=2))


def _table(title: str, values: Sequence[Value], *, changes: bool) -> RenderableType:
    shown = [value for value in values if not changes or value.change != " "]
    left_out = len(values) - len(shown)
    if not shown:
        return Text(f"  {title}: all {left_out} values are as they were.")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in ("", "parameter", "value", "from"):
        table.add_column(column, overflow="fold")
    for value in shown:
        cells = (value.change, value.path, _told(value), value.source)
        table.add_row(*map(Text, cells), style=_STYLES[value.change])
    if left_out:
        table.caption = f"{left_out} further values are as they were"
    return table


def _told(value: Value) -> str:
    match value.change:
        case "~":
            return f"{value.value} (was {value.before})"
        case "-":
            return f"(was {value.before})"
    return value.value or ""
