"""Prefect 1 as ``poll`` and ``dispatch`` ask it: due runs, claims, reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.prefect1 import QUEUE_LIMIT
from fargate_agent.orchestrators.prefect1_states import RETRY_GRACE
from fargate_agent.orchestrators.states import Claim
from fargate_agent.runs import claim_id
from fargate_agent.tasks import Task
from tests.support.prefect1_agent import prefect1, run_of
from tests.support.prefect1_server import Prefect1Server
from tests.support.values import CLUSTER_ARN, TASK_ARN

NOW = datetime.now(UTC)
TASK = Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN)
REFUSED = {"message": "State update failed", "extensions": {"code": "VERSION_LOCKING_ERROR"}}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def due_ids(agent: Any, before: datetime = NOW) -> list[str]:
    return [run.id for run in agent.due_runs(before).runs]


def state_of(agent: Any, row: Any) -> Any:
    return agent.run_states([row["id"]])[row["id"]]


def claimed(agent: Any, row: Any, due: datetime | None = None) -> Claim:
    """Claim a run as a launch does: read it, then propose."""
    run = run_of(row, due)
    outcome, _ = agent.claim(run, state_of(agent, row))
    return outcome


# -- due runs --------------------------------------------------------------------------------------


def test_nothing_is_due_and_nothing_more_is_asked():
    with Prefect1Server() as server:
        assert prefect1(server).due_runs(NOW) == Page(runs=[])
        assert server.calls_of("flow_run") == []


def test_a_due_run_is_named_with_its_flow_and_its_claim():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(name="Load orders"), due=NOW, name="brave-otter")

        (run,) = prefect1(server).due_runs(NOW).runs

    assert (run.id, run.name) == (row["id"], "brave-otter")
    assert (run.flow_id, run.flow_name) == (row["flow_id"], "Load orders")
    assert run.scheduled_time == NOW
    assert run.claim_id == claim_id(run.id, NOW)
    assert run.deployment_id is None


def test_runs_due_until_the_horizon_are_found_ahead_of_their_time():
    with Prefect1Server() as server:
        flow = server.add_flow()
        later, now, soon = [server.add_run(flow, due=after(s)) for s in (20, 0, 10)]
        agent = prefect1(server)

        assert due_ids(agent, after(15)) == [now["id"], soon["id"]]
        assert due_ids(agent, after(25)) == [now["id"], soon["id"], later["id"]]


def test_an_agent_takes_the_runs_that_fit_its_labels():
    with Prefect1Server() as server:
        flow = server.add_flow()
        plain, one, both = [server.add_run(flow, due=NOW, labels=ls) for ls in ("", "a", "ab")]

        assert due_ids(prefect1(server)) == [plain["id"]]
        assert due_ids(prefect1(server, agent_labels=("a",))) == [one["id"]]
        assert {*due_ids(prefect1(server, agent_labels=("b", "a")))} == {one["id"], both["id"]}


@pytest.mark.parametrize("state", ["Scheduled", "Queued", "Resume", "Retrying"])
def test_a_run_that_waits_is_found_whatever_it_waits_as(state: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), due=NOW, state=state)

        assert due_ids(prefect1(server)) == [row["id"]]


@pytest.mark.parametrize("state", ["Paused", "Submitted", "Running", "Success", "Cancelled"])
def test_a_run_that_does_not_wait_is_not_found(state: str):
    with Prefect1Server() as server:
        server.add_run(server.add_flow(), due=NOW, state=state)

        assert due_ids(prefect1(server)) == []


def test_a_run_without_a_start_time_of_its_state_is_due_as_it_was_scheduled():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), due=NOW)
        del row["serialized_state"]["start_time"]

        (run,) = prefect1(server).due_runs(NOW).runs

    assert run.scheduled_time == NOW


def test_more_may_follow_a_full_answer_once_its_runs_are_claimed():
    with Prefect1Server() as server:
        flow = server.add_flow()
        for number in range(QUEUE_LIMIT + 1):
            server.add_run(flow, due=after(number - 99))
        agent = prefect1(server)

        first = agent.due_runs(NOW)
        assert (len(first.runs), first.full, first.resume_after) == (QUEUE_LIMIT, True, None)
        for run in first.runs:
            assert claimed(agent, server.run(run.id)) is Claim.OURS
        rest = agent.due_runs(NOW)
        assert (len(rest.runs), rest.full) == (1, False)


def test_a_limit_holds_nothing_back_before_a_claim():
    with Prefect1Server() as server:
        assert prefect1(server).limited_queues() == frozenset()
        assert server.calls == []


# -- retries ---------------------------------------------------------------------------------------


def test_a_running_run_is_due_when_its_earliest_retry_and_the_grace_are_over():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Running")
        server.add_task_run(row, due=after(-4))
        server.add_task_run(row, due=after(-9))
        server.add_task_run(row, due=after(60))
        server.add_task_run(row, state="Success")

        (run,) = prefect1(server).due_runs(NOW).runs

    assert run.scheduled_time == after(-9) + RETRY_GRACE
    assert run.claim_id == claim_id(row["id"], after(-9) + RETRY_GRACE)


@pytest.mark.parametrize("due", [-3, -2.9, 9])
def test_a_retry_is_awaited_by_its_own_time_whenever_it_is_read(due: float):
    """One read serves a batch, whose other runs may be due a moment earlier."""
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Running")
        server.add_task_run(row, due=after(due))
        agent = prefect1(server, now=NOW)

        state = state_of(agent, row)
        assert state.awaits(run_of(row, after(due) + RETRY_GRACE))
        assert not state.awaits(run_of(row, after(due)))
        assert claimed(agent, row, after(due) + RETRY_GRACE) is Claim.OURS

        assert state_of(agent, row).type == "PENDING"


@pytest.mark.parametrize("locking", [True, False])
def test_the_claim_of_a_retry_submits_the_task_runs_that_are_due(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking), state="Running", version=5)
        due, too = [server.add_task_run(row, due=after(-9), version=3) for _ in range(2)]
        later = server.add_task_run(row, due=after(9))
        waited = due["serialized_state"]
        agent = prefect1(server, now=NOW)

        assert claimed(agent, row, after(-9) + RETRY_GRACE) is Claim.OURS
        state = state_of(agent, row)

    assert (row["state"], row["version"]) == ("Running", 5)
    assert [one["state"] for one in (due, too, later)] == ["Submitted", "Submitted", "Retrying"]
    assert due["serialized_state"]["state"] == waited
    assert (state.type, state.claim_id) == (
        "PENDING",
        claim_id(row["id"], after(-9) + RETRY_GRACE),
    )


def test_the_due_task_runs_of_a_waiting_run_are_submitted_with_it():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True), due=NOW)
        waiting = server.add_task_run(row, due=after(-9))

        assert claimed(prefect1(server, now=NOW), row) is Claim.OURS

    assert (row["state"], waiting["state"]) == ("Submitted", "Submitted")


def test_a_retrys_claim_whose_answer_got_lost_is_ours():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True), state="Running")
        task_run = server.add_task_run(row, due=after(-9))
        server.fail_next("set_task_run_states", after_effect=True)

        assert claimed(prefect1(server, now=NOW), row, after(-9) + RETRY_GRACE) is Claim.OURS

    assert len([one for one in server.history(task_run["id"]) if one["state"] == "Submitted"]) == 1


@pytest.mark.parametrize("locking", [True, False])
def test_a_lost_answer_about_one_of_two_retries_keeps_neither_from_its_claim(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking), state="Running")
        both = [server.add_task_run(row, due=after(-9)) for _ in range(2)]
        server.fail_next("set_task_run_states", after_effect=True)

        assert claimed(prefect1(server, now=NOW), row, after(-9) + RETRY_GRACE) is Claim.OURS

    assert [one["state"] for one in both] == ["Submitted", "Submitted"]


def test_a_claim_that_broke_off_between_two_retries_is_completed():
    due = after(-9) + RETRY_GRACE
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True), state="Running")
        both = [server.add_task_run(row, due=after(-9)) for _ in range(2)]
        agent = prefect1(server, now=NOW)
        claimed(agent, row, due)
        server.put(both[1], {"type": "Retrying", "start_time": after(-9).isoformat()})

        assert state_of(agent, row).awaits(run_of(row, due))
        assert claimed(agent, row, due) is Claim.OURS

    assert both[1]["state"] == "Submitted"


def test_a_retry_that_is_refused_again_and_again_is_not_proposed_for_ever():
    due = after(-9) + RETRY_GRACE
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Running")
        begun, _ = [server.add_task_run(row, due=after(-9)) for _ in range(2)]
        claim = claim_id(row["id"], due)
        server.put(begun, {"type": "Submitted", "message": f"Submitted (claim {claim})"})
        server.fail_next("set_task_run_states", 40, error=REFUSED)

        assert claimed(prefect1(server, now=NOW), row, due) is Claim.OURS  # the one of them

        assert len(server.calls_of("set_task_run_states")) <= 10


# -- what a run is ---------------------------------------------------------------------------------


def test_a_run_is_read_with_all_that_its_launch_needs():
    with Prefect1Server() as server:
        config = {"type": "ECSRun", "cpu": "512"}
        flow = server.add_flow(version=7, core_version="0.14.1", storage={"type": "Local"})
        row = server.add_run(flow, due=NOW, run_config=config)

        state = state_of(prefect1(server), row)

    assert (state.type, state.scheduled_time, state.claim_id) == ("SCHEDULED", NOW, None)
    assert state.infrastructure_id is None
    assert state.details["run_config"] == config
    assert (
        state.details["flow"].items()
        >= {
            "version": 7,
            "core_version": "0.14.1",
            "storage": {"type": "Local"},
            "environment": None,
        }.items()
    )
    assert state.awaits(run_of(row))


def test_many_runs_are_read_in_one_call_and_deleted_ones_are_missing():
    with Prefect1Server() as server:
        rows = [server.add_run(server.add_flow()) for _ in range(3)]
        del server.runs[rows[0]["id"]]

        states = prefect1(server).run_states([row["id"] for row in rows] * 2)

        assert states.keys() == {row["id"] for row in rows[1:]}
        assert len(server.calls_of("flow_run")) == 1


@pytest.mark.parametrize(
    ("state", "type"),
    [
        ("Running", "RUNNING"),
        ("Success", "SUCCESS"),
        ("Failed", "FAILED"),
        ("Cancelling", "CANCELLING"),
        ("Cancelled", "CANCELLED"),
        ("Paused", "PAUSED"),
    ],
)
def test_a_run_that_is_past_its_launch_awaits_none(state: str, type: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state=state)

        found = state_of(prefect1(server), row)

    assert found.type == type
    assert not found.awaits(run_of(row))


@pytest.mark.parametrize("message", ["Submitted for execution", None, "(claim x)"])
def test_a_run_that_another_agent_submitted_is_nobodys_claim_of_ours(message: str | None):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())
        server.set_state(row["id"], "Submitted", message)

        state = state_of(prefect1(server), row)

    assert (state.type, state.claim_id) == ("PENDING", None)
    assert not state.awaits(run_of(row))


# -- claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("locking", [True, False])
def test_a_claim_submits_the_run_with_its_old_state_inside(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking), due=NOW)
        scheduled, run = row["serialized_state"], run_of(row)
        agent = prefect1(server)

        assert claimed(agent, row) is Claim.OURS

    submitted = row["serialized_state"]
    assert (submitted["type"], row["version"]) == ("Submitted", 2)
    assert submitted["state"] == scheduled
    assert submitted["message"] == f"Submitted for execution (claim {run.claim_id})"


def test_our_own_claim_is_recognised_after_a_crash():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())
        claimed(prefect1(server), row)

        state = state_of(prefect1(server), row)

    assert (state.type, state.claim_id) == ("PENDING", run_of(row).claim_id)
    assert state.awaits(run_of(row))
    assert not state.awaits(run_of(row, after(60)))


@pytest.mark.parametrize("locking", [True, False])
def test_a_claim_whose_answer_got_lost_is_ours(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking))
        server.fail_next("set_flow_run_states", after_effect=True)

        assert claimed(prefect1(server), row) is Claim.OURS

    assert row["state"] == "Submitted"
    assert len(server.calls_of("set_flow_run_states")) == 2


@pytest.mark.parametrize("state", ["Submitted", "Cancelled", "Running"])
def test_where_versions_are_locked_anothers_change_since_the_reading_wins(state: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True))
        agent = prefect1(server)
        read = state_of(agent, row)
        server.set_state(row["id"], state, "by another")

        outcome, reason = agent.claim(run_of(row), read)

    assert outcome is Claim.LOST
    assert "State update failed" in reason
    assert row["state_message"] == "by another"


def test_where_versions_are_locked_one_of_two_schedulings_is_lost():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True))
        agent = prefect1(server)
        read = state_of(agent, row)
        assert agent.claim(run_of(row, after(60)), read)[0] is Claim.OURS

        assert agent.claim(run_of(row), read)[0] is Claim.LOST


@pytest.mark.parametrize("locking", [True, False])
def test_two_agents_make_one_claim_of_one_scheduling(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking))
        one, other = prefect1(server), prefect1(server)
        read = [state_of(agent, row) for agent in (one, other)]

        outcomes = [
            agent.claim(run_of(row), state)[0]
            for agent, state in zip((one, other), read, strict=True)
        ]

        assert outcomes == [Claim.OURS] * 2  # by one claim id, so by one task
        assert state_of(one, row).claim_id == run_of(row).claim_id


def test_a_deleted_run_is_lost():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())
        agent = prefect1(server)
        read = state_of(agent, row)
        del server.runs[row["id"]]

        assert agent.claim(run_of(row), read)[0] is Claim.LOST
        outcome, reason = agent.claim(run_of(row), None)

    assert outcome is Claim.LOST
    assert "deleted" in reason


@pytest.mark.parametrize("state", ["Submitted", "Running", "Success", "Cancelled"])
def test_a_run_that_waits_for_nothing_is_not_claimed_unread(state: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state=state)

        assert prefect1(server).claim(run_of(row), None)[0] is Claim.LOST

    assert row["state"] == state


def test_a_waiting_run_is_claimed_unread():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())

        assert prefect1(server).claim(run_of(row), None)[0] is Claim.OURS


def test_a_server_in_trouble_is_no_lost_claim():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())
        server.fail_next("set_flow_run_states", error="Something broke")

        with pytest.raises(ApiError, match="Something broke"):
            claimed(prefect1(server), row)

    assert row["state"] == "Scheduled"


# -- concurrency limits ----------------------------------------------------------------------------


def full(server: Prefect1Server) -> Any:
    """Let one of two runs take the only slot, and return the other."""
    server.concurrency_limits = {"one": 1}
    flow = server.add_flow()
    server.add_run(flow, labels=["one"], state="Running")
    return server.add_run(flow, labels=["one"], due=NOW)


def test_where_the_server_refuses_the_run_waits_as_it_is():
    with Prefect1Server() as server:
        row = full(server)

        outcome, reason = prefect1(server).claim(run_of(row), state_of(prefect1(server), row))

    assert outcome is Claim.NO_SLOT
    assert "Unable to get flow run concurrency slot" in reason
    assert (row["state"], row["version"]) == ("Scheduled", 1)


def test_where_the_server_queues_the_run_comes_back_under_a_new_key():
    with Prefect1Server() as server:
        server.full_slots = "queue"
        row = full(server)
        agent = prefect1(server)

        assert claimed(agent, row) is Claim.POSTPONED
        state = state_of(agent, row)

    assert row["state"] == "Queued"
    assert state.type == "SCHEDULED"
    assert not state.awaits(run_of(row))


def test_a_run_that_stays_queued_keeps_its_key_and_is_claimed_once_there_is_a_slot():
    with Prefect1Server() as server:
        server.full_slots, server.queue_seconds = "queue", -9
        row = full(server)
        agent = prefect1(server, agent_labels=("one",))
        claimed(agent, row)
        (queued,) = agent.due_runs(datetime.now(UTC)).runs

        assert agent.claim(queued, state_of(agent, row))[0] is Claim.NO_SLOT
        assert state_of(agent, row).awaits(queued)
        (taken,) = (one for one in server.runs.values() if one is not row)
        server.set_state(taken["id"], "Success")
        assert agent.claim(queued, state_of(agent, row))[0] is Claim.OURS


# -- reports ---------------------------------------------------------------------------------------


def test_a_launch_is_told_in_the_legacy_agents_words():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())

        agent = prefect1(server)
        agent.launched(run_of(row), TASK, "with task definition etl:7.")
        agent.flush()

        (line,) = server.logs(row["id"])
    assert (line["level"], line["name"]) == ("INFO", "fargate-agent")
    assert line["message"] == (
        f"Submitted for execution: Task ARN: {TASK_ARN} with task definition etl:7."
    )


def test_the_lines_of_a_batch_are_written_in_one_call_and_once():
    with Prefect1Server() as server:
        flow = server.add_flow()
        rows = [server.add_run(flow) for _ in range(3)]
        agent = prefect1(server)
        for row in rows:
            agent.launched(run_of(row), TASK, "x")
        assert server.calls_of("write_run_logs") == []

        agent.flush()
        agent.flush()

        assert [len(server.logs(row["id"])) for row in rows] == [1, 1, 1]
        assert len(server.calls_of("write_run_logs")) == 1


def test_a_launch_may_be_kept_quiet():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())

        agent = prefect1(server)
        agent.launched(run_of(row), TASK, None)
        agent.flush()

        assert server.calls == []


def test_a_lost_line_is_no_failed_launch():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow())
        server.fail_next("write_run_logs", error="the log service is down")

        agent = prefect1(server)
        agent.launched(run_of(row), TASK, "x")
        agent.flush()

        assert "write_run_logs" in [call.operation for call in server.calls]
        assert (row["state"], server.logs(row["id"])) == ("Scheduled", [])


@pytest.mark.parametrize("locking", [True, False])
def test_a_failure_is_told_by_the_version_that_the_run_has_now(locking: bool):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=locking))
        agent = prefect1(server)
        claimed(agent, row)

        agent.crash(row["id"], "There is no such cluster.")

        (line,) = server.logs(row["id"])
    assert (row["state"], row["state_message"]) == ("Failed", "There is no such cluster.")
    assert (line["level"], line["message"]) == ("ERROR", "There is no such cluster.")


@pytest.mark.parametrize("state", ["Success", "Failed", "Cancelled", "Skipped", "TimedOut"])
@pytest.mark.parametrize("report", ["crash", "cancelled"])
def test_a_finished_run_keeps_its_state(state: str, report: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state=state)

        getattr(prefect1(server), report)(row["id"], "too late")

    assert (row["state"], row["version"]) == (state, 1)


@pytest.mark.parametrize("report", ["crash", "cancelled"])
def test_a_deleted_run_has_nobody_to_tell(report: str):
    with Prefect1Server() as server:
        getattr(prefect1(server), report)("00000000-0000-4000-8000-000000000000", "gone")

        assert server.calls_of("set_flow_run_states") == []


@pytest.mark.parametrize("report", ["crash", "cancelled"])
def test_a_run_that_moves_on_meanwhile_is_looked_at_again_later(report: str):
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Running")
        server.fail_next("set_flow_run_states", error=REFUSED)

        with pytest.raises(ApiError, match="State update failed"):
            getattr(prefect1(server), report)(row["id"], "x")

    assert row["state"] == "Running"


def test_a_failure_is_told_though_its_line_is_lost():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Submitted")
        server.fail_next("write_run_logs", 9, error="the log service is down")

        prefect1(server).crash(row["id"], "There is no such cluster.")

    assert row["state"] == "Failed"


def test_a_cancellation_is_completed():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(version_locking=True), state="Cancelling", version=4)

        prefect1(server).cancelled(row["id"], "Its task was stopped.")

    assert (row["state"], row["state_message"]) == ("Cancelled", "Its task was stopped.")


def test_a_task_run_that_comes_due_while_a_container_starts_needs_no_other():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), state="Running")
        begun, _ = [server.add_task_run(row, due=after(-60)) for _ in range(2)]
        claim = claim_id(row["id"], after(-60) + RETRY_GRACE)
        server.put(begun, {"type": "Submitted", "message": f"Submitted (claim {claim})"})

        found = state_of(prefect1(server, now=NOW), row)

    assert (found.type, found.claim_id) == ("PENDING", claim)
