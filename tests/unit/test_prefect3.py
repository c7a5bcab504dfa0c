"""Prefect 2 and 3 as ``poll`` and ``dispatch`` ask them: a server that answers by script."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from fargate_agent.errors import DeploymentDeleted
from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.orchestrators.prefect3 import Prefect3, variables_of
from fargate_agent.tasks import Task
from tests.support.scripted_server import Answer, ScriptedServer
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID, TASK_ARN, flow_run

TASK = Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN)
DONE = Answer(204)
GONE = Answer(404, '{"detail": "Not found"}')
POOL = {
    "id": "pool-1",
    "type": "ecs",
    "updated": "2026-02-02T00:00:00Z",
    "concurrency_limit": None,
    "base_job_template": {"job_configuration": {"image": "{{ prefect.variables.image }}"}},
}
DEPLOYMENT = "d1d2f3a4-0000-4000-8000-000000000002"


def says(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value))


@contextmanager
def prefect(*answers: Answer) -> Iterator[tuple[Prefect3, ScriptedServer]]:
    with ScriptedServer(*answers) as server:
        api = JsonClient(f"{server.url}/api", lambda _: None)
        yield Prefect3(api, work_pool="fargate", worker_name="agent"), server


def asked(server: ScriptedServer) -> list[str]:
    return [f"{one.method} {one.path.removeprefix('/api')}" for one in server.requests]


def bodies(server: ScriptedServer, path: str) -> list[Any]:
    return [json.loads(one.body) for one in server.requests if one.path.endswith(path)]


# -- log lines -------------------------------------------------------------------------------------


def test_the_lines_of_a_batch_are_written_in_one_call_and_once():
    pool, launch = says(POOL), (DONE, says("3.8.8"), DONE)
    with prefect(pool, *launch, DONE, DONE, says({}, 201)) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(id="1"), TASK, "with etl:7.")
        agent.launched(flow_run(id="2"), TASK, "with etl:8.")
        agent.flush()
        agent.flush()

    (lines,) = bodies(server, "/logs/")
    assert [(line["flow_run_id"], line["level"], line["message"]) for line in lines] == [
        ("1", 20, f"Started ECS task {TASK_ARN} with etl:7."),
        ("2", 20, f"Started ECS task {TASK_ARN} with etl:8."),
    ]
    assert {line["name"] for line in lines} == {"prefect.fargate_agent"}


def test_without_lines_nothing_is_written():
    with prefect(says(POOL), DONE, says("3.8.8"), DONE) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(), TASK, None)
        agent.flush()

    assert bodies(server, "/logs/") == []


def test_lost_lines_are_no_failure_and_do_not_come_again():
    answers = (says(POOL), DONE, says("3.8.8"), DONE, Answer(400, "{}"))
    with prefect(*answers) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(), TASK, "x")
        agent.flush()
        agent.flush()

    assert len(bodies(server, "/logs/")) == 1


# -- attribution -----------------------------------------------------------------------------------


def test_a_launch_is_linked_with_its_task_its_worker_and_its_pool():
    with prefect(says(POOL), DONE, says("3.8.8"), DONE) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(), TASK, None)
        agent.flush()

    assert bodies(server, f"/flow_runs/{RUN_ID}") == [
        {"infrastructure_pid": f"{CLUSTER_ARN}::{TASK_ARN}"}
    ]
    assert bodies(server, "/labels") == [
        {
            "prefect.worker.name": "agent",
            "prefect.worker.type": "ecs",
            "prefect.work-pool.name": "fargate",
            "prefect.work-pool.id": "pool-1",
        }
    ]


def test_prefect_2_knows_no_labels():
    with prefect(says(POOL), DONE, says("2.20.25")) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(), TASK, None)
        agent.flush()

    assert bodies(server, "/labels") == []


@pytest.mark.parametrize("refusal", [GONE, Answer(422, "{}"), Answer(403, '{"detail": "no"}')])
def test_lost_labels_are_no_failed_launch(refusal: Answer):
    with prefect(says(POOL), DONE, says("3.8.8"), refusal) as (agent, server):
        agent.work_pool("")
        agent.launched(flow_run(), TASK, None)
        agent.flush()

    assert len(bodies(server, "/labels")) == 1


def test_a_server_that_does_not_answer_is_not_waited_for_again_and_again():
    with prefect(says(POOL), says("3.8.8"), *[DONE] * 3) as (agent, _):
        agent.work_pool("")
        agent.server_version()
        for id in ("1", "2", "3"):
            agent.launched(flow_run(id=id), TASK, "with etl:7.")
    calls: list[str] = []

    def send(method: str, path: str, body: Any, **_: Any) -> Any:
        calls.append(path)
        raise ApiError(f"{method} {path}", None, "no answer")

    agent._api.send = send  # type: ignore[method-assign]
    agent.flush()

    assert calls == ["/logs/"]


def test_a_task_that_could_not_be_reported_is_a_failure():
    with prefect(says(POOL), Answer(400, "{}")) as (agent, _):
        agent.work_pool("")
        with pytest.raises(ApiError):
            agent.launched(flow_run(), TASK, None)


# -- what is read once -----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [GONE, Answer(401, "no"), Answer(403, "no")])
def test_a_server_that_does_not_tell_its_version_is_asked_once(answer: Answer):
    with prefect(answer, answer) as (agent, server):
        found = [agent.server_version() for _ in range(3)]

    assert found == [None] * 3
    assert {*asked(server)} == {"GET /admin/version"}
    assert len(server.requests) <= 2  # a refused key is read again


def test_a_version_that_could_not_be_read_is_asked_for_again():
    with prefect(Answer(408, "{}"), says("3.8.8")) as (agent, _):
        with pytest.raises(ApiError):
            agent.server_version()
        assert agent.server_version() == agent.server_version() == "3.8.8"


def test_a_deployment_is_read_once_for_each_version_of_it():
    old, new = "2026-02-01T00:00:00Z", "2026-02-02T00:00:00.5Z"
    with prefect(says({"updated": old}), says({"updated": new})) as (agent, server):
        for version in (old, old, new, new):
            assert agent.deployment("d-1", version)["updated"] == version
        # A message that was sent before the change wants no more than what is known by now.
        assert agent.deployment("d-1", old)["updated"] == new

    assert asked(server) == ["GET /deployments/d-1"] * 2


def test_a_deployment_that_was_deleted_is_named():
    with (
        prefect(GONE) as (agent, _),
        pytest.raises(DeploymentDeleted, match=r"^Deployment d-1 no longer exists\.$"),
    ):
        agent.deployment("d-1", "1")


@pytest.mark.parametrize(
    ("deployment", "variables"),
    [
        ({"job_variables": {"cpu": 1}}, {"cpu": 1}),
        ({"infra_overrides": {"cpu": 1}}, {"cpu": 1}),
        ({"job_variables": {"cpu": 1}, "infra_overrides": {"cpu": 2}}, {"cpu": 1}),
        ({"job_variables": None}, {}),
        ({}, {}),
    ],
)
def test_a_deployments_variables_have_two_names(deployment: Any, variables: Any):
    assert variables_of(deployment) == variables


# -- due runs --------------------------------------------------------------------------------------


WORKER_ID = "c1d2f3a4-0000-4000-8000-000000000003"


def due(**fields: Any) -> dict[str, Any]:
    run = {
        "id": RUN_ID,
        "name": "brave-otter",
        "flow_id": "f-1",
        "deployment_id": DEPLOYMENT,
        "next_scheduled_start_time": NOON.isoformat(),
        "job_variables": {"env": {"A": "{{ prefect.blocks.secret.token }}"}},
        **fields,
    }
    return {"flow_run": run, "work_queue_id": "queue-1"}


NIGHTLY = {
    "id": DEPLOYMENT,
    "name": "nightly",
    "updated": "2026-02-01T00:00:00Z",
    "infra_overrides": {"cpu": "{{ prefect.variables.size }}"},
}
FLOW = {"id": "f-1", "name": "Load orders"}


def test_a_due_run_tells_the_versions_of_all_that_it_refers_to():
    block = {"block_type": {"slug": "secret"}, "name": "token", "updated": "v1"}
    variables = [{"name": "image", "updated": "v2"}, {"name": "size", "updated": "v3"}]
    answers = ([due()], POOL, [FLOW], [NIGHTLY], [block], variables)
    with prefect(*map(says, answers)) as (agent, _):
        (run,) = agent.due_runs(NOON + timedelta(seconds=10)).runs

    assert run.references == {
        "blocks.secret.token": "v1",
        "variables.image": "v2",
        "variables.size": "v3",
    }


def test_a_run_refers_to_nothing_of_another_runs():
    other = due(id="other", job_variables=None)
    block = {"block_type": {"slug": "secret"}, "name": "token", "updated": "v1"}
    image = {"name": "image", "updated": "v2"}
    answers = ([due(), other], POOL, [FLOW], [{**NIGHTLY, "infra_overrides": {}}], [block], [image])
    with prefect(*map(says, answers)) as (agent, _):
        first, second = agent.due_runs(NOON).runs

    assert first.references.keys() - second.references.keys() == {"blocks.secret.token"}


@pytest.mark.parametrize("refusal", [Answer(422, "{}"), Answer(403, "no"), Answer(404, "{}")])
def test_versions_that_are_not_told_delay_no_run(refusal: Answer):
    answers = ([due(job_variables=None)], POOL, [FLOW], [{**NIGHTLY, "infra_overrides": {}}])
    with prefect(*map(says, answers), refusal, refusal) as (agent, _):
        (run,) = agent.due_runs(NOON).runs

    assert run.references == {}


@pytest.mark.parametrize(
    ("told", "id"), [(WORKER_ID, WORKER_ID), ("", None), ("null", None), ("<html>", None)]
)
def test_a_run_knows_the_agents_id_where_the_server_tells_it(told: str, id: str | None):
    plain = {**POOL, "base_job_template": {}}
    answers = ([due(job_variables=None)], plain, [FLOW], [{**NIGHTLY, "infra_overrides": {}}])
    with prefect(Answer(200, told), *map(says, answers)) as (agent, server):
        agent.heartbeat(10)
        (run,) = agent.due_runs(NOON).runs

    assert run.worker_id == id
    assert bodies(server, "/heartbeat")[0]["name"] == "agent"


def test_a_run_of_a_deleted_deployment_is_still_found_for_dispatch_to_cancel():
    plain = {**POOL, "base_job_template": {}}
    with prefect(*map(says, ([due(job_variables=None)], plain, [FLOW], []))) as (agent, _):
        (run,) = agent.due_runs(NOON).runs

    assert (run.deployment_id, run.deployment_name, run.deployment_updated) == (
        DEPLOYMENT,
        None,
        None,
    )


def test_a_run_of_a_deleted_flow_is_found_without_its_name():
    plain = {**POOL, "base_job_template": {}}
    answers = ([due(job_variables=None)], plain, [], [{**NIGHTLY, "infra_overrides": {}}])
    with prefect(*map(says, answers)) as (agent, _):
        (run,) = agent.due_runs(NOON).runs

    assert run.flow_name == ""
