"""Task definitions that customised templates make, and which of them are kept."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.runs import DEREGISTER_ENV
from tests.support import aws
from tests.support.world import World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

EFS = {
    "name": "data",
    "efsVolumeConfiguration": {
        "fileSystemId": "fs-0123",
        "rootDirectory": "/flows",
        "transitEncryption": "ENABLED",
    },
}
MOUNT = {"sourceVolume": "data", "containerPath": "/data", "readOnly": False}
SIDECAR = {
    "name": "proxy",
    "image": "envoy:1",
    "essential": False,
    "memory": 128,
    "mountPoints": [MOUNT],
    "environment": [{"name": "PORT", "value": "8080"}],
    "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
    "healthCheck": {"command": ["CMD", "true"]},
}
CUSTOMISED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "volumes": ({"volumes": [EFS]}, {"mountPoints": [MOUNT]}),
    "ulimits": ({}, {"ulimits": [{"name": "nofile", "softLimit": 65536, "hardLimit": 65536}]}),
    "GPUs": ({}, {"resourceRequirements": [{"type": "GPU", "value": "1"}]}),
    "platform": (
        {"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}},
        {},
    ),
    "container settings": (
        {"ephemeralStorage": {"sizeInGiB": 50}},
        {
            "readonlyRootFilesystem": True,
            "linuxParameters": {"initProcessEnabled": True},
            "dependsOn": [{"containerName": "proxy", "condition": "START"}],
            "stopTimeout": 90,
        },
    ),
}


def customise(world: World, fields: dict[str, Any], container: dict[str, Any]) -> None:
    """Add to the template's task definition, to its container, and a sidecar."""

    def change(template: dict[str, Any]) -> None:
        definition = template["job_configuration"]["task_definition"]
        definition.update(fields)
        (flow,) = definition["containerDefinitions"]
        definition["containerDefinitions"] = [{**flow, **container}, SIDECAR]

    world.customise(change)


@pytest.mark.parametrize("case", CUSTOMISED)
def test_what_a_template_says_is_registered_once(world: World, case: str) -> None:
    fields, container = CUSTOMISED[case]
    customise(world, fields, container)
    launch_type = "EC2" if case == "GPUs" else "FARGATE"
    deployment = world.deployment(launch_type=launch_type)

    first = world.launched(deployment)
    second = world.launched(deployment)
    world.cold_start()
    third = world.launched(deployment)

    (registered,) = world.requests("RegisterTaskDefinition")
    flow, sidecar = registered["containerDefinitions"]
    assert {key: registered[key] for key in fields} == fields
    assert {key: flow[key] for key in container} == container
    assert sidecar == SIDECAR
    arns = {task["taskDefinitionArn"] for task in (first, second, third)}
    assert len(arns) == 1
    assert [c["name"] for c in first["overrides"]["containerOverrides"]] == [flow["name"]]


def test_the_flow_runs_in_the_container_that_is_named(world: World) -> None:
    def change(template: dict[str, Any]) -> None:
        containers = [{**SIDECAR, "essential": True}, {"name": "flow", "image": "{{ image }}"}]
        template["job_configuration"]["task_definition"]["containerDefinitions"] = containers
        template["job_configuration"]["container_name"] = "flow"
        request = template["job_configuration"]["task_run_request"]
        request["overrides"]["containerOverrides"][0]["name"] = "flow"

    world.customise(change)
    task = world.launched(world.deployment())

    (override,) = task["overrides"]["containerOverrides"]
    (registered,) = world.requests("RegisterTaskDefinition")
    assert override["name"] == "flow"
    assert [c["name"] for c in registered["containerDefinitions"]] == ["proxy", "flow"]
    assert registered["containerDefinitions"][1]["image"] == "example/flows:1"


def test_logs_go_where_the_job_says(world: World) -> None:
    variables = {"configure_cloudwatch_logs": True, "cloudwatch_logs_prefix": "etl"}
    options = {"awslogs-group": "flows", "mode": "non-blocking"}
    deployment = world.deployment(**variables, cloudwatch_logs_options=options)
    definition = world.definition(world.launched(deployment)["taskDefinitionArn"])

    assert definition["containerDefinitions"][0]["logConfiguration"] == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-create-group": "true",
            "awslogs-group": "flows",
            "awslogs-region": "us-east-1",
            "awslogs-stream-prefix": "etl",
            "mode": "non-blocking",
        },
    }


def test_runs_that_are_launched_at_once_read_and_register_each_thing_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = world.block("canary")
    deployment = world.deployment(env={"TOKEN": block.placeholder})
    for _ in range(10):
        world.schedule(deployment)
    world.poll()
    world.prefect_calls.clear()
    together = threading.Barrier(10, timeout=20)
    claim = Prefect3.claim

    def claim_then_wait(prefect: Prefect3, *arguments: Any) -> Any:
        answer = claim(prefect, *arguments)
        together.wait()
        return answer

    monkeypatch.setattr(Prefect3, "claim", claim_then_wait)
    assert world.deliver() == []

    assert len(world.tasks()) == 10
    assert world.recorder.of("dispatch").count("RegisterTaskDefinition") == 1
    path = f"/block_types/slug/secret/block_documents/name/{block.name}?include_secrets=true"
    read = Counter(path for method, path in world.prefect_calls if method == "GET")
    once = ["/admin/version", f"/deployments/{deployment}", f"/work_pools/{world.pool}", path]
    assert read == Counter(once)


