import json
from contextlib import suppress
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE
from fargate_agent.poll import (
    REPEAT_SECONDS,
    UPKEEP_UNTIL_SECONDS,
    NotAllSent,
    Poller,
    handler,
)
from fargate_agent.runs import FlowRun
from infra.fargate_agent import TIMEOUTS
from tests.support.fakes import Clock, FakePrefect, FakeSqs
from tests.support.values import NOON, flow_run, settings

CONTEXT: Any = SimpleNamespace(aws_request_id="test")


def poller(
    prefect: FakePrefect | None = None, sqs: FakeSqs | None = None, **changes: Any
) -> tuple[Poller, FakePrefect, FakeSqs, Clock]:
    prefect, sqs, clock = prefect or FakePrefect(), sqs or FakeSqs(), Clock(NOON)
    made: Any = Poller(
        settings=settings(**changes),
        prefect=prefect,  # type: ignore[arg-type]
        sqs=sqs,  # type: ignore[arg-type]
        now=clock.now,
        sleep=clock.sleep,
    )
    return made, prefect, sqs, clock


def runs(count: int, start: int = 0) -> list[FlowRun]:
    """Return runs that are all due at one instant."""
    return [flow_run(id=f"run-{number}") for number in range(start, start + count)]


def runs_in_turn(count: int) -> list[FlowRun]:
    """Return runs that are due a second after each other, the last of them now."""
    return [
        flow_run(id=f"run-{number}", scheduled_time=NOON - timedelta(seconds=count - 1 - number))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("interval", "delays"),
    [(10, [10, 20, 30, 40, 50]), (20, [20, 40]), (30, [30]), (60, []), (120, [])],
)
def test_ticks_fill_the_minute_between_two_scheduled_polls(interval: int, delays: list[int]):
    agent, _, sqs, _ = poller(poll_interval_seconds=interval)

    agent.send_ticks()

    sent = [entry for _, entries in sqs.batches for entry in entries]
    assert [entry["DelaySeconds"] for entry in sent] == delays
    assert [json.loads(entry["MessageBody"]) for entry in sent] == [{"tick": d} for d in delays]
    assert {queue for queue, _ in sqs.batches} <= {"https://sqs/ticks"}


def test_more_ticks_than_a_batch_holds_go_in_two():
    agent, _, sqs, _ = poller(poll_interval_seconds=5)

    agent.send_ticks()

    assert [len(ids) for ids in sqs.sent_ids] == [10, 1]
    assert sqs.all_sent == [str(delay) for delay in range(5, 60, 5)]


def test_an_agent_without_a_ticks_queue_sends_no_ticks():
    agent, _, sqs, _ = poller(ticks_queue_url=None)

    agent.send_ticks()

    assert sqs.batches == []


def test_a_due_run_becomes_one_message_of_its_own_group_named_by_its_claim():
    run = flow_run()
    agent, _, sqs, _ = poller(FakePrefect(pages=[[run]]))

    assert agent.poll() == 1

    message = {
        "Id": run.claim_id,
        "MessageBody": run.to_message(),
        "MessageGroupId": run.id,
        "MessageDeduplicationId": run.claim_id,
    }
    assert sqs.batches == [("https://sqs/runs.fifo", [message])]


@pytest.mark.parametrize(("interval", "horizon"), [(10, 70), (60, 120), (120, 180)])
def test_a_poll_looks_past_the_next_one_by_a_margin(interval: int, horizon: int):
    agent, prefect, _, _ = poller(poll_interval_seconds=interval)

    assert agent.poll() == 0

    assert prefect.horizons == [NOON + timedelta(seconds=horizon)]


def test_nothing_due_sends_nothing():
    agent, _, sqs, clock = poller()

    agent.poll()

    assert (sqs.batches, clock.slept) == ([], [])


def test_every_poll_shows_the_agent_online():
    agent, prefect, _, _ = poller(poll_interval_seconds=20)

    agent.poll()

    assert prefect.told == [("heartbeat", 20)]


def test_a_failed_heartbeat_does_not_stop_the_poll():
    failure = ApiError("POST /heartbeat", 503, "busy")
    agent, _, sqs, _ = poller(FakePrefect(pages=[runs(1)], failure=failure))

    assert agent.poll() == 1
    assert len(sqs.batches) == 1


def test_a_pool_that_is_not_ours_to_serve_stops_the_poll():
    agent, prefect, _, _ = poller(FakePrefect(failure=PermanentError("of type 'process'")))

    with pytest.raises(PermanentError, match="of type 'process'"):
        agent.poll()
    assert prefect.horizons == []


def test_a_full_answer_is_followed_by_a_question_for_what_comes_after_it():
    every = runs_in_turn(203)
    agent, prefect, sqs, clock = poller(FakePrefect(pages=[every[:PAGE_SIZE], every[199:]]))

    assert agent.poll() == 203

    assert sqs.all_sent == [run.claim_id for run in every]
    assert prefect.afters == [None, every[199].scheduled_time]
    assert clock.slept == []


