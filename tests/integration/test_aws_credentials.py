"""Runs whose job brings an AWS credentials block: their tasks are started as that."""

from __future__ import annotations

from typing import Any

import botocore.handlers
import pytest
from botocore.awsrequest import AWSResponse

from tests.support import aws
from tests.support.recorder import Call
from tests.support.world import Block, World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

REGION = "eu-west-1"
KEY = {"aws_access_key_id": "AKIABLOCK", "aws_secret_access_key": "canary-key"}


@pytest.fixture
def elsewhere(world: World) -> Any:
    """Another region with a cluster; its ECS client."""
    ecs = aws.default_session().client("ecs", region_name=REGION)
    ecs.create_cluster(clusterName="theirs")
    return ecs


def tasks(ecs: Any) -> list[dict[str, Any]]:
    arns = ecs.list_tasks(cluster="theirs")["taskArns"]
    return list(ecs.describe_tasks(cluster="theirs", tasks=arns)["tasks"]) if arns else []


def credentials(world: World, **fields: Any) -> Block:
    """Make a block with a key."""
    return world.block({"region_name": REGION, **KEY, **fields}, "aws-credentials")


def take_any_credentials(world: World) -> None:
    """Let jobs set the block: the server's own schema knows no single form of the reference."""

    def change(template: dict[str, Any]) -> None:
        template["variables"]["properties"]["aws_credentials"] = {"type": "object"}

    world.customise(change)


def foreign(world: World) -> list[Call]:
    """Return the calls that dispatch made in the block's name, or in its region."""
    return [call for call in world.recorder.calls if call.key or call.region == REGION]


def test_the_task_is_started_with_the_blocks_key_in_its_region(
    world: World, elsewhere: Any
) -> None:
    world.set_default(aws_credentials=credentials(world).reference)
    run = world.schedule(world.deployment(cluster="theirs"))
    world.poll()

    assert world.deliver() == []

    (task,) = tasks(elsewhere)
    assert task["startedBy"] == run
    assert world.tasks() == []
    assert {(call.key, call.region) for call in foreign(world)} == {("AKIABLOCK", REGION)}
    assert {"RegisterTaskDefinition", "RunTask"} <= {call.operation for call in foreign(world)}
    assert world.run(run)["infrastructure_pid"].endswith(task["taskArn"])


def test_nothing_of_the_agents_own_account_goes_along(world: World, elsewhere: Any) -> None:
    world.set_default(aws_credentials=credentials(world).reference)
    run = world.schedule(world.deployment(cluster="theirs"))
    world.poll()
    assert world.deliver() == []

    (registered,) = world.requests("RegisterTaskDefinition")
    assert "executionRoleArn" not in registered
    assert "taskRoleArn" not in registered
    assert "logConfiguration" not in registered["containerDefinitions"][0]
    own = aws.moto("ec2").describe_subnets()["Subnets"]
    asked = world.request_of(run)
    network = asked["networkConfiguration"]["awsvpcConfiguration"]
    assert not {subnet["SubnetId"] for subnet in own} & set(network["subnets"])
    assert asked["cluster"] == "theirs"


def test_a_client_is_made_once_for_a_block(world: World, elsewhere: Any) -> None:
    world.set_default(aws_credentials=credentials(world).reference)
    deployment = world.deployment(cluster="theirs")
    for _ in range(2):
        world.schedule(deployment)
        world.poll()
        assert world.deliver() == []

    assert [call.operation for call in foreign(world)].count("RegisterTaskDefinition") == 1
    assert [call.operation for call in foreign(world)].count("DescribeVpcs") == 1
    assert [call.operation for call in foreign(world)][-1] == "RunTask"


def test_a_changed_key_is_used_by_the_very_next_run(world: World, elsewhere: Any) -> None:
    block = credentials(world)
    world.set_default(aws_credentials=block.reference)
    deployment = world.deployment(cluster="theirs")
    for key in ("AKIABLOCK", "AKIAOTHER"):
        fields = {**KEY, "aws_access_key_id": key, "region_name": REGION}
        world.change_block(block, fields)
        world.schedule(deployment)
        world.poll()
        assert world.deliver() == []

    runs = [call.key for call in world.recorder.calls if call.operation == "RunTask"]
    assert runs == ["AKIABLOCK", "AKIAOTHER"]


