"""What the functions wrote: their JSON lines in CloudWatch Logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 600


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``fields`` are all that it says."""

    at: datetime
    level: str
    message: str
    fields: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The message, and the error that it was written for."""
        field = self.fields
        error = field.get("error") or field.get("reason") or field.get("exception") or ""
        error = error or ": ".join(
            filter(None, [field.get("errorType"), field.get("errorMessage")])
        )
        last = str(error).strip().rpartition("\n")[2]
        told = self.message if not last or last in self.message else f"{self.message}: {last}"
        return told if len(told) <= LONGEST_TEXT else f"{told[:LONGEST_TEXT]}…"


def lines(
    logs: Any, function: Mapping[str, Any], since: datetime, word: str = ""
) -> Iterator[Line]:
    """Return a function's lines since a time, in their order.

    Parameters
    ----------
    logs
        A client of CloudWatch Logs.
    function
        What ``GetFunction`` tells of it.
    word
        Leave out lines that do not hold this word, or these words as they stand.
    """
    configuration = function["Configuration"]
    group = configuration.get("LoggingConfig", {}).get("LogGroup")
    group = group or f"/aws/lambda/{configuration['FunctionName']}"
    asked: dict[str, Any] = {"logGroupName": group, "startTime": _milliseconds(since)}
    if word:
        asked["filterPattern"] = f'"{word}"'
    while True:
        answer = logs.filter_log_events(**asked)
        for event in answer["events"]:
            line = _line(event)
            if line:
                yield line
        if not answer.get("nextToken"):
            return
        asked["nextToken"] = answer["nextToken"]


def errors_in(logs: Any, function: Mapping[str, Any], since: datetime) -> list[Line]:
    """Return what a function wrote as errors, its crashes among them."""
    found = lines(logs, function, since, word="ERROR")
    return [line for line in found if line.level in ("ERROR", "CRITICAL")]


def _line(event: Mapping[str, Any]) -> Line | None:
    try:
        fields = json.loads(event["message"])
    except ValueError:
        return _plain_error(event)
    if not isinstance(fields, dict):
        return None
    message = fields.get("message") or fields.get("errorMessage") or fields.get("type") or ""
    if isinstance(message, dict):
        message = message.get("errorMessage", "")
    return Line(_time(event), str(fields.get("level", "")).upper(), str(message), fields)


def _plain_error(event: Mapping[str, Any]) -> Line | None:
    """Read a line that Lambda itself wrote as text: ``[ERROR] Type: message``."""
    text = str(event["message"]).strip()
    if not text.startswith("[ERROR]"):
        return None
    return Line(
        _time(event), "ERROR", text.removeprefix("[ERROR]").split("Traceback")[0].strip(), {}
    )


def _time(event: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(event["timestamp"] / 1000, UTC)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
