"""Roles and clusters that nobody allowed: AWS refuses the function, and the run is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.enforcement import roles_in_force
from tests.support.stack_template import OTHER_ROLE
from tests.support.world import World
from tests.support.world1 import World1

ADMIN = "arn:aws:iam::123456789012:role/admin"
FOREIGN = "arn:aws:ecs:us-east-1:123456789012:cluster/foreign"
OTHER_ACCOUNT = "arn:aws:ecs:us-east-1:999999999999:cluster/flows"

FILES: dict[str, tuple[dict[str, Any], str]] = {
    "a task role": ({"taskRoleArn": ADMIN}, "iam:PassRole"),
    "an execution role": ({"executionRoleArn": ADMIN}, "iam:PassRole"),
    "a task role by an override": ({"overrides": {"taskRoleArn": ADMIN}}, "iam:PassRole"),
    "an execution role by an override": (
        {"overrides": {"executionRoleArn": ADMIN}},
        "iam:PassRole",
    ),
    "a role in text": ({"overrides": f"{{'taskRoleArn': '{ADMIN}'}}"}, "iam:PassRole"),
    "another account's role": (
        {"taskRoleArn": OTHER_ROLE.replace("123456789012", "999999999999")},
        "iam:PassRole",
    ),
    "a role whose name begins alike": ({"taskRoleArn": f"{OTHER_ROLE}-admin"}, "iam:PassRole"),
    "a cluster": ({"cluster": FOREIGN}, "ecs:RunTask"),
    "a cluster by its name": ({"cluster": "foreign"}, "ecs:RunTask"),
    "another account's cluster": ({"cluster": OTHER_ACCOUNT}, "ecs:RunTask"),
}

JOB_VARIABLES: dict[str, tuple[dict[str, Any], str]] = {
    "a task role": ({"task_role_arn": ADMIN}, "iam:PassRole"),
    "an execution role": ({"execution_role_arn": ADMIN}, "iam:PassRole"),
    "a cluster": ({"cluster": FOREIGN}, "ecs:RunTask"),
}


def assert_refused_and_told(world: World, run: str, action: str) -> None:
    world.poll()

    with roles_in_force(world) as refused:
        assert world.deliver() == []

    assert [request.action for request in refused] == [action]
    assert world.run(run)["state_type"] == "CRASHED"
    assert action in world.message(run)
    assert "ecs.allowed_roles or ecs.allowed_clusters" in world.message(run)
    assert world.logs(run) == [world.message(run)]
    assert world.tasks() == []


@pytest.mark.xdist_group("prefect")
@pytest.mark.parametrize("case", FILES)
def test_a_kwargs_file_cannot_use_what_is_not_allowed(world: World, case: str) -> None:
    content, action = FILES[case]
    deployment = world.deployment()
    world.put_kwargs(deployment, content)

    assert_refused_and_told(world, world.schedule(deployment), action)


@pytest.mark.xdist_group("prefect")
@pytest.mark.parametrize("case", JOB_VARIABLES)
@pytest.mark.parametrize("of_run", [False, True])
def test_job_variables_cannot_use_what_is_not_allowed(
    world: World, case: str, of_run: bool
) -> None:
    variables, action = JOB_VARIABLES[case]
    if of_run:
        run = world.schedule(world.deployment(), job_variables=variables)
    else:
        run = world.schedule(world.deployment(**variables))

    assert_refused_and_told(world, run, action)


@pytest.mark.xdist_group("prefect")
def test_an_allowed_role_is_used(world: World) -> None:
    deployment = world.deployment()
    world.put_kwargs(deployment, {"taskRoleArn": OTHER_ROLE})

    with roles_in_force(world) as refused:
        task = world.launched(deployment)

    assert refused == []
    assert world.definition(task["taskDefinitionArn"])["taskRoleArn"] == OTHER_ROLE


@pytest.mark.parametrize("case", FILES)
def test_a_kwargs_file_of_prefect_1_cannot_either(world1: World1, case: str) -> None:
    content, action = FILES[case]
    flow = world1.flow()
    world1.put_kwargs(flow, content)
    run = world1.schedule(flow)
    world1.poll()

    with roles_in_force(world1) as refused:
        assert world1.deliver() == []

    assert [request.action for request in refused] == [action]
    assert world1.state(run) == "Failed"
    assert action in world1.message(run)
    assert world1.tasks() == []
