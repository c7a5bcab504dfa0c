"""The stand-in for a Prefect 3 server keeps the time and fails as a test tells it to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

from fargate_agent.orchestrators.http import RETRIES, ApiError, CredentialsExpired, JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import Claim
from tests.support.fakes import Clock
from tests.support.prefect3_server import Fault, Prefect3Server

START = datetime(2026, 1, 1, tzinfo=UTC)
ONCE = RETRIES.new(total=0)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def server(clock: Clock) -> Iterator[Prefect3Server]:
    with Prefect3Server(now=clock.now, sleep=clock.sleep) as server:
        yield server


@pytest.fixture
def api(server: Prefect3Server) -> JsonClient:
    return JsonClient(server.url, lambda _: None, retries=ONCE)


@pytest.fixture
def agent(api: JsonClient) -> Prefect3:
    return Prefect3(api, work_pool="fargate", worker_name="test")


def test_a_run_is_found_claimed_and_executed_by_the_tests_own_clock(
    server: Prefect3Server, agent: Prefect3, clock: Clock
) -> None:
    id = server.add_run(server.add_deployment(), due=START + timedelta(minutes=5))["id"]

    assert agent.due_runs(clock.now()).runs == []
    clock.sleep(300)
    (run,) = agent.due_runs(clock.now()).runs
    assert agent.claim(run)[0] is Claim.OURS
    assert agent.claim(run)[0] is Claim.OURS
    assert server.running(id)["status"] == "ACCEPT"
    clock.sleep(60)
    server.completed(id)

    assert server.run(id)["total_run_time"] == pytest.approx(60)
    assert [state["type"] for state in server.history(id)] == [
        *("SCHEDULED", "PENDING", "RUNNING", "COMPLETED")
    ]
    assert [state["timestamp"] for state in server.history(id)][1:] == [
        *("2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000001Z", "2026-01-01T00:06:00Z")
    ]


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_call_fails_before_or_after_its_effect(
    server: Prefect3Server, api: JsonClient, after_effect: bool
) -> None:
    id = server.add_run(server.add_deployment())["id"]
    path = f"/flow_runs/{id}"
    server.fail_next(
        r"PATCH .*infrastructure", status=503, retry_after=7, after_effect=after_effect
    )

    with pytest.raises(ApiError, match="fault injected") as failure:
        api.send("PATCH", path, {"infrastructure_pid": "cluster::task"})

    assert (failure.value.status, failure.value.retry_after) == (503, 7)
    assert server.run(id)["infrastructure_pid"] == ("cluster::task" if after_effect else None)
    api.send("PATCH", path, {"infrastructure_pid": "cluster::task"})
    assert [call.name for call in server.calls_of("PATCH")] == ["PATCH /flow_runs/{id}"] * 2


def test_a_call_without_an_answer_is_a_broken_connection(
    server: Prefect3Server, api: JsonClient
) -> None:
    server.fail_next("version")

    with pytest.raises(ApiError) as failure:
        api.get("/admin/version")

    assert failure.value.status is None
    assert api.get("/admin/version") == "3.8.8"


def test_a_late_answer_is_the_answer(server: Prefect3Server, api: JsonClient, clock: Clock) -> None:
    server.fail_next("version", delay=40)

    assert api.get("/admin/version") == "3.8.8"
    assert clock.slept == [40]


def test_an_outage_lasts_until_it_is_over(server: Prefect3Server, api: JsonClient) -> None:
    server.down = Fault(status=500)
    for _ in range(2):
        with pytest.raises(ApiError):
            api.get("/admin/version")

    server.down = None

    assert api.get("/admin/version") == "3.8.8"


def test_a_test_may_decide_about_every_call(server: Prefect3Server, api: JsonClient) -> None:
    server.fault = lambda call: Fault(status=429) if len(server.calls) == 2 else None

    api.get("/admin/version")
    with pytest.raises(ApiError) as failure:
        api.get("/admin/version")

    assert failure.value.status == 429


def test_a_rotated_key_is_asked_for() -> None:
    with Prefect3Server(authorization="Bearer new") as server:
        held = JsonClient(server.url, lambda refresh: "Bearer new" if refresh else "Bearer old")
        stale = JsonClient(server.url, lambda _: "Bearer old")

        assert held.get("/admin/version") == "3.8.8"
        with pytest.raises(CredentialsExpired):
            stale.get("/admin/version")


def test_a_server_of_prefect_2_lacks_what_that_lacks() -> None:
    with Prefect3Server(version="2.20.22") as server:
        api = JsonClient(server.url, lambda _: None, retries=ONCE)
        deployment = server.add_deployment(job_variables={"cpu": 512}, concurrency_limit=0)
        id = server.add_run(deployment)["id"]

        held = api.get(f"/deployments/{deployment['id']}")
        assert (held["job_variables"], held["infra_overrides"]) == (None, {"cpu": 512})
        for method, path in (("PATCH", f"/flow_runs/{id}/labels"), ("POST", "/events")):
            with pytest.raises(ApiError, match="404"):
                api.send(method, path, {})
        assert server.propose(id, "PENDING")["status"] == "ACCEPT"
        assert server.propose(id, "PENDING", name="Submitting")["status"] == "ABORT"


def test_what_nobody_asked_here_before_is_refused(server: Prefect3Server, api: JsonClient) -> None:
    with pytest.raises(ApiError, match="not played here"):
        api.post("/flow_runs/filter", {"flow_runs": {"tags": {"any_": ["a"]}}})
    with pytest.raises(ApiError, match="404"):
        api.get("/artifacts/latest/key")
    answer = urllib3.request("POST", f"{server.url}/flow_runs/filter", body=b"{")
    assert answer.status == 422


def test_users_cancel_pause_resume_move_and_delete_runs(
    server: Prefect3Server, clock: Clock
) -> None:
    deployment = server.add_deployment()
    ids = [server.add_run(deployment)["id"] for _ in range(5)]

    assert (server.cancel(ids[0])["status"], server.state(ids[0])) == ("REJECT", "CANCELLED")
    assert server.pause(ids[1])["status"] == "REJECT"
    server.propose(ids[1], "PENDING")
    server.running(ids[1])
    assert (server.pause(ids[1])["status"], server.state(ids[1])) == ("ACCEPT", "PAUSED")
    assert (server.resume(ids[1])["status"], server.state(ids[1])) == ("ACCEPT", "SCHEDULED")
    server.reschedule(ids[2], clock.now() + timedelta(hours=1))
    assert server.run(ids[2])["next_scheduled_start_time"] == "2026-01-01T01:00:00Z"
    server.propose(ids[3], "PENDING")
    server.delete_deployment(deployment["id"])
    assert list(server.runs) == [ids[0], ids[3]]
