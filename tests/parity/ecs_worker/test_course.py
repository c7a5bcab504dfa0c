"""The course of the worker's launches, against what was recorded call for call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.ecs_worker.cases import DEFAULT_FILE, Case, Run, load
from tests.parity.ecs_worker.comparison import normalized
from tests.parity.ecs_worker.course import Course
from tests.parity.ecs_worker.course.habits import Habits
from tests.parity.ecs_worker.plan import recorded


@pytest.mark.parametrize("recording", load(DEFAULT_FILE), ids=lambda case: case.id)
def test_without_any_habit_it_is_the_recorded_one(recording: Case):
    played = Course(recording, Habits()).play([recorded(run) for run in recording.runs])

    for run, course in zip(recording.runs, played, strict=True):
        assert [normalized([*call]) for call in course.calls] == calls_of(run)
        assert course.outcome == ("crashed" if "error" in run.output else "launched")
        assert course.cluster == cluster_of(run)


def calls_of(run: Run) -> list[Any]:
    keys = ("operation", "params", "region", "access_key_id", "endpoint_url")
    return [
        normalized([call.get(key) for key in keys])
        for call in run.output["aws_calls"]
        if call["operation"] != "StopTask"
    ]


def cluster_of(run: Run) -> str | None:
    result = run.output.get("result")
    return result["identifier"].partition("::")[0] if result else None