def test_runs_without_a_block_stay_the_agents_own(world: World, elsewhere: Any) -> None:
    take_any_credentials(world)
    block = credentials(world)
    theirs = world.deployment(cluster="theirs", aws_credentials=block.reference)
    own = world.deployment()
    runs = [world.schedule(theirs), world.schedule(own)]
    world.poll()
    assert world.deliver() == []

    assert [task["startedBy"] for task in tasks(elsewhere)] == runs[:1]
    assert [task["startedBy"] for task in world.tasks()] == runs[1:]


def test_a_block_with_a_region_only_is_the_functions_own_role_there(
    world: World, elsewhere: Any
) -> None:
    block = world.block({"region_name": REGION}, "aws-credentials")
    world.set_default(aws_credentials=block.reference)
    world.schedule(world.deployment(cluster="theirs"))
    world.poll()
    assert world.deliver() == []

    assert {call.key for call in foreign(world)} == {None}
    assert len(tasks(elsewhere)) == 1
    world.recorder.calls.clear()  # the role allows the stack's own cluster only


def test_a_role_is_assumed_with_the_blocks_key_once(world: World, elsewhere: Any) -> None:
    role = "arn:aws:iam::123456789012:role/runs-flows"
    block = credentials(world, assume_role_arn=role, assume_role_kwargs={"ExternalId": "prefect"})
    world.set_default(aws_credentials=block.reference)
    deployment = world.deployment(cluster="theirs")
    for _ in range(2):
        world.schedule(deployment)
        world.poll()
        assert world.deliver() == []

    (assumed,) = [call for call in world.recorder.calls if call.operation == "AssumeRole"]
    assert (assumed.key, assumed.params["RoleArn"]) == ("AKIABLOCK", role)
    assert assumed.params["RoleSessionName"] == "fargate-agent"
    assert assumed.params["ExternalId"] == "prefect"
    started = [call for call in world.recorder.calls if call.operation == "RunTask"]
    assert [(call.key, call.region) for call in started] == [("assumed", REGION)] * 2


def test_a_refused_key_is_told_to_the_run(
    world: World, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        error = {"Code": "UnrecognizedClientException", "Message": "The token is invalid."}
        return AWSResponse("", 400, {}, None), {"Error": error}

    # A session made from now on, as the block's is, meets this; the function's own does not.
    handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("before-call.*.*", refuse)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
    take_any_credentials(world)
    block = credentials(world)
    theirs = world.deployment(cluster="theirs", aws_credentials=block.reference)
    bad, good = world.schedule(theirs), world.schedule(world.deployment())
    world.poll()

    assert world.deliver() == []

    assert "holds credentials that AWS refuses" in world.message(bad)
    assert "UnrecognizedClientException" in world.message(bad)
    assert "canary-key" not in world.message(bad)
    assert [task["startedBy"] for task in world.tasks()] == [good]


def test_a_profile_is_told(world: World) -> None:
    block = world.block({"profile_name": "etl"}, "aws-credentials")
    world.set_default(aws_credentials=block.reference)
    run = world.schedule(world.deployment())
    world.poll()
    assert world.deliver() == []

    assert "'profile_name'" in world.message(run)


def test_the_key_is_nowhere_to_be_read(
    world: World, elsewhere: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.set_default(aws_credentials=credentials(world).reference)
    run = world.schedule(world.deployment(cluster="theirs"))
    world.poll()
    (record,) = world.receive()
    assert world.dispatch([record]) == []

    calls = [call.params for call in world.recorder.calls]
    seen = [record, calls, world.logs(run), world.run(run), tasks(elsewhere), caplog.text]
    assert "canary-key" not in str(seen)
    assert "AKIABLOCK" not in str(seen)
