"""Who ran what: labels on the run, tags on the task, variables in the container."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from fargate_agent.orchestrators.http import ApiError, JsonClient
from tests.support.world import World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def tags(task: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in task["tags"]}


@pytest.mark.prefect3
def test_the_run_is_labelled_with_its_worker_and_pool(world: World) -> None:
    task = world.launched(world.deployment())

    labels = world.run(task["startedBy"])["labels"]
    pool = world.prefect.get(f"/work_pools/{world.pool}")
    assert {name: labels.get(name) for name in labels if name.startswith("prefect.wo")} == {
        "prefect.worker.name": "fargate-agent",
        "prefect.worker.type": "ecs",
        "prefect.work-pool.name": world.pool,
        "prefect.work-pool.id": pool["id"],
    }


def test_labels_that_are_lost_harm_nobody(world: World) -> None:
    send = JsonClient.send

    def broken(client: JsonClient, method: str, path: str, *given: Any, **options: Any) -> Any:
        if path.endswith("/labels"):
            raise ApiError(f"{method} {path}", 503, "no labels today")
        return send(client, method, path, *given, **options)

    with mock.patch.object(JsonClient, "send", broken):
        task = world.launched(world.deployment())

    assert world.run(task["startedBy"])["state_type"] == "PENDING"
    assert len(world.logs(task["startedBy"])) == 1


def test_the_task_has_the_tags_of_a_workers(world: World) -> None:
    deployment = world.deployment(name="nightly")
    task = world.launched(deployment)

    run = world.run(task["startedBy"])
    updated = world.prefect.get(f"/deployments/{deployment}")["updated"]
    assert tags(task) == {
        "prefect.io/flow-run-id": run["id"],
        "prefect.io/flow-run-name": run["name"],
        "prefect.io/version": world.prefect.get("/admin/version"),
        "prefect.io/work-pool-name": world.pool,
        "prefect.io/work-pool-id": world.prefect.get(f"/work_pools/{world.pool}")["id"],
        "prefect.io/worker-name": "fargate-agent",
        "prefect.io/flow-id": run["flow_id"],
        "prefect.io/flow-name": "etl",
        "prefect.io/deployment-id": deployment,
        "prefect.io/deployment-name": "nightly",
        "prefect.io/deployment-updated": in_utc(updated),
    }
    assert in_utc(updated).endswith("+00:00")


def in_utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def test_labels_of_the_job_become_tags_as_a_worker_writes_them(world: World) -> None:
    labels = {"team": "Data & Co", "prefect.io/flow-name": "mine", "cost centre": "4711"}
    found = tags(world.launched(world.deployment(labels=labels)))

    assert found["team"] == "Data-Co"
    assert found["cost-centre"] == "4711"
    assert found["prefect.io/flow-name"] == "mine"


def test_the_container_is_told_what_a_worker_tells_it(world: World) -> None:
    deployment = world.deployment(name="nightly")
    task = world.launched(deployment)

    told = environment(task)
    run = world.run(task["startedBy"])
    assert {name: value for name, value in told.items() if name.startswith("PREFECT__")} == {
        "PREFECT__FLOW_RUN_ID": run["id"],
        "PREFECT__FLOW_ID": run["flow_id"],
        "PREFECT__FLOW_NAME": "etl",
        "PREFECT__DEPLOYMENT_ID": deployment,
        "PREFECT__DEPLOYMENT_NAME": "nightly",
        "PREFECT__WORKER_NAME": "fargate-agent",
    }


WORKER_ID = "c1d2f3a4-0000-4000-8000-000000000003"


def test_a_server_that_gives_its_workers_ids_finds_them_in_the_container(world: World) -> None:
    send = JsonClient.send

    def cloud(client: JsonClient, method: str, path: str, *given: Any, **options: Any) -> Any:
        answer = send(client, method, path, *given, **options)
        return WORKER_ID if path.endswith("/heartbeat") else answer

    with mock.patch.object(JsonClient, "send", cloud):
        task = world.launched(world.deployment())

    assert environment(task)["PREFECT__WORKER_ID"] == WORKER_ID


def test_the_name_of_the_job_is_in_the_log(world: World) -> None:
    name = "{{ ctx.flow.name }}/{{ ctx.flow_run.name }}"
    task = world.launched(world.deployment(), job_variables={"name": name})

    (line,) = world.logs(task["startedBy"])
    assert f", as 'etl/{world.run(task['startedBy'])['name']}'" in line


def test_the_variables_of_a_user_cannot_hide_which_run_it_is(world: World) -> None:
    task = world.launched(world.deployment(env={"PREFECT__FLOW_RUN_ID": "another"}))

    assert environment(task)["PREFECT__FLOW_RUN_ID"] == task["startedBy"]


def test_a_variable_that_a_run_sets_to_null_is_removed(world: World) -> None:
    def change(template: dict[str, Any]) -> None:
        env = {"type": "object", "default": {"COLOUR": "blue", "SIZE": "7"}}
        template["variables"]["properties"]["env"] = env  # the server's own takes text only

    world.customise(change)
    task = world.launched(world.deployment(), job_variables={"env": {"COLOUR": None}})

    assert "COLOUR" not in environment(task)
    assert environment(task)["SIZE"] == "7"
