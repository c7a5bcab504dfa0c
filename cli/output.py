"""How the command line shows things: for people by ``rich``, for programs as JSON."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]

# What is shown is never rich's markup: a pool may be named "etl [dev]", and ":secret:" in an ARN
# would be drawn as an emoji.
console = Console(
    highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140
)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def show(data: Any, text: RenderableType, *, as_json: bool) -> None:
    """Write what was found.

    Parameters
    ----------
    data
        For programs: of plain values, times and tuples.
    text
        For people.
    """
    if as_json:
        print(json.dumps(data, indent=2, default=_plain))
    else:
        console.print(text)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