def test_more_runs_at_one_instant_than_an_answer_holds_are_seen_once_the_first_are_claimed():
    first, rest = runs(PAGE_SIZE), runs(3, start=PAGE_SIZE)
    agent, prefect, sqs, clock = poller(FakePrefect(pages=[first, first, rest]))

    assert agent.poll() == 203

    assert sqs.all_sent == [run.claim_id for run in [*first, *rest]]
    assert prefect.afters == [None, NOON, None]
    assert clock.slept == [1]


class SlowPrefect(FakePrefect):
    """A server that takes two seconds for an answer."""

    clock: Clock

    def due_runs(self, before: datetime, *, after: datetime | None = None) -> Page:
        self.clock.time += timedelta(seconds=2)
        return super().due_runs(before, after=after)


def test_of_a_backlog_of_thousands_what_is_due_first_is_enqueued_within_the_polls_time():
    every = runs_in_turn(20 * (PAGE_SIZE - 1) + 1)
    pages = [every[start : start + PAGE_SIZE] for start in range(0, len(every) - 1, PAGE_SIZE - 1)]
    prefect = SlowPrefect(pages=pages)
    agent, _, sqs, clock = poller(prefect)
    prefect.clock = clock

    agent.poll()

    assert (clock.time - NOON).total_seconds() == 10
    assert sqs.all_sent == [run.claim_id for run in every[: 5 * (PAGE_SIZE - 1) + 1]]


def test_what_was_sent_lately_is_not_sent_again():
    page = runs(3)
    agent, prefect, sqs, clock = poller(FakePrefect())
    for seconds in (0, 10, REPEAT_SECONDS - 11, 1, 10):
        clock.time += timedelta(seconds=seconds)
        prefect.pages = [page]
        agent.poll()

    assert sqs.all_sent == [run.claim_id for run in page] * 2
    assert (clock.time - NOON).total_seconds() == REPEAT_SECONDS + 10


def test_what_was_not_sent_is_sent_by_the_next_poll():
    page = runs(1)
    refused = {page[0].claim_id: True}
    agent, prefect, sqs, _ = poller(FakePrefect(pages=[page]), FakeSqs(refusals=[refused]))
    with pytest.raises(NotAllSent):
        agent.poll()
    prefect.pages = [page]
    agent.poll()

    assert sqs.sent_ids == [[page[0].claim_id]] * 2


def test_an_answer_ordered_by_priority_is_not_gone_on_from():
    page = list(reversed(runs_in_turn(PAGE_SIZE)))
    agent, prefect, _, clock = poller(FakePrefect(pages=[page, []]))

    assert agent.poll() == PAGE_SIZE

    assert prefect.afters == [None, None]
    assert clock.slept == [1]


def test_a_backlog_is_left_to_the_next_poll_when_its_time_has_come():
    page = runs(PAGE_SIZE)
    agent, prefect, sqs, clock = poller(FakePrefect(pages=[page] * 100))

    assert agent.poll() == PAGE_SIZE

    assert clock.slept == [1] * 5  # half of its time without anything new
    assert len(prefect.horizons) == 12
    assert len(sqs.all_sent) == PAGE_SIZE


def test_a_long_interval_does_not_keep_a_poll_beyond_its_functions_time():
    agent, _, _, clock = poller(
        FakePrefect(pages=[runs(PAGE_SIZE)] * 500), poll_interval_seconds=3600
    )
    agent.poll()

    assert clock.slept == [1] * 20


def test_where_a_concurrency_limit_applies_only_what_is_due_is_enqueued():
    due = flow_run(id="due")
    ahead = flow_run(id="ahead", scheduled_time=NOON + timedelta(seconds=5))
    free = flow_run(id="free", scheduled_time=NOON + timedelta(seconds=5), work_queue_id="queue-2")
    prefect = FakePrefect(pages=[[due, ahead, free]], limited=frozenset({"queue-1"}))
    agent, _, sqs, _ = poller(prefect)

    agent.poll()

    assert sqs.all_sent == [due.claim_id, free.claim_id]


