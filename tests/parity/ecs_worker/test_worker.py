"""The model of the worker, against what the worker was recorded to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.ecs_worker.cases import DEFAULT_FILE, Run, load
from tests.parity.ecs_worker.comparison import normalized
from tests.parity.ecs_worker.plan import BUGS
from tests.parity.ecs_worker.worker import calls
from tests.parity.ecs_worker.worker.configuration import configuration

RUNS = [run for case in load(DEFAULT_FILE) for run in case.runs]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.case.id}-{run.index}")
def test_what_was_not_recorded_is_derived_as_what_was(run: Run):
    derived = derive(run)

    assert derived or ("error" in run.output and not of(run, "RunTask"))
    for operation, params in derived.items():
        for recorded in of(run, operation):
            assert normalized(recorded["params"]) == normalized(params)


def derive(run: Run) -> dict[str, Any]:
    """Return the derived parameters of each operation; none where the worker refuses the run."""
    try:
        return _derived(run)
    except BUGS:
        return {}


def _derived(run: Run) -> dict[str, Any]:
    given = run.given
    job = configuration(given)
    region = next((call["region"] for call in run.output["aws_calls"]), "us-east-1")
    arn = job["task_run_request"].get("taskDefinition")
    derived, is_new = {}, bool(of(run, "RegisterTaskDefinition"))
    if arn:
        made = of(run, "DescribeTaskDefinition")[-1]["response"]["taskDefinition"]
    else:
        made = derived["RegisterTaskDefinition"] = calls.definition(given, job, region)
    calls.check(made, job)
    starts = of(run, "RunTask")
    if starts:
        asked = starts[0]["params"]
        network = asked.get("networkConfiguration") if calls.wants_look_up(made, job) else None
        assert calls.wants_look_up(made, job) is bool(of(run, "DescribeVpcs"))
        derived["RunTask"] = calls.request(
            job, made, asked["taskDefinition"], network, is_new=is_new
        )
    elif not of(run, "DescribeVpcs"):
        calls.request(job, made, arn or "", None, is_new=is_new)
    return derived


def of(run: Run, operation: str) -> list[Any]:
    """Return a run's recorded calls of one operation."""
    return [call for call in run.output["aws_calls"] if call["operation"] == operation]
