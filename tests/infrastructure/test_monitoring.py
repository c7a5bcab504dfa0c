"""Which alarm watches what and when it rings; what the dashboard and the queries look at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fargate_agent.diagnosis import Cause
from fargate_agent.dispatch import SLOT_SECONDS
from fargate_agent.observability import NAMESPACE, Metric
from fargate_agent.poll import MARGIN_SECONDS
from infra.fargate_agent import MAX_RECEIVES
from infra.monitoring import OLDEST_SECONDS, QUERIES
from tests.support.stack_template import (
    Deployed,
    config,
    default_template,
    of_type,
    template,
)

TOPIC = "arn:aws-us-gov:sns:us-gov-west-1:123456789012:alarms"
ALARM, DASHBOARD = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"


def alarms(**sections: Any) -> dict[str, dict[str, Any]]:
    """Return the properties of every alarm by its name in the construct."""
    made = of_type(template(config(**sections)), ALARM)
    return {
        re.sub(r"^AgentMonitoring|[0-9A-F]{8}$", "", id): resource["Properties"]
        for id, resource in made.items()
    }


def watched(alarm: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return namespace, metric and subject of what an alarm watches, resolved."""
    deployed = Deployed(template(config()))
    stats = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
    return [
        (m["Namespace"], m["MetricName"], deployed.resolve(m["Dimensions"][0]["Value"]))
        for m in stats or [alarm]
    ]


def test_each_alarm_watches_what_its_name_says() -> None:
    found = {name: watched(alarm) for name, alarm in alarms().items()}
    ids = {
        name: Deployed(template(config())).function(name)[0]
        for name in ("poll", "dispatch", "watch")
    }
    queues = {
        re.sub(r"^Agent|[0-9A-F]{8}$", "", id): Deployed(template(config())).resolve(
            {"Fn::GetAtt": [id, "QueueName"]}
        )
        for id in of_type(template(config()), "AWS::SQS::Queue")
    }
    visible = ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert found == {
        "DeadLetters": [(*visible, queues["DeadLetters"])],
        "TaskEventDeadLetters": [(*visible, queues["TaskEventDeadLetters"])],
        "OldestMessage": [("AWS/SQS", "ApproximateAgeOfOldestMessage", queues["Runs"])],
        "NoPoll": [
            ("AWS/Lambda", "Invocations", ids["poll"]),
            ("AWS/Lambda", "Errors", ids["poll"]),
        ],
        "LaunchFailures": [("FargateAgent", "PermanentFailures", "fargate-agent")],
        "DispatchErrors": [("AWS/Lambda", "Errors", ids["dispatch"])],
        "DispatchThrottles": [("AWS/Lambda", "Throttles", ids["dispatch"])],
        "WatchErrors": [("AWS/Lambda", "Errors", ids["watch"])],
        "WatchThrottles": [("AWS/Lambda", "Throttles", ids["watch"])],
    }
    assert sum(map(len, found.values())) == 10  # as many alarm metrics are free in an account


@pytest.mark.parametrize(("interval", "minutes"), [(10, 5), (180, 8), (3600, 122)])
def test_silence_is_five_minutes_without_a_good_poll_or_more_than_one_that_failed(
    interval: int, minutes: int
) -> None:
    silence = alarms(agent={"poll_interval_seconds": interval})["NoPoll"]

    (expression,) = (m for m in silence["Metrics"] if "Expression" in m)
    # Filled: CloudWatch would look back for real values in place of missing ones, and ring late.
    assert expression["Expression"] == "FILL(invocations, 0) - FILL(errors, 0)"
    periods = {m["MetricStat"]["Period"] for m in silence["Metrics"] if "MetricStat" in m}
    assert periods == {60}
    assert silence["EvaluationPeriods"] == minutes
    assert (silence["ComparisonOperator"], silence["Threshold"]) == ("LessThanThreshold", 1)
    assert silence["TreatMissingData"] == "breaching"  # a schedule that does not fire tells nothing


def test_what_comes_by_the_url_is_no_poll() -> None:
    silence = alarms(agent={"url": True})["NoPoll"]
    (expression,) = (m["Expression"] for m in silence["Metrics"] if "Expression" in m)
    assert expression == "FILL(invocations, 0) - FILL(SUM([errors, requests]), 0)"
    stats = {m["Id"]: m["MetricStat"]["Metric"] for m in silence["Metrics"] if "MetricStat" in m}
    assert stats["requests"]["MetricName"] == "UrlRequestCount"
    assert stats["requests"]["Dimensions"] == stats["invocations"]["Dimensions"]


def test_an_agent_that_is_switched_off_is_not_missed() -> None:
    assert "NoPoll" not in alarms(agent={"enabled": False})


@pytest.mark.parametrize("interval", [10, 3600])
def test_no_wait_that_is_meant_is_an_old_message(interval: int) -> None:
    oldest = alarms(agent={"poll_interval_seconds": interval})["OldestMessage"]

    ahead = interval + MARGIN_SECONDS
    for_a_slot = (MAX_RECEIVES // 2) * SLOT_SECONDS
    assert oldest["Threshold"] == OLDEST_SECONDS + interval > ahead + for_a_slot
    assert oldest["ComparisonOperator"] == "GreaterThanThreshold"


@pytest.mark.parametrize("name", ["DeadLetters", "TaskEventDeadLetters", "LaunchFailures"])
def test_one_is_enough(name: str) -> None:
    alarm = alarms()[name]
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1)
    assert alarm["TreatMissingData"] == "notBreaching"  # an idle queue or agent tells nothing