class FakeUpkeep:
    """Keeps what it was asked to do, and until when."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    def tend(self, *, until: float) -> None:
        self.asked.append(("tend", until))

    def cancel(self, *, until: float) -> None:
        self.asked.append(("cancel", until))


@pytest.fixture
def upkeep(monkeypatch: pytest.MonkeyPatch) -> FakeUpkeep:
    made = FakeUpkeep()
    monkeypatch.setattr("fargate_agent.poll._upkeep", lambda: made)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    return made


POKE = {
    "rawPath": "/api/poke",
    "headers": {"authorization": "Bearer knock"},
    "requestContext": {"http": {}},
}


class Knock:
    def matches(self, authorization: str) -> bool:
        return authorization == "Bearer knock"


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        ({}, [("tend", 1000.0 + UPKEEP_UNTIL_SECONDS)]),
        ({"Records": [{"body": "{}"}]}, []),
        (POKE, [("cancel", 1000.0 + UPKEEP_UNTIL_SECONDS)]),
        ({**POKE, "rawPath": "/api/health"}, []),
        ({**POKE, "headers": {}}, []),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_runs_are_looked_after_at_each_scheduled_poll_and_cancelled_at_a_poke(
    monkeypatch: pytest.MonkeyPatch,
    upkeep: FakeUpkeep,
    event: dict[str, Any],
    asked: list[Any],
    fails: bool,
):
    agent, prefect, _, _ = poller()
    monkeypatch.setattr("fargate_agent.poll._poller", lambda: agent)
    monkeypatch.setattr("fargate_agent.poll._secret", Knock)
    if fails:
        prefect.failure = PermanentError("of type 'process'")

    with suppress(PermanentError):
        handler(event, CONTEXT)

    assert upkeep.asked == asked


def test_upkeep_ends_before_lambda_ends_the_function():
    assert TIMEOUTS["poll"].to_seconds() > UPKEEP_UNTIL_SECONDS


def test_ticks_that_cannot_be_sent_do_not_stop_the_poll(
    monkeypatch: pytest.MonkeyPatch, upkeep: FakeUpkeep
):
    agent, prefect, sqs, _ = poller()
    sqs.refusals = [{str(delay): True for delay in range(10, 60, 10)}]
    monkeypatch.setattr("fargate_agent.poll._poller", lambda: agent)

    with pytest.raises(NotAllSent):
        handler({}, CONTEXT)

    assert len(prefect.horizons) == 1
    assert len(upkeep.asked) == 1


def test_a_lost_runs_message_is_sent_again_once_an_hour():
    agent, _, sqs, clock = poller()
    run = flow_run()

    for minutes in (0, 30, 45):
        clock.time = NOON + timedelta(minutes=minutes)
        agent.enqueue_again([run])
    clock.time = NOON + timedelta(minutes=61)
    agent.enqueue_again([run])

    sent = [entry for _, (entry,) in sqs.batches]
    assert len({entry["MessageDeduplicationId"] for entry in sent}) == 2
    assert run.claim_id not in {entry["MessageDeduplicationId"] for entry in sent}
    assert {entry["MessageBody"] for entry in sent} == {run.to_message()}
    assert {entry["MessageGroupId"] for entry in sent} == {run.id}
    assert all(len(entry["MessageDeduplicationId"]) <= 128 for entry in sent)


def test_messages_go_in_batches_of_ten():
    agent, _, sqs, _ = poller(FakePrefect(pages=[runs(25)]))

    agent.poll()

    assert [len(ids) for ids in sqs.sent_ids] == [10, 10, 5]


def test_what_sqs_refuses_through_its_own_fault_is_sent_again_alone():
    due = runs(3)
    sqs = FakeSqs(refusals=[{due[1].claim_id: False}])
    agent, _, _, clock = poller(FakePrefect(pages=[due]), sqs)

    assert agent.poll() == 3

    assert sqs.sent_ids == [[run.claim_id for run in due], [due[1].claim_id]]
    assert len(clock.slept) == 1


def test_what_is_refused_to_the_last_fails_the_poll_after_all_others_are_sent():
    due = runs(12)
    bad = due[0].claim_id
    agent, _, sqs, clock = poller(
        FakePrefect(pages=[due]), FakeSqs(refusals=[{bad: False}, {bad: False}, {bad: False}])
    )

    with pytest.raises(NotAllSent, match=r"^1 of 12 messages were not sent$"):
        agent.poll()

    ids = [run.claim_id for run in due]
    assert sqs.sent_ids == [ids[:10], [bad], [bad], ids[10:]]
    assert clock.slept == sorted(clock.slept)
    assert len(clock.slept) == 2


def test_what_is_refused_through_our_own_fault_is_not_sent_again():
    due = runs(11)
    bad = due[3].claim_id
    agent, _, sqs, clock = poller(FakePrefect(pages=[due]), FakeSqs(refusals=[{bad: True}]))

    with pytest.raises(NotAllSent, match=r"^1 of 11 messages were not sent$"):
        agent.poll()

    assert [len(ids) for ids in sqs.sent_ids] == [10, 1]
    assert clock.slept == []


def test_what_may_still_pass_is_sent_again_though_another_message_cannot():
    due = runs(2)
    bad, busy = due[0].claim_id, due[1].claim_id
    sqs = FakeSqs(refusals=[{bad: True, busy: False}, {bad: True}])
    agent, _, _, clock = poller(FakePrefect(pages=[due]), sqs)

    with pytest.raises(NotAllSent, match=r"^1 of 2 messages were not sent$"):
        agent.poll()

    assert all(busy in ids for ids in sqs.sent_ids)
    assert len(sqs.sent_ids) == 2
    assert len(clock.slept) == 1
