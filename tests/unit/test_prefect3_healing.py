"""What heals runs of Prefect 2 and 3: their states of old, their relaunch, and events."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.util import retry

from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.orchestrators.prefect3 import MOST_PAGES, PAGE_SIZE, Prefect3
from fargate_agent.runs import claim_id, relaunch_id
from tests.support.fakes import run_state
from tests.support.scripted_server import Answer, ScriptedServer
from tests.support.values import NOON, RUN_ID

CLAIMANT = "123456789012/eu-west-1/agent"
OURS = claim_id(RUN_ID, NOON, CLAIMANT)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))


def says(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value))


@contextmanager
def prefect(*answers: Answer, **options: Any) -> Iterator[tuple[Prefect3, ScriptedServer]]:
    with ScriptedServer(*answers) as server:
        api = JsonClient(f"{server.url}/api", lambda _: None)
        given = {"work_pool": "fargate", "worker_name": "agent", "claimant": CLAIMANT, **options}
        yield Prefect3(api, **given), server


def bodies(server: ScriptedServer) -> list[Any]:
    return [json.loads(one.body) for one in server.requests]


# -- active runs -----------------------------------------------------------------------------------


def row(**fields: Any) -> dict[str, Any]:
    return {"id": RUN_ID, "state": {"type": "RUNNING"}, **fields}


def test_the_runs_of_the_pool_in_some_states_are_asked_for():
    state = {"type": "RUNNING", "timestamp": NOON.isoformat(), "state_details": {}}
    found = row(
        state=state,
        infrastructure_pid="c::t",
        start_time=NOON.isoformat(),
        empirical_policy={"retry_type": "in_process"},
    )
    with prefect(says([found])) as (agent, server):
        pages = list(agent.active_runs(["PENDING", "RUNNING"]))

    assert bodies(server) == [
        {
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}},
            "work_pools": {"name": {"any_": ["fargate"]}},
            "sort": "ID_DESC",
            "limit": PAGE_SIZE,
            "offset": 0,
        }
    ]
    running = run_state("RUNNING", infrastructure_id="c::t", since=NOON, has_run=True)
    assert pages == [{RUN_ID: replace(running, retries_in_process=True)}]


def test_an_agent_of_some_queues_looks_after_their_runs_alone():
    with prefect(says([]), work_queues=["night", "day"]) as (agent, server):
        assert list(agent.active_runs(["CANCELLING"])) == [{}]

    (asked,) = bodies(server)
    assert asked["work_pool_queues"] == {"name": {"any_": ["night", "day"]}}


def test_page_after_page_is_asked_for_until_one_is_not_full():
    full = says([row(id=f"run-{number}") for number in range(PAGE_SIZE)])
    with prefect(full, full, says([row()])) as (agent, server):
        pages = [len(page) for page in agent.active_runs(["RUNNING"])]

    assert pages == [PAGE_SIZE, PAGE_SIZE, 1]
    assert [asked["offset"] for asked in bodies(server)] == [0, PAGE_SIZE, 2 * PAGE_SIZE]


def test_a_pass_ends_somewhere():
    full = says([row(id=f"run-{number}") for number in range(PAGE_SIZE)])
    with prefect(*[full] * (MOST_PAGES + 1)) as (agent, server):
        assert sum(1 for _ in agent.active_runs(["RUNNING"])) == MOST_PAGES

    assert len(server.requests) == MOST_PAGES


def test_the_next_pass_goes_on_where_one_ended_and_then_begins_again():
    full = says([row(id=f"run-{number}") for number in range(PAGE_SIZE)])
    with prefect(full, full, says([row()]), says([])) as (agent, server):
        next(iter(agent.active_runs(["RUNNING"])))  # there was no time for more
        for _ in range(2):
            list(agent.active_runs(["RUNNING"]))

    assert [asked["offset"] for asked in bodies(server)] == [0, PAGE_SIZE, 2 * PAGE_SIZE, 0]


# -- history ---------------------------------------------------------------------------------------


def pending(claim: str | None = OURS, due: Any = NOON) -> dict[str, Any]:
    time = due.isoformat() if due else None
    details = {"transition_id": claim, "scheduled_time": time}
    return {"type": "PENDING", "name": "Pending", "state_details": details}


def again(claim: str = OURS) -> dict[str, Any]:
    return {"type": "SCHEDULED", "state_details": {"transition_id": relaunch_id(claim)}}


SCHEDULED = {"type": "SCHEDULED", "state_details": {"transition_id": "made-by-somebody"}}
RUNNING = {"type": "RUNNING", "state_details": {"transition_id": "the-flows-own"}}
OBSERVED = {**pending("the-observers-own"), "name": "InfrastructurePending"}
LATER = NOON + timedelta(seconds=30)
SECOND = claim_id(RUN_ID, LATER, CLAIMANT)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], (None, False, 0)),
        ([SCHEDULED], (None, False, 0)),
        ([SCHEDULED, RUNNING], (None, False, 0)),
        ([SCHEDULED, pending(), RUNNING], (OURS, True, 0)),
        ([SCHEDULED, pending("another"), RUNNING], ("another", False, 0)),
        ([SCHEDULED, pending(None)], (None, False, 0)),
        ([SCHEDULED, pending(), OBSERVED], (OURS, True, 0)),
        ([SCHEDULED, OBSERVED], (None, False, 0)),
        ([SCHEDULED, pending(due=None)], (OURS, False, 0)),  # whose time it was nobody tells
        ([SCHEDULED, pending(), again()], (OURS, True, 1)),
        ([SCHEDULED, pending(), SCHEDULED], (OURS, True, 0)),  # a retry of the flow's own
        ([pending(), again(), pending(SECOND, LATER), again(SECOND)], (SECOND, True, 2)),
        ([pending(), again(), pending("another", LATER)], ("another", False, 1)),
        ([pending(), again(), pending(SECOND, LATER), {"type": "FAILED"}], (SECOND, True, 0)),
        ([pending(), again("another")], (OURS, True, 0)),
        ([again()], (None, False, 0)),
    ],
)
def test_the_claims_and_relaunches_of_a_run_are_read_from_its_states(
    states: list[dict[str, Any]], expected: tuple[Any, ...]
):
    told = states_so_far(*states)
    with prefect(says(told[::-1])) as (agent, server):  # in whatever order
        found = agent.history(RUN_ID)

    assert (found.claim_id, found.ours, found.relaunches) == expected
    assert server.requests[0].path == f"/api/flow_run_states/?flow_run_id={RUN_ID}"


# -- what is claimed -------------------------------------------------------------------------------

POOL = {
    "id": "pool-1",
    "type": "ecs",
    "updated": "2026-02-02T00:00:00Z",
    "concurrency_limit": None,
    "base_job_template": {},
}


def claimed_row(state: dict[str, Any]) -> dict[str, Any]:
    return row(
        name="brave-otter",
        flow_id="f-1",
        deployment_id=None,
        work_queue_id="queue-1",
        state=state,
        infrastructure_pid=None,
    )


def states_so_far(*states: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**state, "timestamp": (NOON + timedelta(seconds=number)).isoformat()}
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize("states", [[pending()], [pending(), OBSERVED]])
def test_a_claimed_run_is_described_as_it_was_when_it_was_enqueued(states: list[dict[str, Any]]):
    flow = [{"id": "f-1", "name": "Load orders"}]
    answers = ([claimed_row(states[-1])], states_so_far(*states), POOL, flow)
    with prefect(*map(says, answers)) as (agent, _):
        (run,) = agent.claimed([RUN_ID])

    assert (run.id, run.scheduled_time, run.claim_id) == (RUN_ID, NOON, OURS)
    assert (run.flow_name, run.work_queue_id, run.work_pool_updated) == (
        "Load orders",
        "queue-1",
        POOL["updated"],
    )


@pytest.mark.parametrize(
    "state", [pending("another"), pending(due=None), pending(due=LATER), OBSERVED]
)
def test_what_another_claimed_is_left_out(state: dict[str, Any]):
    with prefect(says([claimed_row(state)]), says(states_so_far(state))) as (agent, server):
        assert agent.claimed([RUN_ID]) == []

    assert len(server.requests) == 2


@pytest.mark.parametrize("state", [RUNNING, SCHEDULED])
def test_what_is_claimed_no_more_is_left_out(state: dict[str, Any]):
    with prefect(says([claimed_row(state)])) as (agent, server):
        assert agent.claimed([RUN_ID]) == []

    assert len(server.requests) == 1


def test_no_runs_are_asked_for_without_a_call():
    with prefect() as (agent, server):
        assert agent.claimed([]) == []

    assert server.requests == []


# -- relaunch --------------------------------------------------------------------------------------

ACCEPTED = says({"status": "ACCEPT", "state": {}, "details": {}}, 201)


def test_a_relaunch_is_a_new_scheduling_named_by_the_lost_claim():
    with prefect(ACCEPTED, Answer(204), Answer(201)) as (agent, server):
        state = run_state("PENDING")
        agent.relaunch(RUN_ID, state, OURS, due=NOON, message="Spot. Relaunch 1 of 2.")

    proposed, patched, (line,) = bodies(server)
    assert patched == {"infrastructure_pid": None}
    assert proposed == {
        "state": {
            "type": "SCHEDULED",
            "name": "AwaitingRelaunch",
            "message": "Spot. Relaunch 1 of 2.",
            "state_details": {
                "transition_id": relaunch_id(OURS),
                "scheduled_time": NOON.isoformat(),
            },
        },
        "force": False,
    }
    assert (line["level"], line["message"]) == (30, "Spot. Relaunch 1 of 2.")


def test_a_run_that_was_retried_in_its_container_is_shown_to_polls_again():
    policy = {"max_retries": 3, "retry_type": "in_process", "resuming": False}
    run = says({"id": RUN_ID, "empirical_policy": policy})
    with prefect(run, Answer(204), ACCEPTED, Answer(204), Answer(201)) as (agent, server):
        state = run_state("RUNNING", retries_in_process=True)
        agent.relaunch(RUN_ID, state, OURS, due=NOON, message="x")

    assert json.loads(server.requests[1].body) == {
        "empirical_policy": {**policy, "retry_type": "reschedule"},
    }


def test_a_relaunch_is_named_alike_however_often_it_is_told_and_unlike_any_other():
    assert relaunch_id(OURS) == relaunch_id(OURS)
    assert len({relaunch_id(OURS), relaunch_id(SECOND), OURS, SECOND}) == 4


@pytest.mark.parametrize("refusal", [Answer(500), Answer(403, "no"), Answer(404, "{}")])
def test_a_lost_line_is_no_failed_relaunch(refusal: Answer):
    with prefect(ACCEPTED, Answer(204), *[refusal] * 2) as (agent, server):
        agent.relaunch(RUN_ID, run_state("PENDING"), OURS, due=NOON, message="x")

    assert len(server.requests) >= 3


@pytest.mark.parametrize("status", ["REJECT", "ABORT"])
def test_a_relaunch_that_is_made_already_changes_nothing(status: str):
    kept = {"type": "SCHEDULED", "name": "AwaitingRelaunch"}
    answer = {"status": status, "state": kept, "details": {"reason": "made already"}}
    with prefect(says(answer)) as (agent, server):
        agent.relaunch(RUN_ID, run_state("PENDING"), OURS, due=NOON, message="x")

    assert [one.path.rpartition("/")[2] for one in server.requests] == ["set_state"]


# -- events and lines ------------------------------------------------------------------------------

EVENTS = [{"id": "e-1"}, {"id": "e-2"}]


def test_events_are_told_in_one_call():
    with prefect(Answer(204)) as (agent, server):
        agent.emit(EVENTS)

    assert [one.path for one in server.requests] == ["/api/events"]
    assert bodies(server) == [EVENTS]


def test_no_events_are_told_without_a_call():
    with prefect() as (agent, server):
        agent.emit([])

    assert server.requests == []


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_server_that_takes_no_events_is_left_alone(status: int):
    with prefect(Answer(status, "no")) as (agent, server):
        agent.emit(EVENTS)
        agent.emit(EVENTS)

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_events_that_a_server_dislikes_hold_nothing_up_and_others_are_told(status: int):
    with prefect(Answer(status, "{}"), Answer(204)) as (agent, server):
        agent.emit(EVENTS)
        agent.emit(EVENTS)

    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [401, 408, 500, 503])
def test_events_that_could_not_be_told_are_a_failure(status: int):
    with prefect(*[Answer(status, "{}")] * 4) as (agent, _), pytest.raises(ApiError):
        agent.emit(EVENTS)


def test_a_containers_lines_are_forwarded_in_one_call():
    with prefect(Answer(201)) as (agent, server):
        agent.forward(RUN_ID, ["one", "two"])

    (lines,) = bodies(server)
    assert [(line["message"], line["level"], line["flow_run_id"]) for line in lines] == [
        ("one", 20, RUN_ID),
        ("two", 20, RUN_ID),
    ]


def test_a_container_that_said_nothing_costs_no_call():
    with prefect() as (agent, server):
        agent.forward(RUN_ID, [])

    assert server.requests == []
