"""The stand-in for Prefect 1's API keeps the rules of the open-source server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from http.client import RemoteDisconnected
from typing import Any

import pytest

from tests.support.prefect1_server import Prefect1Server

NOW = datetime.now(UTC)
SUBMITTED = {"type": "Submitted", "message": "Submitted for execution"}


def post(
    server: Prefect1Server, query: str, variables: Any = None, **headers: str
) -> tuple[int, Any]:
    body = json.dumps({"query": query, "variables": json.dumps(variables)}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{server.url}/", body, named)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refusal:
        text = refusal.read().decode()
        return refusal.code, json.loads(text) if text.startswith("{") else text


def mutate(server: Prefect1Server, name: str, given: Any, selection: str, **headers: str) -> Any:
    """Call a mutation and return the value of its field, or its first error."""
    query = f"mutation($input: {name}_input!) {{ {name}(input: $input) {{ {selection} }} }}"
    _, answer = post(server, query, {"input": given}, **headers)
    return answer["errors"][0] if "errors" in answer else answer["data"][name]


def queue(server: Prefect1Server, *labels: str, before: datetime = NOW, **headers: str) -> Any:
    given = {"before": before.isoformat(), "labels": labels, "tenant_id": server.tenant_id}
    answer = mutate(server, "get_runs_in_queue", given, "flow_run_ids", **headers)
    return answer["flow_run_ids"]


def set_state(server: Prefect1Server, run: Any, state: Any, version: int | None = None) -> Any:
    change = {"flow_run_id": run["id"], "version": version, "state": state}
    return mutate(
        server, "set_flow_run_states", {"states": [change]}, "states { id status message }"
    )


def due(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# -- the queue -------------------------------------------------------------------------------------


def test_the_queue_holds_due_runs_in_the_order_they_are_due():
    with Prefect1Server() as server:
        flow = server.add_flow()
        late, early, _ = [server.add_run(flow, due=due(seconds)) for seconds in (-1, -2, 9)]

        assert queue(server) == [early["id"], late["id"]]


@pytest.mark.parametrize("state", ["Submitted", "Running", "Success", "Cancelled", "Pending"])
def test_the_queue_leaves_out_runs_that_do_not_wait(state: str):
    with Prefect1Server() as server:
        server.add_run(server.add_flow(), due=NOW, state=state)

        assert queue(server) == []


def test_a_running_run_is_in_the_queue_once_a_task_run_of_its_is_due():
    with Prefect1Server() as server:
        run = server.add_run(server.add_flow(), state="Running")
        server.add_task_run(run, due=due(5))

        assert queue(server) == []
        assert queue(server, before=due(6)) == [run["id"]]


def test_a_runs_labels_must_all_be_the_agents_and_an_agent_with_labels_takes_only_labelled_runs():
    with Prefect1Server() as server:
        flow = server.add_flow()
        plain, one, _ = [server.add_run(flow, due=NOW, labels=ls) for ls in ("", "a", "ab")]

        assert queue(server) == [plain["id"]]
        assert queue(server, "a") == [one["id"]]


def test_the_queue_has_a_limit_and_runs_of_other_labels_can_fill_its_window():
    with Prefect1Server() as server:
        flow = server.add_flow()
        server.queue_limit = 2
        for number in range(3):
            server.add_run(flow, due=due(-9 + number))
        assert len(queue(server)) == 2

        for number in range(6):
            server.add_run(flow, due=due(-99 + number), labels=["other"])
        assert queue(server) == []


def test_the_queue_notes_which_agent_asked():
    with Prefect1Server() as server:
        agent = {"type": "FargateAgent", "name": "agent", "tenant_id": server.tenant_id}
        agent_id = mutate(server, "register_agent", agent, "id")["id"]
        queue(server, X_PREFECT_AGENT_ID=agent_id)

        (kept,) = server.agents
        assert kept["last_queried"] is not None


# -- agents and credentials ------------------------------------------------------------------------


def test_an_agent_that_registers_again_keeps_its_id_unless_its_version_or_labels_differ():
    with Prefect1Server() as server:

        def register(version: str, *labels: str) -> str:
            agent = {"type": "A", "name": "a", "labels": labels, "tenant_id": server.tenant_id}
            headers = {"X_PREFECT_CORE_VERSION": version}
            return mutate(server, "register_agent", agent, "id", **headers)["id"]

        first = register("0.14.22", "a", "b")
        assert register("0.14.22", "b", "a") == first
        assert len({first, register("0.15.13", "a", "b"), register("0.14.22", "a")}) == 3


def test_the_open_source_server_wants_a_tenant_and_knows_no_credentials():
    with Prefect1Server() as server:
        agent = {"type": "FargateAgent", "tenant_id": None}
        asked = {"tenant_id": None, "labels": []}

        assert mutate(server, "register_agent", agent, "id")["message"] == "No tenant found."
        refusal = mutate(server, "get_runs_in_queue", asked, "flow_run_ids")
        assert 'null at "input.tenant_id"' in refusal["message"]
        status, answer = post(server, "query { auth_info { api_token_scope } }")
        assert (status, code(answer)) == (400, "GRAPHQL_VALIDATION_FAILED")
        assert post(server, "{ tenant { id } }")[1] == {
            "data": {"tenant": [{"id": server.tenant_id}]}
        }


@pytest.mark.parametrize("status", [200, 401])
def test_cloud_refuses_another_token_and_takes_a_runners_without_a_tenant(status: Any):
    with Prefect1Server("secret", unauthorized_status=status) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answered, answer = post(server, "{ hello }", **headers)
            assert (answered, code(answer)) == (status, "UNAUTHENTICATED")

        agent = {"type": "FargateAgent", "tenant_id": None}
        assert mutate(server, "register_agent", agent, "id", Authorization="Bearer secret")["id"]


def test_an_api_key_tells_its_tenant_and_must_name_it_from_then_on():
    with Prefect1Server("key", api_key=True) as server:
        bearer = {"Authorization": "Bearer key"}
        _, answer = post(server, "{ auth_info { tenant_id } }", **bearer)
        tenant = answer["data"]["auth_info"]["tenant_id"]

        assert code(post(server, "{ hello }", **bearer)[1]) == "UNAUTHENTICATED"
        assert post(server, "{ hello }", **bearer, X_PREFECT_TENANT_ID=tenant)[1]["data"]["hello"]


def code(answer: Any) -> str:
    return answer["errors"][0]["extensions"]["code"]


# -- states ----------------------------------------------------------------------------------------


def test_a_state_is_kept_in_the_history_with_its_version_and_agent():
    with Prefect1Server() as server:
        run = server.add_run(server.add_flow())
        change = {"flow_run_id": run["id"], "state": SUBMITTED}
        answer = mutate(
            server,
            "set_flow_run_states",
            {"states": [change]},
            "states { status }",
            X_PREFECT_AGENT_ID="agent-1",
        )

        assert answer == {"states": [{"status": "SUCCESS"}]}
        assert [
            (entry["state"], entry["version"], entry["agent_id"])
            for entry in server.history(run["id"])
        ] == [("Scheduled", 1, None), ("Submitted", 2, "agent-1")]


def test_the_state_of_an_unknown_run_is_not_set():
    with Prefect1Server() as server:
        answer = set_state(server, {"id": "unknown"}, SUBMITTED)

        assert answer["message"] == "State update failed for flow run ID unknown"


def test_a_stale_version_is_refused_only_where_the_flow_locks_versions():
    with Prefect1Server() as server:
        free, locked = [
            server.add_run(server.add_flow(version_locking=locking)) for locking in (False, True)
        ]

        assert "states" in set_state(server, free, SUBMITTED, version=9)
        assert "State update failed" in set_state(server, locked, SUBMITTED, version=9)["message"]
        assert "states" in set_state(server, locked, SUBMITTED, version=1)
        assert "states" in set_state(server, locked, SUBMITTED)  # null is not compared


def test_a_task_runs_state_is_locked_by_its_own_version_and_its_flow_runs():
    with Prefect1Server() as server:
        run = server.add_run(server.add_flow(version_locking=True), state="Running")
        task_run = server.add_task_run(run)

        def submit(**versions: int) -> Any:
            change = {"task_run_id": task_run["id"], "state": SUBMITTED, **versions}
            given = {"states": [change]}
            return mutate(server, "set_task_run_states", given, "states { id status }")

        for versions in ({"version": 9}, {"version": 1, "flow_run_version": 9}):
            assert "State update failed" in submit(**versions)["message"]
        assert submit(version=1, flow_run_version=1)["states"][0]["status"] == "SUCCESS"
        assert task_run["state"] == "Submitted"


def test_without_a_slot_the_open_source_server_refuses_to_submit():
    with Prefect1Server() as server:
        first, second = runs_of_one_slot(server)

        assert "states" in set_state(server, first, SUBMITTED)
        assert "states" in set_state(server, first, {"type": "Running"})  # it has its slot
        refusal = set_state(server, second, SUBMITTED)
        assert refusal["message"] == "Unable to get flow run concurrency slot. Aborting."
        assert second["state"] == "Scheduled"


def test_without_a_slot_later_servers_queue_a_run_until_one_is_free():
    with Prefect1Server() as server:
        server.full_slots = "queue"
        first, second = runs_of_one_slot(server)
        set_state(server, first, SUBMITTED)

        for _ in range(2):  # the second time it stays as it is
            (answer,) = set_state(server, second, SUBMITTED)["states"]
            assert (answer["status"], second["state"], second["version"]) == ("QUEUED", "Queued", 2)
        start = datetime.fromisoformat(second["serialized_state"]["start_time"])
        assert queue(server, "one", before=start - timedelta(seconds=1)) == []
        assert queue(server, "one", before=start) == [second["id"]]

        server.set_state(first["id"], "Success")
        assert set_state(server, second, SUBMITTED)["states"][0]["status"] == "SUCCESS"


def runs_of_one_slot(server: Prefect1Server) -> list[Any]:
    server.concurrency_limits = {"one": 1}
    flow = server.add_flow()
    return [server.add_run(flow, labels=["one"]) for _ in range(2)]


def test_a_cancelled_run_takes_its_unfinished_task_runs_with_it():
    with Prefect1Server() as server:
        run = server.add_run(server.add_flow(), state="Running")
        waiting, done = server.add_task_run(run), server.add_task_run(run, state="Success")
        server.set_state(run["id"], "Cancelled", "enough")

        assert (run["state_message"], waiting["state"], done["state"]) == (
            *("enough", "Cancelled"),
            "Success",
        )


def test_logs_are_kept_with_their_run_and_their_level_must_be_one():
    with Prefect1Server() as server:
        line = {"flow_run_id": "r", "name": "agent", "message": "m", "level": "INFO"}

        assert mutate(server, "write_run_logs", {"logs": [line]}, "success") == {"success": True}
        refused = {"logs": [{**line, "level": "info"}]}
        assert "invalid value" in mutate(server, "write_run_logs", refused, "success")["message"]
        (kept,) = server.logs("r")
        assert kept.items() >= line.items()


# -- queries ---------------------------------------------------------------------------------------


def test_a_query_is_read_however_it_is_written_and_gives_only_what_it_selects():
    with Prefect1Server() as server:
        flow = server.add_flow(name='An "old" flow')
        run = server.add_run(flow, state="Running", name="r")
        task_run = server.add_task_run(run, due=NOW)
        server.add_task_run(run, due=due(60))
        where = {
            "id": {"_in": [run["id"]]},
            "_not": {"state": {"_eq": "Success"}},
            "task_runs": {"state_start_time": {"_lte": NOW.isoformat()}},
        }
        query = (
            "query Runs($w: flow_run_bool_exp!, $t: timestamptz) {flow_run(where:$w,limit:5)"
            "{its:name flow{name}\n # with what is due\n"
            "task_runs(where:{state_start_time:{_lte:$t}}){id}}}"
        )

        assert post(server, query, {"w": where, "t": NOW.isoformat()})[1]["data"] == {
            "flow_run": [
                {"its": "r", "flow": {"name": flow["name"]}, "task_runs": [{"id": task_run["id"]}]}
            ]
        }


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"_lte": "2026-01-01T12:00:00Z"}, 1),
        ({"_lte": "2026-01-01T12:30:00+01:00"}, 0),
        ({"_eq": None}, 1),  # Hasura 1 leaves it out
        ({"_is_null": True}, 0),
    ],
)
def test_times_are_compared_as_times_and_null_is_not_compared(condition: Any, found: int):
    with Prefect1Server() as server:
        server.add_run(server.add_flow(), due=datetime(2026, 1, 1, 12, tzinfo=UTC))
        query = "query($c: Any) { flow_run(where: {scheduled_start_time: $c}) { id } }"

        assert len(post(server, query, {"c": condition})[1]["data"]["flow_run"]) == found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("query { flow_run { id ", "GRAPHQL_PARSE_FAILED"),
        ("query { flow_run { secret } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query { flow_run { flow } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query { flow_run(were: {}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ('query { flow_run(where: {state: {eq: "x"}}) { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ("query { flow_run(where: $w) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($w: flow_run_bool_exp!) { flow_run(where: $w) { id } }", "BAD_USER_INPUT"),
        ("mutation { delete_flow_run(input: {}) { success } }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { write_run_logs(input: {log: []}) { success } }", "BAD_USER_INPUT"),
    ],
)
def test_a_request_that_the_schema_does_not_have_is_refused(query: str, expected: str):
    with Prefect1Server() as server:
        server.add_run(server.add_flow())

        status, answer = post(server, query)

    assert (status, code(answer)) == (400, expected)


# -- faults ----------------------------------------------------------------------------------------


def test_the_next_calls_of_one_operation_fail_as_told():
    with Prefect1Server() as server:
        server.fail_next("hello", 2, status=503)
        server.fail_next("hello", error={"message": "m", "extensions": {"code": "API_ERROR"}})

        assert [post(server, "{ hello }")[0] for _ in range(2)] == [503, 503]
        assert post(server, "{ tenant { id } }")[0] == 200
        assert code(post(server, "{ hello }")[1]) == "API_ERROR"
        assert "errors" not in post(server, "{ hello }")[1]
        assert len(server.calls_of("hello")) == 4


@pytest.mark.parametrize("after_effect", [True, False])
def test_a_lost_answer_may_have_had_its_effect(after_effect: bool):
    with Prefect1Server() as server:
        run = server.add_run(server.add_flow())
        server.fail_next("set_flow_run_states", after_effect=after_effect)

        with pytest.raises(RemoteDisconnected):
            set_state(server, run, SUBMITTED)

        assert run["state"] == ("Submitted" if after_effect else "Scheduled")


# -- as a process ----------------------------------------------------------------------------------


def test_another_process_fills_and_inspects_it():
    command = [sys.executable, "-m", "tests.support.prefect1_server", "--token", "secret"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        def admin(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(f"{url}/_admin/{path}", data, timeout=10) as response:
                return json.loads(response.read())

        flow = admin("flows", {"name": "f"})
        run = admin("runs", {"flow_id": flow["id"], "due_in": 5, "labels": ["a"]})
        admin("task_runs", {"flow_run_id": run["id"], "state": "Success"})
        (found,) = admin("runs")
        process.terminate()

    assert (found["id"], found["flow"]["name"], found["logs"]) == (run["id"], "f", [])
    assert [entry["state"] for entry in found["history"]] == ["Scheduled"]
    assert [task_run["state"] for task_run in found["task_runs"]] == ["Success"]
