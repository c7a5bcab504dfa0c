"""What a check found: one line, with the remedy where something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rich.table import Table
from rich.text import Text


class Level(StrEnum):
    """How a line is meant. Only a failure makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "not known"


_COLOURS = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
    Level.UNKNOWN: "cyan",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Tell of what is as it should be."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Tell of what may be meant, or will be trouble."""
    return Finding(check, Level.WARNING, found, remedy)


def failure(check: str, found: str, remedy: str) -> Finding:
    """Tell of what keeps runs from starting, or from ending well."""
    return Finding(check, Level.FAILURE, found, remedy)


def unknown(check: str, found: str, remedy: str = "") -> Finding:
    """Tell of what could not be looked at."""
    return Finding(check, Level.UNKNOWN, found, remedy)


def drawn(findings: Iterable[Finding]) -> Table:
    """Draw the lines."""
    table = Table(title="Doctor", show_lines=False)
    table.add_column("checked")
    table.add_column("", no_wrap=True)
    table.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(finding.check, Text(finding.level, style=_COLOURS[finding.level]), text)
    return table


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether something is wrong."""
    return any(finding.level is Level.FAILURE for finding in findings)
