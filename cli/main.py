"""The commands, and what they have in common: which agent is meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import wake
from cli.deployed_agent import DeployedAgent
from cli.doctor import doctor
from cli.errors import EXPECTED, told
from cli.kwargs.command import app as kwargs_app
from cli.output import errors
from cli.plan.command import plan_command
from cli.poke import poke
from cli.redrive import redrive
from cli.status import status

app = typer.Typer(
    help="Operate a Serverless Fargate Agent: what it would launch, why a run does not start.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_STRONGER = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_PROFILE",
)
"""Variables that boto3 prefers to ``AWS_PROFILE``; a profile that is named is the one meant."""

app.command("plan")(plan_command)
app.add_typer(kwargs_app, name="kwargs")
app.command()(doctor)
app.command()(status)
app.command()(poke)
app.command()(redrive)
app.add_typer(wake.app, name="wake")


@app.callback()
def which_agent(
    context: typer.Context,
    agent: Annotated[Path, typer.Option(help="Its settings' file.")] = Path("agent.toml"),
    stack: Annotated[str, typer.Option(help="Its stack; by default agent.name.")] = "",
    profile: Annotated[str, typer.Option(help="The AWS profile.")] = "",
    region: Annotated[str, typer.Option(help="The AWS region.")] = "",
) -> None:
    """Choose the agent."""
    if profile:
        os.environ["AWS_PROFILE"] = profile
        for name in _STRONGER:
            os.environ.pop(name, None)
    # boto3 knows only the second of the two names that AWS's other tools know.
    region = region or os.environ.get("AWS_REGION", "")
    if region:
        os.environ["AWS_DEFAULT_REGION"] = region
    context.obj = DeployedAgent(stack, agent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0, or 1 where something is wrong.

    Parameters
    ----------
    arguments
        Those of the process by default.
    """
    try:
        app(arguments)
    except EXPECTED as error:
        errors.print(told(error), style="red")
        raise SystemExit(1) from error
