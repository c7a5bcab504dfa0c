"""The roles of a Prefect 1 agent with a URL: what is called is allowed, what is granted is used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import boto3
import pytest

from tests.integration.test_least_privilege import assert_allowed_and_needed
from tests.support.functions import FUNCTIONS
from tests.support.stack_template import OTHER_ROLE
from tests.support.world1 import TRIES, World1


@pytest.fixture
def exercised(make_cloud_world: Callable[..., World1]) -> World1:
    """Take every path that calls AWS."""
    world = make_cloud_world(
        agent={"url": True}, ecs={"allowed_roles": [OTHER_ROLE], "enable_task_revisions": True}
    )
    name = world.environment["poll"]["URL_SECRET"]
    boto3.client("secretsmanager").create_secret(Name=name, SecretString="knock")
    plain, privileged = world.flow("plain"), world.flow("privileged")
    tags = [{"key": "team", "value": "blue"}]  # without them RunTask asks for no right to tag
    world.put_kwargs(privileged, {"taskRoleArn": OTHER_ROLE, "tags": tags})
    task = world.launch(plain)
    world.launch(privileged)
    world.put_kwargs(plain, {"memory": "4096"})
    world.launch(plain)  # a changed definition is looked for among the older revisions
    world.schedule(plain, ahead=timedelta(seconds=30))
    assert world.request("/api/poke", "Bearer knock")["statusCode"] == 200
    world.deliver()  # an early message is hidden
    world.stopped(task, stoppedReason="gone", containers=[])
    running = world.launch(plain)
    world.server.set_state(running["startedBy"], "Running")
    world.stopped(running, stoppedReason="gone", containers=[])  # others are looked for
    world.server.fail_next("flow_run", TRIES, status=500)
    world.stopped(running, fails=True)  # it is hidden
    run = world.schedule(plain)
    world.poll()
    world.aws_faults.after("RunTask", lambda: world.server.set_state(run, "Cancelled"))
    world.deliver()
    cancelled = world.launch(plain)
    world.server.set_state(cancelled["startedBy"], "Cancelling")
    world.heal(3600)
    world.validate_configuration()
    return world


def test_all_is_allowed_and_no_grant_goes_unused(exercised: World1) -> None:
    for function in FUNCTIONS:
        assert_allowed_and_needed(exercised, function)
