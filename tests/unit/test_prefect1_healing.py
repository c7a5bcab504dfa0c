"""What the states of a Prefect 1 run tell of its launches, and how it is scheduled again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.prefect1_states import RELAUNCHED, history
from fargate_agent.orchestrators.states import Claim
from fargate_agent.runs import claim_id
from tests.support.prefect1_agent import prefect1, run_of
from tests.support.prefect1_server import Prefect1Server
from tests.support.values import NOON

ONE, TWO = claim_id("run", NOON), claim_id("run", NOON + timedelta(hours=1))
NOW = datetime.now(UTC)


def state(type: str, message: str | None = None) -> dict[str, Any]:
    return {"state": type, "message": message}


def claimed(claim: str) -> dict[str, Any]:
    return state("Submitted", f"Submitted for execution (claim {claim})")


def again(claim: str) -> dict[str, Any]:
    return state("Scheduled", f"Your Spot Task was interrupted. {RELAUNCHED.format(claim)}")


@pytest.mark.parametrize(
    ("states", "claim", "relaunches"),
    [
        ([], None, 0),
        ([state("Scheduled")], None, 0),
        ([state("Scheduled"), claimed(ONE), state("Running")], ONE, 0),
        ([claimed(ONE), again(ONE)], ONE, 1),
        ([claimed(ONE), again(ONE), claimed(TWO), state("Running"), again(TWO)], TWO, 2),
        ([claimed(ONE), again(ONE), claimed(TWO), state("Failed")], TWO, 0),
        ([claimed(ONE), state("Scheduled", "restarted by a person")], ONE, 0),
        ([claimed(ONE), again(TWO)], ONE, 0),
        ([again(ONE)], None, 0),
    ],
)
def test_claims_and_relaunches_are_read_from_the_messages_of_a_runs_states(
    states: list[dict[str, Any]], claim: str | None, relaunches: int
):
    found = history(states)

    assert (found.claim_id, found.relaunches) == (claim, relaunches)


def claim_it(server: Prefect1Server, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """Have a run claimed by an agent; return the agent and the run's row."""
    row = server.add_run(server.add_flow(version_locking=True), due=NOW, **fields)
    agent = prefect1(server)
    read = agent.run_states([row["id"]])[row["id"]]
    assert agent.claim(run_of(row), read)[0] is Claim.OURS
    return agent, row


def test_a_relaunch_is_a_schedule_of_its_own_that_names_the_lost_claim():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        run = run_of(row)
        read = agent.run_states([run.id])[run.id]
        due = NOW + timedelta(seconds=10)

        agent.relaunch(run.id, read, run.claim_id, due=due, message="Spot.")

        assert row["state"] == "Scheduled"
        assert row["state_message"] == f"Spot. (after claim {run.claim_id})"
        assert datetime.fromisoformat(row["state_start_time"]) == due
        assert agent.history(run.id).relaunches == 1
        assert [(line["level"], line["message"]) for line in server.logs(run.id)] == [
            ("WARNING", "Spot.")
        ]


def test_a_relaunch_that_is_made_already_is_not_made_again():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        run = run_of(row)
        for _ in range(3):
            read = agent.run_states([run.id])[run.id]
            agent.relaunch(run.id, read, run.claim_id, due=NOW, message="Spot.")

        assert [kept["state"] for kept in server.history(run.id)] == [
            "Scheduled",
            "Submitted",
            "Scheduled",
        ]


def test_a_run_that_moved_on_meanwhile_is_not_relaunched():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        run = run_of(row)
        read = agent.run_states([run.id])[run.id]
        server.set_state(run.id, "Running")

        with pytest.raises(ApiError):  # to be looked into again
            agent.relaunch(run.id, read, run.claim_id, due=NOW, message="Spot.")

        assert row["state"] == "Running"


def test_what_is_claimed_is_found_as_it_was_enqueued():
    with Prefect1Server() as server:
        agent, row = claim_it(server)

        (found,) = agent.claimed([row["id"]])

        expected = run_of(row)
        assert (found.id, found.scheduled_time, found.claim_id) == (
            expected.id,
            expected.scheduled_time,
            expected.claim_id,
        )


@pytest.mark.parametrize("type", ["Scheduled", "Running", "Success", "Cancelling"])
def test_what_is_claimed_no_more_is_not(type: str):
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        server.set_state(row["id"], type)

        assert agent.claimed([row["id"]]) == []


def test_what_another_submitted_is_not_claimed():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), due=NOW)
        server.set_state(row["id"], "Submitted", "Submitted for execution")

        assert prefect1(server).claimed([row["id"]]) == []


def test_the_runs_of_this_agent_are_told_from_those_of_others():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        server.add_run(server.add_flow(), state="Submitted")
        server.add_run(server.add_flow(), state="Running")

        (page,) = agent.active_runs(["PENDING", "RUNNING"])

    assert page.keys() == {row["id"]}


def test_a_server_that_tells_no_history_has_nothing_relaunched():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        server.fail_next("flow_run_state", error='Cannot query field "flow_run_state"')

        assert agent.history(row["id"]).relaunches > 10


def test_a_server_in_trouble_tells_nothing_of_its_history():
    with Prefect1Server() as server:
        agent, row = claim_it(server)
        server.fail_next("flow_run_state", error="Something broke")

        with pytest.raises(ApiError):
            agent.history(row["id"])
