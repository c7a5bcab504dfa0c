import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.runs import FlowRun, claim_id, parse_time
from tests.support.values import NOON, RUN_ID, flow_run

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=OFFSETS)
OPTIONAL = st.none() | st.text()


@given(
    st.builds(
        FlowRun,
        id=st.text(),
        name=st.text(),
        scheduled_time=TIMES,
        claim_id=st.text(),
        flow_id=st.text(),
        flow_name=st.text(),
        deployment_id=OPTIONAL,
        deployment_name=OPTIONAL,
        deployment_updated=OPTIONAL,
        work_pool_updated=st.text(),
        work_queue_id=st.text(),
        has_job_variables=st.booleans(),
        references=st.dictionaries(st.text(), st.text(), max_size=3),
        worker_id=OPTIONAL,
    )
)
def test_a_run_comes_out_of_its_message_as_it_went_in(run: FlowRun):
    assert FlowRun.from_message(run.to_message()) == run


@given(TIMES, OFFSETS)
def test_a_claim_is_the_same_in_every_time_zone(time: datetime, zone: timezone):
    assert claim_id(RUN_ID, time.astimezone(zone)) == claim_id(RUN_ID, time)


@given(TIMES, TIMES)
def test_two_times_share_a_claim_only_when_they_are_one_instant(one: datetime, other: datetime):
    assert (claim_id(RUN_ID, one) == claim_id(RUN_ID, other)) == (one == other)


def test_a_claim_keeps_its_name_from_version_to_version():
    assert claim_id(RUN_ID, NOON) == "646187b4-d057-5ba1-8a75-059aa7b22120"


def test_two_runs_due_at_the_same_time_have_two_claims():
    assert claim_id("run-1", NOON) != claim_id("run-2", NOON)


@pytest.mark.parametrize(
    "text", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00", "2026-03-01T14:00:00+02:00"]
)
def test_prefects_times_are_read_as_utc(text: str):
    time = parse_time(text)

    assert time == NOON
    assert time.tzinfo is UTC


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "null",
        "5",
        "[]",
        "{}",
        json.dumps({"scheduled_time": "2026-03-01T12:00:00Z"}),
        json.dumps({**json.loads(flow_run().to_message()), "scheduled_time": "tomorrow"}),
        json.dumps({**json.loads(flow_run().to_message()), "scheduled_time": 5}),
        '{"scheduled_time": "0001-01-01T00:00:00+14:00"}',
        "[" * 200_000,
    ],
)
def test_a_foreign_message_is_refused_and_quoted(body: str):
    with pytest.raises(ValueError, match=r"^not a flow run message: ") as refusal:
        FlowRun.from_message(body)

    assert str(refusal.value).endswith(repr(body[:200]))


@pytest.mark.parametrize("unknown", ["references", "worker_id", "work_queue_id"])
def test_a_message_of_an_earlier_version_lacks_what_it_did_not_know(unknown: str):
    told = flow_run(references={"variables.x": "2026-03-01T00:00:00Z"}, worker_id="w-1")
    message = json.loads(told.to_message())
    del message[unknown]

    found = FlowRun.from_message(json.dumps(message))

    default = {"references": {}, "worker_id": None, "work_queue_id": ""}[unknown]
    assert getattr(found, unknown) == default
    assert found == dataclasses.replace(told, **{unknown: default})


@pytest.mark.parametrize("needed", ["id", "name", "scheduled_time", "claim_id", "flow_id"])
def test_a_message_without_what_every_version_tells_is_refused(needed: str):
    message = json.loads(flow_run().to_message())
    del message[needed]

    with pytest.raises(ValueError, match=f"^not a flow run message: .*{needed}"):
        FlowRun.from_message(json.dumps(message))


def test_a_message_of_a_later_version_is_read_for_what_this_one_knows():
    body = json.dumps({**json.loads(flow_run().to_message()), "color": "red"})

    assert FlowRun.from_message(body) == flow_run()
