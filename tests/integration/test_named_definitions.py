"""Runs that name a task definition themselves (``task_definition_arn``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import aws
from tests.support.stack_template import OTHER_ROLE, SECRET
from tests.support.world import World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def register(family: str = "mine", **fields: Any) -> str:
    """Register a task definition as a user does; return its ARN."""
    container = {"name": "flows", "image": "mine:1", "memory": 512, **fields.pop("container", {})}
    asked = {
        "family": family,
        "containerDefinitions": [container, {"name": "sidecar", "image": "s", "memory": 128}],
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "1024",
        **fields,
    }
    registered = aws.moto("ecs").register_task_definition(**asked)
    return str(registered["taskDefinition"]["taskDefinitionArn"])


def crashed(world: World, **variables: Any) -> str:
    """Return what a run is told that cannot be launched."""
    run = world.schedule(world.deployment(**variables))
    world.poll()
    assert world.deliver() == []
    assert world.run(run)["state_type"] == "CRASHED"
    assert world.tasks() == []
    return world.message(run)


def test_it_is_described_once_and_run_as_it_is(world: World) -> None:
    arn = register()
    deployment = world.deployment(task_definition_arn=arn, env={"COLOUR": "blue"}, image="other:2")
    tasks = [world.launched(deployment) for _ in range(2)]

    assert [task["taskDefinitionArn"] for task in tasks] == [arn, arn]
    assert world.recorder.of("dispatch").count("DescribeTaskDefinition") == 1
    assert "RegisterTaskDefinition" not in world.recorder.of("dispatch")
    (flows,) = tasks[0]["overrides"]["containerOverrides"]
    assert flows["name"] == "flows"
    assert environment(tasks[0])["COLOUR"] == "blue"
    assert environment(tasks[0])["PREFECT__FLOW_RUN_ID"] == tasks[0]["startedBy"]
    (line,) = world.logs(tasks[0]["startedBy"])
    assert "with task definition mine:1 (named by the run)" in line


def test_a_cold_start_asks_again(world: World) -> None:
    deployment = world.deployment(task_definition_arn=register())
    world.launched(deployment)
    world.cold_start()
    world.launched(deployment)

    assert world.recorder.of("dispatch").count("DescribeTaskDefinition") == 2


def test_a_family_means_its_latest_revision(world: World) -> None:
    register()
    deployment = world.deployment(task_definition_arn="mine")
    first = world.launched(deployment)
    latest = register(container={"image": "mine:2"})
    second = world.launched(deployment)

    assert first["taskDefinitionArn"].endswith("/mine:1")
    assert second["taskDefinitionArn"] == latest


def test_a_revision_registered_in_between_is_not_run_unseen(world: World) -> None:
    seen = register()
    deployment = world.deployment(task_definition_arn="mine")
    world.aws_faults.after(
        "DescribeTaskDefinition", lambda: register(container={"name": "renamed"})
    )

    assert world.launched(deployment)["taskDefinitionArn"] == seen


def test_the_container_may_be_named(world: World) -> None:
    variables = {"task_definition_arn": register(), "container_name": "sidecar"}
    task = world.launched(world.deployment(**variables))

    assert task["overrides"]["containerOverrides"][0]["name"] == "sidecar"


def test_a_container_that_it_lacks_is_told(world: World) -> None:
    message = crashed(world, task_definition_arn=register(), container_name="flow")

    assert "mine:1 has no container 'flow' (container_name); it has 'flows', 'sidecar'" in message


def test_kwargs_in_s3_become_overrides(world: World) -> None:
    arn = register()
    deployment = world.deployment(task_definition_arn=arn, env={"COLOUR": "blue", "SIZE": "7"})
    container = {"environment": [{"name": "COLOUR", "value": "red"}], "memory": 4096}
    file = {"cpu": 2048, "memory": 8192, "taskRoleArn": OTHER_ROLE}
    world.put_kwargs(deployment, {**file, "containerDefinitions": [container]})

    task = world.launched(deployment)

    overrides = world.request_of(task["startedBy"])["overrides"]
    assert task["taskDefinitionArn"] == arn
    assert (overrides["cpu"], overrides["memory"]) == ("2048", "8192")
    assert overrides["taskRoleArn"] == OTHER_ROLE
    assert overrides["containerOverrides"][0]["memory"] == 4096
    assert (environment(task)["COLOUR"], environment(task)["SIZE"]) == ("red", "7")


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ({"volumes": [{"name": "data"}]}, "volumes"),
        ({"containerDefinitions": [{"image": "other:2"}]}, "image"),
    ],
)
def test_kwargs_that_cannot_be_overridden_are_told_with_their_file(
    world: World, file: dict[str, Any], key: str
) -> None:
    deployment = world.deployment(task_definition_arn=register())
    world.put_kwargs(deployment, {})
    url = world.put_deployment_kwargs(deployment, file)
    run = world.schedule(deployment)
    world.poll()
    assert world.deliver() == []

    assert world.message(run).startswith(f"{url}: {key}: cannot be changed in the task definition")


def test_one_that_does_not_exist_is_told(world: World) -> None:
    assert "The task definition 'nowhere:1' (task_definition_arn) does not exist" in crashed(
        world, task_definition_arn="nowhere:1"
    )


def test_one_that_is_inactive_is_told(world: World) -> None:
    arn = register()
    aws.moto("ecs").deregister_task_definition(taskDefinition=arn)

    assert f"The task definition {arn}, which the run names, is not active" in crashed(
        world, task_definition_arn=arn
    )


def test_one_that_was_deregistered_meanwhile_is_told(world: World) -> None:
    arn = register()
    deployment = world.deployment(task_definition_arn=arn)
    world.launched(deployment)
    aws.moto("ecs").deregister_task_definition(taskDefinition=arn)
    run = world.schedule(deployment)
    world.poll()
    assert world.deliver() == []

    assert "is not active" in world.message(run)
    assert "RegisterTaskDefinition" not in world.recorder.of("dispatch")


def test_one_for_instances_only_is_told(world: World) -> None:
    arn = register(requiresCompatibilities=["EC2"], networkMode="bridge")

    message = crashed(world, task_definition_arn=arn)

    assert "FARGATE" in message
    assert "launch type" in message


def test_one_for_instances_runs_on_instances_without_a_network(world: World) -> None:
    arn = register(requiresCompatibilities=["EC2"], networkMode="bridge")
    task = world.launched(world.deployment(task_definition_arn=arn, launch_type="EC2"))

    asked = world.request_of(task["startedBy"])
    assert asked["launchType"] == "EC2"
    assert "networkConfiguration" not in asked


@pytest.fixture
def with_key(make_world: Callable[..., World]) -> World:
    """An agent with an API key."""
    aws.keep_secret(SECRET, "pnu_canary")
    return make_world(prefect={"api_key_secret": SECRET})


def test_one_that_lacks_the_agents_key_is_told_how_to_have_it(with_key: World) -> None:
    message = crashed(with_key, task_definition_arn=register())

    assert "does not give its container 'flows' the secret PREFECT_API_KEY" in message
    assert f'{{"name": "PREFECT_API_KEY", "valueFrom": "{SECRET}"}}' in message
    assert "pnu_canary" not in message


def test_one_that_has_the_agents_key_is_run(with_key: World) -> None:
    secrets = [{"name": "PREFECT_API_KEY", "valueFrom": SECRET}]
    arn = register(container={"secrets": secrets})
    task = with_key.launched(with_key.deployment(task_definition_arn=arn))

    assert "PREFECT_API_KEY" not in environment(task)
    assert "pnu_canary" not in str(with_key.requests("RunTask"))
