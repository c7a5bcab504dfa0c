import io
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from fargate_agent.observability import Metric, Metrics, logger, observed
from tests.support.emf import lines_in, metrics_in

CONTEXT: Any = SimpleNamespace(aws_request_id="8f3a1c52")


def test_what_is_collected_is_written_once(capsys: pytest.CaptureFixture[str]):
    metrics = Metrics("night")
    metrics.add(Metric.RUNS_LAUNCHED)
    metrics.add(Metric.RUNS_LAUNCHED)
    metrics.add(Metric.LAUNCH_DELAY, 1.5)
    metrics.add(Metric.LAUNCH_DELAY, 0.25)

    metrics.flush()
    metrics.flush()

    (line,) = lines_in(capsys.readouterr().out)
    assert line["_aws"]["CloudWatchMetrics"] == [
        {
            "Namespace": "FargateAgent",
            "Dimensions": [["agent"]],
            "Metrics": [
                {"Name": "RunsLaunched", "Unit": "Count"},
                {"Name": "LaunchDelay", "Unit": "Seconds"},
            ],
        }
    ]
    told = {key: value for key, value in line.items() if key != "_aws"}
    assert told == {"agent": "night", "RunsLaunched": [2], "LaunchDelay": [1.5, 0.25]}


def test_a_cause_is_a_second_set_of_dimensions(capsys: pytest.CaptureFixture[str]):
    metrics = Metrics("night")
    for cause in ("out of memory", "no capacity", "out of memory"):
        metrics.add(Metric.CRASHES, cause=cause)

    metrics.flush()

    assert metrics_in(capsys.readouterr().out) == {
        ("Crashes", "night"): [2, 1],
        ("Crashes", "night", "out of memory"): [2],
        ("Crashes", "night", "no capacity"): [1],
    }


def test_nothing_is_written_where_nothing_happened_or_metrics_are_off(
    capsys: pytest.CaptureFixture[str],
):
    off = Metrics("night", on=False)
    off.add(Metric.CRASHES, cause="out of memory")

    off.flush()
    Metrics("night").flush()

    assert capsys.readouterr().out == ""


def test_no_value_is_lost_between_threads(capsys: pytest.CaptureFixture[str]):
    metrics = Metrics("night")
    with ThreadPoolExecutor(10) as threads:
        for _ in range(10):
            threads.submit(lambda: [metrics.add(Metric.RUNS_LAUNCHED) for _ in range(1000)])

    metrics.flush()

    assert metrics_in(capsys.readouterr().out) == {("RunsLaunched", "night"): [10_000]}


def test_metrics_are_written_though_the_invocation_fails(capsys: pytest.CaptureFixture[str]):
    metrics = Metrics("night")

    with pytest.raises(RuntimeError), observed(CONTEXT, metrics):  # noqa: PT012
        metrics.add(Metric.RUNS_ENQUEUED)
        raise RuntimeError("killed")

    assert metrics_in(capsys.readouterr().out) == {("RunsEnqueued", "night"): [1]}


def test_a_line_names_its_invocation_and_leaves_out_what_there_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    written = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", written)

    with observed(CONTEXT, Metrics("night")):
        logger.info("stopped", flow_run_id="run-1", claim_id=None)

    line = json.loads(written.getvalue())
    assert (
        line.items()
        >= {
            "level": "INFO",
            "message": "stopped",
            "flow_run_id": "run-1",
            "function_request_id": "8f3a1c52",
        }.items()
    )
    assert "claim_id" not in line
