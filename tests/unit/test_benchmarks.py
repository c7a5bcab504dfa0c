"""The pure parts of the benchmarks: what is reckoned from what was measured."""

import json
from typing import Any

import pytest

from benchmarks.budgets import rows
from benchmarks.cost import between, workers
from benchmarks.prices import Usage, always_on
from benchmarks.report import markdown, replaced
from benchmarks.results import RESULTS
from benchmarks.scale.queues import LargeQueue
from benchmarks.scale.scenarios import evenly, on_the_minute, quantiles
from tests.faults.back_pressure.virtual_time import VirtualTime
from tests.support.values import NOON


def test_a_month_costs_what_its_units_do():
    used = Usage(lambda_requests=2e6, sqs_fifo_requests=1e6) + Usage(lambda_requests=3e6)

    assert used.cost() == pytest.approx(
        {**dict.fromkeys(Usage().cost(), 0.0), "Lambda": 1.0, "SQS": 0.5, "total": 1.5}
    )
    assert used.times(2).cost()["total"] == pytest.approx(3.0)


def test_a_worker_on_fargate_pays_for_its_size_and_its_address():
    assert always_on(0.25, 0.5, "x86_64") == pytest.approx(730 * (0.01012 + 0.0022225 + 0.005))


def test_what_lies_between_two_rates_is_in_proportion():
    known = {0: Usage(s3_gets=10), 100: Usage(s3_gets=30), 1000: Usage(s3_gets=40)}

    assert between(0, known).s3_gets == 10
    assert between(50, known).s3_gets == pytest.approx(20)
    assert between(100, known).s3_gets == 30
    assert between(550, known).s3_gets == pytest.approx(35)


def test_a_million_runs_a_day_need_several_workers():
    assert workers(1_000, 4.3) == 1
    assert workers(1_000_000, 4.3) == 3


def test_loads_are_due_evenly_or_on_the_minute():
    assert evenly(2, 2) == [0, 0.5, 1, 1.5]
    assert on_the_minute(0.05, 2) == [0, 0, 0, 60, 60, 60]
    assert quantiles([float(n) for n in range(101)])["p90"] == 90


def test_a_page_gets_its_tables_between_its_marks():
    page = "a\n<!-- begin t -->\nold\n<!-- end t -->\nb"

    table = markdown(["x"], [[1]])

    assert replaced(page, "t", table) == f"a\n<!-- begin t -->\n{table}\n<!-- end t -->\nb"
    with pytest.raises(ValueError, match="no <!-- begin other -->"):
        replaced(page, "other", table)


def entry(id: str) -> dict[str, Any]:
    return {"MessageBody": id, "MessageGroupId": id, "MessageDeduplicationId": id}


def test_the_large_queue_drops_repeats_hides_what_is_received_and_gives_up_in_the_end():
    clock = VirtualTime(NOON)
    with clock.installed():
        queue = LargeQueue(clock, max_receives=2, in_flight_limit=2)
        for id in ("a", "a", "b", "c"):
            queue.send(entry(id))
        assert (queue.sent, queue.repeats) == (3, 1)

        first = queue.receive()
        assert [record["body"] for record in first] == ["a", "b", "c"]
        assert queue.receive() == []
        queue.delete({first[0]["receiptHandle"]})
        queue.hide(first[1]["receiptHandle"], 5)
        clock.sleep(6)
        assert [record["body"] for record in queue.receive()] == ["b"]
        clock.sleep(301)
        queue.send(entry("a"))
        assert [record["body"] for record in queue.receive()] == ["c", "a"]
        assert [message.body for message in queue.dead] == ["b"]


def test_every_budget_has_a_row_in_the_results_that_are_kept():
    made = rows(json.loads(RESULTS.read_text()))

    assert len(made) >= 11
    assert all(row.agent and row.budget for row in made)
