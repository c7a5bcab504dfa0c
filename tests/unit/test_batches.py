import threading
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch import process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.batches import MAX_BACKOFF_SECONDS, MessageGroups, backoff_seconds
from tests.support.values import NOON, sqs_record


def process(records: list[dict[str, Any]], handle: Callable[[SQSRecord], None]) -> list[str]:
    answer = process_partial_response(
        event={"Records": records}, record_handler=handle, processor=MessageGroups()
    )
    return sorted(failure["itemIdentifier"] for failure in answer["batchItemFailures"])


def message(id: str, group: str | None = None) -> dict[str, Any]:
    return sqs_record("{}", id=id, group=group, sent=NOON)


class Handler:
    """Keeps which messages it saw, and fails those it is told to."""

    def __init__(self, *failing: str) -> None:
        self.seen: list[str] = []
        self._failing = failing

    def __call__(self, record: SQSRecord) -> None:
        self.seen.append(record.message_id)
        if record.message_id in self._failing:
            raise RuntimeError("no")


def test_all_that_succeeds_is_acknowledged():
    handler = Handler()

    assert process([message("a1", "a"), message("b1", "b")], handler) == []
    assert sorted(handler.seen) == ["a1", "b1"]


def test_a_group_is_worked_through_in_its_order():
    handler = Handler()

    process([message(f"a{number}", "a") for number in range(9)], handler)

    assert handler.seen == [f"a{number}" for number in range(9)]


def test_all_that_follows_a_groups_first_failure_fails_untried():
    handler = Handler("a2")

    failed = process([message(f"a{number}", "a") for number in (1, 2, 3, 4)], handler)

    assert failed == ["a2", "a3", "a4"]
    assert handler.seen == ["a1", "a2"]


def test_a_failure_leaves_the_other_groups_alone():
    records = [message(id, id[0]) for id in ("a1", "b1", "a2", "b2", "c1")]
    handler = Handler("a1")

    assert process(records, handler) == ["a1", "a2"]
    assert sorted(handler.seen) == ["a1", "b1", "b2", "c1"]


def test_messages_of_a_standard_queue_are_each_a_group():
    handler = Handler("m1")

    assert process([message("m1"), message("m2")], handler) == ["m1"]
    assert sorted(handler.seen) == ["m1", "m2"]


def test_a_batch_that_fails_whole_is_reported_message_by_message():
    assert process([message("a1", "a"), message("b1", "b")], Handler("a1", "b1")) == ["a1", "b1"]


def test_groups_are_worked_through_side_by_side():
    everyone = threading.Barrier(10, timeout=30)

    def meet(record: SQSRecord) -> None:
        everyone.wait()  # breaks, and fails the message, unless all ten are here at once

    assert process([message(f"m{number}", f"g{number}") for number in range(10)], meet) == []


@given(st.integers(1, 10_000))
def test_a_back_off_is_never_shorter_than_a_second_nor_longer_than_the_longest(receives: int):
    assert 1 <= backoff_seconds(receives) <= MAX_BACKOFF_SECONDS


@given(st.integers(1, 10_000))
def test_a_back_off_lies_in_the_upper_half_of_its_ceiling(receives: int):
    ceiling = min(2**receives, MAX_BACKOFF_SECONDS)

    assert backoff_seconds(receives, jitter=lambda low, high: low) == ceiling / 2
    assert backoff_seconds(receives, jitter=lambda low, high: high) == ceiling


def test_the_back_off_doubles_until_it_reaches_the_longest():
    longest = [backoff_seconds(n, jitter=lambda low, high: high) for n in range(1, 11)]

    assert longest == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize("receives", [0, 1])
def test_a_first_back_off_is_short(receives: int):
    assert 1 <= backoff_seconds(receives) <= 2