# -- auto_deregister_task_definition


def status(arn: str) -> str:
    answer = aws.moto("ecs").describe_task_definition(taskDefinition=arn)
    return str(answer["taskDefinition"]["status"])


def test_a_definition_registered_for_a_run_is_deregistered_when_its_task_has_stopped(
    world: World,
) -> None:
    task = world.launched(world.deployment(auto_deregister_task_definition=True))
    arn = task["taskDefinitionArn"]
    assert environment(task)[DEREGISTER_ENV] == arn
    assert {"key": "prefect.io/degregister-task-definition", "value": "true"} in task["tags"]
    assert status(arn) == "ACTIVE"

    stop(world, task)
    assert status(arn) == "INACTIVE"
    stop(world, task)  # events may come twice

    assert world.recorder.of("watch").count("DeregisterTaskDefinition") == 2


def test_a_later_run_registers_it_again(world: World) -> None:
    deployment = world.deployment(auto_deregister_task_definition=True)
    first = world.launched(deployment)
    stop(world, first)

    second = world.launched(deployment)

    assert status(second["taskDefinitionArn"]) == "ACTIVE"
    assert second["taskDefinitionArn"].endswith(":2")
    stop(world, second)
    assert status(second["taskDefinitionArn"]) == "INACTIVE"


def test_a_later_run_of_a_cold_function_registers_it_again(world: World) -> None:
    deployment = world.deployment(auto_deregister_task_definition=True)
    stop(world, world.launched(deployment))
    world.cold_start()

    assert world.launched(deployment)["taskDefinitionArn"].endswith(":2")


def test_a_definition_that_others_registered_is_never_deregistered(world: World) -> None:
    deployment = world.deployment(auto_deregister_task_definition=True)
    world.launched(deployment)
    (ours,) = world.requests("RegisterTaskDefinition")
    copied = {key: value for key, value in ours.items() if key != "tags"}
    theirs = aws.moto("ecs").register_task_definition(**copied)["taskDefinition"]
    world.cold_start()

    reused = world.launched(deployment)
    stop(world, reused)

    assert reused["taskDefinitionArn"] == theirs["taskDefinitionArn"]
    assert DEREGISTER_ENV not in environment(reused)
    assert status(reused["taskDefinitionArn"]) == "ACTIVE"


def test_one_that_its_own_earlier_run_registered_is_deregistered_too(world: World) -> None:
    deployment = world.deployment(auto_deregister_task_definition=True)
    first, second = world.launched(deployment), world.launched(deployment)
    assert first["taskDefinitionArn"] == second["taskDefinitionArn"]
    stop(world, second)

    assert status(first["taskDefinitionArn"]) == "INACTIVE"
    stop(world, first)


def test_a_definition_that_a_run_names_is_never_deregistered(world: World) -> None:
    container = {"name": "flow", "image": "mine:1", "memory": 512}
    size = {"cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"]}
    made = aws.moto("ecs").register_task_definition(
        family="mine", containerDefinitions=[container], networkMode="awsvpc", **size
    )
    arn = made["taskDefinition"]["taskDefinitionArn"]
    variables = {"task_definition_arn": arn, "auto_deregister_task_definition": True}
    stop(world, world.launched(world.deployment(**variables)))

    assert status(arn) == "ACTIVE"


def test_a_launch_that_was_killed_after_registering_deregisters_too(world: World) -> None:
    run = world.schedule(world.deployment(auto_deregister_task_definition=True))
    world.poll()
    (record,) = world.receive()
    world.aws_faults.refuse("RunTask", "ServerException")
    assert world.dispatch([record]) == [run]

    assert world.dispatch([record]) == []
    task = world.task_of(run)
    stop(world, task)

    assert status(task["taskDefinitionArn"]) == "INACTIVE"


def test_a_throttled_deregistration_is_tried_again(world: World) -> None:
    task = world.launched(world.deployment(auto_deregister_task_definition=True))
    world.aws_faults.refuse("DeregisterTaskDefinition", "ThrottlingException")

    stop(world, task, fails=True)
    stop(world, task)

    assert status(task["taskDefinitionArn"]) == "INACTIVE"


def stop(world: World, task: dict[str, Any], *, fails: bool = False) -> None:
    """Let a task end well: its run completes, and ECS says that it has stopped."""
    for state in ("RUNNING", "COMPLETED"):
        world.set_state(task["startedBy"], state)
    containers = [{"name": "prefect", "exitCode": 0}]
    detail = {"lastStatus": "STOPPED", "stoppedReason": "ended", "containers": containers}
    world.stopped(task, fails=fails, **detail)