def test_alarms_ring_at_the_topic_when_they_go_off_and_when_all_is_well_again() -> None:
    assert {
        (alarm["AlarmActions"][0], alarm["OKActions"][0])
        for alarm in alarms(monitoring={"alarms_topic": TOPIC}).values()
    } == {(TOPIC, TOPIC)}
    assert not any("AlarmActions" in alarm for alarm in alarms().values())


def test_what_is_not_asked_for_is_not_made() -> None:
    off = {"dashboard": False, "alarms": False, "metrics": False}
    bare = template(config(monitoring=off))
    assert of_type(bare, ALARM) == of_type(bare, DASHBOARD) == {}


def test_without_metrics_nothing_looks_at_them() -> None:
    bare = template(config(monitoring={"metrics": False}))
    assert NAMESPACE not in json.dumps([of_type(bare, ALARM), of_type(bare, DASHBOARD)])
    assert "LaunchFailures" not in alarms(monitoring={"metrics": False})


def dashboard(**sections: Any) -> list[dict[str, Any]]:
    """Return the dashboard's widgets, top to bottom."""
    made = template(config(**sections)) if sections else default_template()
    (board,) = of_type(made, DASHBOARD).values()
    body = json.loads(Deployed(made).resolve(board["Properties"]["DashboardBody"]))
    return sorted(body["widgets"], key=lambda widget: (widget["y"], widget["x"]))


def metrics_of(widgets: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Return namespace and name of each metric that widgets show."""
    for widget in widgets:
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                yield metric[0], metric[1]


def test_the_dashboard_answers_four_questions_from_top_to_bottom() -> None:
    questions = [
        widget["properties"]["markdown"].partition("\n")[0]
        for widget in dashboard()
        if widget["type"] == "text"
    ]
    assert questions == [
        "## Is it working?",
        "## How late?",
        "## What fails?",
        "## What does it cost?",
    ]


def test_the_dashboard_shows_every_metric_of_the_agent() -> None:
    shown = {name for namespace, name in metrics_of(dashboard()) if namespace == NAMESPACE}
    assert shown == {metric.value for metric in Metric}


def test_the_dashboard_is_within_the_free_fifty_metrics() -> None:
    metrics = [
        json.dumps(metric[:-1])
        for widget in dashboard()
        for metric in widget["properties"].get("metrics", [])
        if isinstance(metric[0], str)
    ]
    assert len(set(metrics)) + len(Cause) <= 50


def test_widgets_do_not_overlap_and_fill_no_more_than_the_width() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in dashboard():
        assert widget["x"] + widget["width"] <= 24
        cells = {
            (widget["x"] + dx, widget["y"] + dy)
            for dx in range(widget["width"])
            for dy in range(widget["height"])
        }
        assert not taken & cells
        taken |= cells


def test_the_cost_of_a_month_is_that_of_the_use_shown_by_list_prices() -> None:
    (cost,) = (w for w in dashboard() if w["properties"].get("title", "").startswith("US dollars"))
    given = {"poll_calls": 8640, "poll_ms": 864_000, "runs_sent": 1, "runs_received": 2}
    by_label = {
        m[0]["label"]: m[0]["expression"]
        for m in cost["properties"]["metrics"]
        if isinstance(m[0], dict)
    }
    names = {"FILL": lambda value, _: value, "runs_empty": 21_600, **given}
    names["PERIOD"] = lambda _: 86_400
    assert cost["properties"]["setPeriodToTimeRange"]  # else the last day, not yet over, is shown
    assert not any("period" in metric[-1] for metric in cost["properties"]["metrics"])

    def dollars(label: str) -> float:
        return float(eval(by_label[label], {"__builtins__": {}}, names))

    # A month of 730 hours: 262,800 calls of 0.1 s and a quarter of a GB; 657,152 requests.
    assert dollars("Lambda: poll") == pytest.approx(0.0525 + 0.0876, abs=0.001)
    assert dollars("SQS: runs") == pytest.approx(0.3284, abs=0.001)
    assert set(by_label) == {
        *("Lambda: poll", "Lambda: dispatch", "Lambda: watch"),
        *("SQS: runs", "SQS: ticks", "SQS: events"),
    }


def test_x86_costs_what_it_costs() -> None:
    board = json.dumps(dashboard(deployment={"architecture": "x86_64"}))
    assert "0.0000166667 a GB-second on x86_64" in board
    assert "* 0.0000166667)" in board
    assert "0.0000133334" not in board


def test_queries_read_the_logs_of_the_functions_and_are_named_by_the_agent() -> None:
    made = template(config(agent={"name": "night"}))
    queries = [r["Properties"] for r in of_type(made, "AWS::Logs::QueryDefinition").values()]
    groups = [
        r["Properties"]["LoggingConfig"]["LogGroup"]
        for r in of_type(made, "AWS::Lambda::Function").values()
    ]

    assert {query["Name"]: query["QueryString"] for query in queries} == {
        f"night/{name}": query for name, query in QUERIES.items()
    }
    for id, resource in of_type(made, "AWS::Logs::QueryDefinition").items():
        name = resource["Properties"]["Name"].removeprefix("night/")
        assert re.sub(r"\W", "", name) in id  # an update that moved names would find them taken
    for query in queries:
        assert sorted(map(str, query["LogGroupNames"])) == sorted(map(str, groups))
