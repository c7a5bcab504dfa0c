"""What the command line makes of logs, clocks, periods and stopped tasks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cli.doctor import identity, launch
from cli.doctor.findings import Level
from cli.errors import CommandError
from cli.function_log import errors_in
from cli.status import period

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FUNCTION = {"Configuration": {"FunctionName": "poll"}}


class Logs:
    """CloudWatch Logs with two pages of events."""

    def __init__(self, *messages: str) -> None:
        stamp = int(NOW.timestamp() * 1000)
        self._events = [{"message": message, "timestamp": stamp} for message in messages]
        self.asked: list[dict[str, Any]] = []

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if "nextToken" in asked:
            return {"events": self._events[1:]}
        return {"events": self._events[:1], "nextToken": "more"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"level": "ERROR", "message": "failed", "error": "401: no"}, "failed: 401: no"),
        (
            {"level": "ERROR", "message": "no", "exception": "Traceback\n  a\nKeyError: 'b'"},
            "no: Key",
        ),
        ({"level": "ERROR", "errorMessage": "timed out", "errorType": "E"}, "timed out: E"),
    ],
)
def test_an_error_tells_its_cause(written: dict[str, Any], text: str) -> None:
    (line,) = errors_in(Logs(json.dumps(written)), FUNCTION, NOW)

    assert line.text.startswith(text)


def test_errors_are_found_on_every_page_and_other_lines_left_out() -> None:
    told = json.dumps({"level": "INFO", "message": "ERROR is a word here"})
    logs = Logs(told, "[ERROR] Runtime.ImportError: no module", "START RequestId: ERROR", "[1]")

    (line,) = errors_in(logs, FUNCTION, NOW - timedelta(minutes=1))

    assert line.text == "Runtime.ImportError: no module"
    assert [asked.get("nextToken") for asked in logs.asked] == [None, "more"]
    assert logs.asked[0]["logGroupName"] == "/aws/lambda/poll"


@pytest.mark.parametrize(
    ("aws", "server", "level", "words"),
    [
        (0, 0, Level.OK, "agree"),
        (400, 400, Level.FAILURE, "400 s off AWS's"),
        (0, 90, Level.WARNING, "Prefect's clock is 90 s off"),
        (60, 60, Level.WARNING, "this machine's clock is 60 s off"),
        (0, None, Level.UNKNOWN, "Prefect's time is not known"),
        (None, 0, Level.UNKNOWN, "no Date header"),
    ],
)
def test_clocks_are_compared(
    monkeypatch: pytest.MonkeyPatch,
    aws: int | None,
    server: int | None,
    level: Level,
    words: str,
) -> None:
    def ahead(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    monkeypatch.setattr(identity, "_aws_time", lambda _: ahead(aws))
    monkeypatch.setattr(identity, "_date_of", lambda _: ahead(server))
    subject: Any = SimpleNamespace(
        now=lambda: NOW, client=lambda _: None, settings=SimpleNamespace(api_url="")
    )

    (finding,) = identity.clocks(subject)

    assert (finding.level, words in finding.found) == (level, True)


def test_a_task_that_did_not_end_well_is_told_in_the_words_of_its_diagnosis() -> None:
    stopped = {
        "taskArn": "arn:task",
        "lastStatus": "STOPPED",
        "stoppedReason": "CannotPullContainerError: not found",
        "containers": [{"name": "test-container"}],
    }

    finding = launch._judged(stopped)

    assert finding.level is Level.FAILURE
    assert finding.found.startswith("image not pulled.")
    assert "Check the image's name and tag" in finding.found


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2d", 172800)])
def test_a_period_has_a_unit(text: str, seconds: int) -> None:
    assert period(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1.5h"])
def test_what_is_no_period_is_an_error(text: str) -> None:
    with pytest.raises(CommandError, match="as in 30m"):
        period(text)


def test_a_period_goes_back_no_further_than_a_log() -> None:
    with pytest.raises(CommandError, match="--since 999999d: must be 3650d at most"):
        period("999999d")
