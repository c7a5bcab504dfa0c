"""Where a task runs: its network, its launch type, its capacity providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import aws
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

SPOT = {"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}


def vpc(subnets: int = 2) -> tuple[str, list[str]]:
    """Make a VPC; return its id and those of its subnets."""
    ec2 = aws.moto("ec2")
    id = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=id, EnableDnsHostnames={"Value": True})  # or moto stumbles
    made = [
        ec2.create_subnet(VpcId=id, CidrBlock=f"10.1.{index}.0/24")["Subnet"]["SubnetId"]
        for index in range(subnets)
    ]
    return id, made


def security_group(vpc_id: str) -> str:
    """Make a security group; return its id."""
    made = aws.moto("ec2").create_security_group(GroupName="g", Description="g", VpcId=vpc_id)
    return str(made["GroupId"])


def network(world: World, run: str) -> dict[str, Any]:
    """Return the network that RunTask was asked for."""
    return dict(world.request_of(run)["networkConfiguration"]["awsvpcConfiguration"])


def test_a_run_that_names_no_network_is_in_the_agents_own(world: World) -> None:
    task = world.launched(world.deployment())

    found = network(world, task["startedBy"])
    (own,) = aws.moto("ec2").describe_security_groups(
        Filters=[{"Name": "group-id", "Values": found["securityGroups"]}]
    )["SecurityGroups"]
    subnets = aws.moto("ec2").describe_subnets(SubnetIds=found["subnets"])["Subnets"]
    assert {subnet["VpcId"] for subnet in subnets} == {own["VpcId"]}
    assert found["assignPublicIp"] == "ENABLED"
    assert "DescribeSubnets" not in world.recorder.of("dispatch")


def test_a_vpc_is_looked_up_once_in_a_cold_start(world: World) -> None:
    first_vpc, first_subnets = vpc()
    second_vpc, second_subnets = vpc()
    first, second = world.deployment(vpc_id=first_vpc), world.deployment(vpc_id=second_vpc)
    for _ in range(2):  # batches
        runs = {id: [world.schedule(id) for _ in range(3)] for id in (first, second)}
        world.poll()
        assert world.deliver() == []

    assert sorted(network(world, runs[first][0])["subnets"]) == sorted(first_subnets)
    assert sorted(network(world, runs[second][0])["subnets"]) == sorted(second_subnets)
    assert world.recorder.of("dispatch").count("DescribeSubnets") == 2
    assert "DescribeVpcs" not in world.recorder.of("dispatch")


def test_a_network_of_ones_own_stands_as_it_is(world: World) -> None:
    id, subnets = vpc()
    groups = [security_group(id)]
    wanted = {"subnets": subnets[:1], "assignPublicIp": "DISABLED", "securityGroups": groups}
    deployment = world.deployment(vpc_id=id, network_configuration=wanted)

    assert network(world, world.launched(deployment)["startedBy"]) == wanted


def test_a_subnet_of_another_vpc_is_refused(world: World) -> None:
    id, _ = vpc()
    _, foreign = vpc(1)
    variables = {"vpc_id": id, "network_configuration": {"subnets": foreign}}
    run = world.schedule(world.deployment(**variables))
    good = world.schedule(world.deployment())
    world.poll()

    assert world.deliver() == []

    assert f"The subnets {foreign[0]} (network_configuration)" in world.message(run)
    assert f"not in the VPC {id} (vpc_id)" in world.message(run)
    assert [task["startedBy"] for task in world.tasks()] == [good]
    assert world.recorder.of("dispatch").count("RegisterTaskDefinition") == 1  # the good one's


def test_a_vpc_that_does_not_exist_is_told(world: World) -> None:
    run = world.schedule(world.deployment(vpc_id="vpc-0123"))
    world.poll()
    assert world.deliver() == []

    assert "The VPC vpc-0123 does not exist in us-east-1" in world.message(run)
    assert "RegisterTaskDefinition" not in world.recorder.of("dispatch")


def test_a_network_without_its_vpc_is_told(world: World) -> None:
    run = world.schedule(world.deployment(network_configuration={"subnets": ["subnet-1"]}))
    world.poll()
    assert world.deliver() == []

    assert "'network_configuration' is set and 'vpc_id' is not" in world.message(run)


def test_a_vpc_that_is_throttled_is_asked_again(world: World) -> None:
    id, subnets = vpc()
    world.aws_faults.refuse("DescribeSubnets", "RequestLimitExceeded")
    run = world.schedule(world.deployment(vpc_id=id))
    world.poll()
    (record,) = world.receive()

    assert world.dispatch([record]) == [run]
    assert world.run(run)["state_type"] == "PENDING"
    assert world.dispatch([record]) == []
    assert sorted(network(world, run)["subnets"]) == sorted(subnets)


def test_a_vpc_that_may_not_be_looked_up_is_told(world: World) -> None:
    id, _ = vpc()
    world.aws_faults.refuse("DescribeSubnets", "UnauthorizedOperation", "not authorized")
    run = world.schedule(world.deployment(vpc_id=id))
    world.poll()
    assert world.deliver() == []

    assert "DescribeSubnets: UnauthorizedOperation" in world.message(run)


def test_spot_is_a_capacity_provider(world: World) -> None:
    task = world.launched(world.deployment(launch_type="FARGATE_SPOT"))

    asked = world.request_of(task["startedBy"])
    assert asked["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert "launchType" not in asked
    definition = world.definition(task["taskDefinitionArn"])
    assert definition["requiresCompatibilities"] == ["FARGATE"]
    assert network(world, task["startedBy"])["subnets"]


def test_a_capacity_provider_strategy_takes_the_launch_types_place(world: World) -> None:
    strategy = [SPOT, {"capacityProvider": "FARGATE", "weight": 1, "base": 1}]
    task = world.launched(world.deployment(capacity_provider_strategy=strategy))

    asked = world.request_of(task["startedBy"])
    assert asked["capacityProviderStrategy"] == strategy
    assert "launchType" not in asked


def test_a_strategy_in_s3_takes_the_launch_types_place(world: World) -> None:
    deployment = world.deployment(launch_type="FARGATE")
    world.put_kwargs(deployment, {"capacityProviderStrategy": [SPOT]})

    asked = world.request_of(world.launched(deployment)["startedBy"])
    assert asked["capacityProviderStrategy"] == [SPOT]
    assert "launchType" not in asked


@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL"])
def test_on_machines_of_ones_own_the_container_is_sized_and_has_no_network(
    world: World, launch_type: str
) -> None:
    task = world.launched(world.deployment(launch_type=launch_type, cpu=512, memory=1024))

    asked = world.request_of(task["startedBy"])
    (registered,) = world.requests("RegisterTaskDefinition")
    assert asked["launchType"] == launch_type
    assert "networkConfiguration" not in asked
    (container,) = registered["containerDefinitions"]
    assert (container["cpu"], container["memory"]) == (512, 1024)
    assert "requiresCompatibilities" not in registered
    assert "networkMode" not in registered


def test_on_instances_the_network_mode_awsvpc_has_a_network(world: World) -> None:
    world.customise(in_definition(networkMode="awsvpc"))

    task = world.launched(world.deployment(launch_type="EC2"))

    assert network(world, task["startedBy"])["subnets"]


def test_fargate_in_another_network_mode_is_told(world: World) -> None:
    world.customise(in_definition(networkMode="bridge"))
    run = world.schedule(world.deployment())
    world.poll()
    assert world.deliver() == []

    assert "network mode is 'bridge', and the launch type is FARGATE" in world.message(run)
    assert "RegisterTaskDefinition" not in world.recorder.of("dispatch")


def test_a_network_in_the_template_stands(world: World) -> None:
    id, subnets = vpc()
    groups = [security_group(id)]
    wanted = {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": groups}}

    def change(template: dict[str, Any]) -> None:
        template["job_configuration"]["task_run_request"]["networkConfiguration"] = wanted

    world.customise(change)
    task = world.launched(world.deployment())

    assert world.request_of(task["startedBy"])["networkConfiguration"] == wanted
    assert "DescribeSubnets" not in world.recorder.of("dispatch")


def in_definition(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of the template's task definition."""

    def change(template: dict[str, Any]) -> None:
        template["job_configuration"]["task_definition"].update(fields)

    return change
