"""The path of a run: found, enqueued, claimed, launched, reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest

from fargate_agent.orchestrators.http import ApiError, CredentialsRefused, JsonClient
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def environment(task: dict[str, Any]) -> dict[str, str]:
    (container,) = task["overrides"]["containerOverrides"]
    return {entry["name"]: entry["value"] for entry in container["environment"]}


def launch(world: World, deployment: str) -> dict[str, Any]:
    """Take one run of a deployment all the way, and return its task."""
    run = world.schedule(deployment)
    world.poll()
    assert world.deliver() == []
    return next(task for task in world.tasks() if task["startedBy"] == run)


def test_a_scheduled_run_becomes_one_task(world: World) -> None:
    deployment = world.deployment(cpu=512, memory=1024, env={"COLOUR": "blue"})
    run = world.schedule(deployment)

    assert world.poll() == 1
    assert world.deliver() == []

    (task,) = world.tasks()
    assert task["startedBy"] == run
    assert task["launchType"] == "FARGATE"
    state = world.run(run)
    assert state["state_type"] == "PENDING"
    assert state["infrastructure_pid"] == f"{world.cluster}::{task['taskArn']}"
    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("512", "1024")
    assert definition["family"] == f"prefect_{world.pool}_{deployment}"
    assert environment(task)["COLOUR"] == "blue"
    (line,) = world.logs(run)
    assert task["taskArn"] in line
    assert world.receive() == []


def test_the_container_is_told_which_run_it_is(world: World) -> None:
    deployment = world.deployment()
    task = launch(world, deployment)

    told = environment(task)
    run = world.run(task["startedBy"])
    assert told["PREFECT_API_URL"] == world.prefect._base_url
    assert told["PREFECT__FLOW_RUN_ID"] == run["id"]
    assert told["PREFECT__FLOW_NAME"] == "etl"
    assert told["PREFECT__DEPLOYMENT_ID"] == deployment
    assert told["PREFECT__WORKER_NAME"] == "fargate-agent"
    (container,) = task["overrides"]["containerOverrides"]
    assert container["command"] == ["prefect", "flow-run", "execute"]
    tags = {tag["key"]: tag["value"] for tag in task["tags"]}
    assert tags["prefect.io/flow-run-name"] == run["name"]
    assert tags["prefect.io/work-pool-name"] == world.pool


@pytest.mark.prefect3
def test_a_warm_launch_calls_ecs_once_and_reports(world: World) -> None:
    deployment = world.deployment()
    launch(world, deployment)
    run = world.schedule(deployment)
    world.poll()
    world.recorder.calls.clear()
    world.prefect_calls.clear()

    world.deliver()

    # GetObject is the look for a kwargs file, of the flow and of the deployment.
    assert world.recorder.of("dispatch") == ["GetObject", "GetObject", "RunTask"]
    of_flow, of_deployment = (asked["Key"] for asked in world.requests("GetObject"))
    assert of_flow == f"kwargs/etl/{world.run(run)['flow_id'][:8]}.json"
    name = world.prefect.get(f"/deployments/{deployment}")["name"]
    assert of_deployment == f"kwargs/etl/{name}.json"
    assert world.prefect_calls == [
        ("POST", f"/flow_runs/{run}/set_state"),
        ("PATCH", f"/flow_runs/{run}"),
        ("POST", "/flow_runs/filter"),  # whether anybody has cancelled it meanwhile
        ("POST", "/logs/"),
        ("PATCH", f"/flow_runs/{run}/labels"),
    ]


def test_the_log_lines_of_a_batch_are_written_in_one_call(world: World) -> None:
    deployment = world.deployment()
    runs = [world.schedule(deployment) for _ in range(3)]
    world.poll()
    assert world.deliver() == []

    assert world.prefect_calls.count(("POST", "/logs/")) == 1
    assert all(len(world.logs(run)) == 1 for run in runs)


def test_a_changed_deployment_is_seen_by_a_warm_function(world: World) -> None:
    deployment = world.deployment(cpu=512, memory=1024)
    first = launch(world, deployment)
    body = {"job_variables": {"image": "example/flows:2", "cpu": 1024, "memory": 4096}}
    world.prefect.send("PATCH", f"/deployments/{deployment}", body)

    second = launch(world, deployment)

    assert first["taskDefinitionArn"].endswith(":1")
    assert second["taskDefinitionArn"].endswith(":2")
    definition = world.definition(second["taskDefinitionArn"])
    assert definition["cpu"] == "1024"
    assert definition["containerDefinitions"][0]["image"] == "example/flows:2"


def test_an_unchanged_definition_is_reused_by_another_function_instance(world: World) -> None:
    deployment = world.deployment()
    first = launch(world, deployment)
    world.cold_start()

    second = launch(world, deployment)

    assert second["taskDefinitionArn"] == first["taskDefinitionArn"]
    assert world.recorder.of("dispatch").count("RegisterTaskDefinition") == 1


def test_a_deregistered_definition_is_registered_again(world: World) -> None:
    deployment = world.deployment()
    first = launch(world, deployment)
    boto3.client("ecs").deregister_task_definition(taskDefinition=first["taskDefinitionArn"])
    world.cold_start()

    second = launch(world, deployment)

    assert second["taskDefinitionArn"].endswith(":2")


def test_variables_of_one_run_stand_above_its_deployment(world: World) -> None:
    deployment = world.deployment(env={"COLOUR": "blue", "SIZE": "10"})
    run = world.schedule(deployment, job_variables={"env": {"COLOUR": "red"}, "cpu": 2048})
    world.poll()
    world.deliver()

    (task,) = world.tasks()
    assert task["startedBy"] == run
    assert environment(task)["COLOUR"] == "red"
    assert environment(task)["SIZE"] == "10"
    assert world.definition(task["taskDefinitionArn"])["cpu"] == "2048"


def test_kwargs_from_s3_stand_above_everything(world: World) -> None:
    deployment = world.deployment(cpu=512, memory=1024, env={"COLOUR": "blue", "SIZE": "10"})
    url = world.put_kwargs(
        deployment,
        {
            "cpu": 2048,
            "memory": "8192",
            "containerDefinitions": [{"environment": [{"name": "COLOUR", "value": "green"}]}],
            "tags": [{"key": "team", "value": "data"}],
        },
    )

    task = launch(world, deployment)

    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("2048", "8192")
    (container,) = definition["containerDefinitions"]
    assert container["environment"] == [{"name": "COLOUR", "value": "green"}]
    assert "COLOUR" not in environment(task)
    assert environment(task)["SIZE"] == "10"
    assert not {"cpu", "memory"} & task["overrides"].keys()
    assert {"key": "team", "value": "data"} in task["tags"]
    assert {"key": "team", "value": "data"} in definition["tags"]
    (line,) = world.logs(task["startedBy"])
    assert url in line


def test_a_changed_kwargs_file_revises_the_definition(world: World) -> None:
    deployment = world.deployment()
    first = launch(world, deployment)
    world.put_kwargs(deployment, {"memory": 4096})
    second = launch(world, deployment)
    third = launch(world, deployment)

    assert first["taskDefinitionArn"].endswith(":1")
    assert second["taskDefinitionArn"].endswith(":2")
    assert third["taskDefinitionArn"] == second["taskDefinitionArn"]


def test_without_external_kwargs_s3_is_never_asked(make_world: Callable[..., World]) -> None:
    world = make_world(external_kwargs={"enabled": False})
    launch(world, world.deployment())

    assert "GetObject" not in world.recorder.of("dispatch")
    assert world.bucket is None


def test_a_run_without_an_image_gets_the_servers_own_version(world: World) -> None:
    deployment = world.deployment(image=None)
    version = world.prefect.get("/admin/version")

    task = launch(world, deployment)

    (container,) = world.definition(task["taskDefinitionArn"])["containerDefinitions"]
    assert container["image"] == f"prefecthq/prefect:{version}-python3.12"


@pytest.mark.parametrize(
    "hidden", [ApiError("GET /admin/version", 404, "none"), CredentialsRefused("403")]
)
def test_a_server_that_hides_its_version_gets_the_latest_image(
    world: World, monkeypatch: pytest.MonkeyPatch, hidden: Exception
) -> None:
    ask = JsonClient.get

    def get(client: JsonClient, path: str) -> Any:
        if path == "/admin/version":
            raise hidden
        return ask(client, path)

    monkeypatch.setattr(JsonClient, "get", get)
    task = launch(world, world.deployment(image=None))

    (container,) = world.definition(task["taskDefinitionArn"])["containerDefinitions"]
    assert container["image"] == "prefecthq/prefect:3-latest"


def test_the_api_key_reaches_the_container_by_reference_only(
    make_world: Callable[..., World],
) -> None:
    boto3.client("secretsmanager").create_secret(Name="prefect", SecretString="pnu_canary")
    arn = boto3.client("secretsmanager").describe_secret(SecretId="prefect")["ARN"]
    world = make_world(prefect={"api_key_secret": arn})

    task = launch(world, world.deployment())

    (container,) = world.definition(task["taskDefinitionArn"])["containerDefinitions"]
    assert container["secrets"] == [{"name": "PREFECT_API_KEY", "valueFrom": arn}]
    assert "pnu_canary" not in str(world.recorder.calls)


def test_settings_of_the_agent_are_the_weakest_layer(make_world: Callable[..., World]) -> None:
    world = make_world(
        agent={"env": {"COLOUR": "agent", "REGION_NAME": "eu"}, "send_logs": False},
        ecs={"kwargs": {"cpu": 4096, "memory": 8192, "platformVersion": "1.4.0"}},
    )
    task = launch(world, world.deployment(memory=16384, env={"COLOUR": "deployment"}))

    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("4096", "16384")
    assert environment(task)["COLOUR"] == "deployment"
    assert environment(task)["REGION_NAME"] == "eu"
    assert environment(task)["PREFECT_LOGGING_TO_API_ENABLED"] == "false"
    assert task["platformVersion"] == "1.4.0"
    assert world.logs(task["startedBy"]) == []


def test_an_early_message_waits_in_the_queue(world: World) -> None:
    run = world.schedule(world.deployment(), ahead=timedelta(seconds=18))
    assert world.poll() == 1

    assert world.deliver() == [run]

    assert world.receive() == []  # hidden
    assert world.tasks() == []
    assert world.run(run)["state_type"] == "SCHEDULED"
    assert world.recorder.of("dispatch") == ["ChangeMessageVisibility"]
    hidden = world.recorder.calls[-1].params["VisibilityTimeout"]
    assert 10 <= hidden <= 17


def test_the_stack_names_what_it_made(world: World) -> None:
    task = launch(world, world.deployment())

    definition = world.definition(task["taskDefinitionArn"])
    assert task["clusterArn"] == world.cluster
    assert definition["networkMode"] == "awsvpc"
    assert definition["requiresCompatibilities"] == ["FARGATE"]
    assert "ExecutionRole" in definition["executionRoleArn"]
    assert "TaskRole" in definition["taskRoleArn"]
    (container,) = definition["containerDefinitions"]
    assert container["logConfiguration"]["logDriver"] == "awslogs"
    assert container["logConfiguration"]["options"]["awslogs-stream-prefix"] == "flow-run"
