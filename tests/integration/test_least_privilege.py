"""Each function's role: all that it calls is allowed, and nothing more is granted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from local.iam_requests import Request, consuming, logging
from tests.support import aws
from tests.support.functions import FUNCTIONS, Functions
from tests.support.iam import Judge, requests
from tests.support.stack_template import OTHER_ROLE, SECRET, of_type
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


@pytest.fixture
def exercised(make_world: Callable[..., World]) -> World:
    """Take every path that calls AWS: a secret, a new and a warm launch, S3, an early message."""
    aws.keep_secret(SECRET, "pnu_1")
    world = make_world(prefect={"api_key_secret": SECRET}, ecs={"allowed_roles": [OTHER_ROLE]})
    plain = world.deployment()
    privileged = world.deployment("privileged")
    world.put_kwargs(privileged, {"taskRoleArn": OTHER_ROLE}, flow="privileged")
    for deployment in (plain, privileged, plain):
        world.schedule(deployment)
    world.poll()
    world.deliver()
    world.schedule(plain, ahead=timedelta(seconds=15))
    world.poll()
    world.deliver()  # an early message is hidden
    world.put_kwargs(plain, {"memory": 4096})
    world.schedule(plain)
    world.poll()
    world.deliver()  # a changed definition is looked for among the older revisions
    in_a_vpc_that_the_job_names(world)
    what_ends_and_heals_runs(world, plain)
    return world


def in_a_vpc_that_the_job_names(world: World) -> None:
    """Launch a run whose network is looked up, and have its definition deregistered."""
    vpc = aws.moto("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    named = world.deployment(vpc_id=vpc, auto_deregister_task_definition=True)
    world.stopped(world.launched(named))


def what_ends_and_heals_runs(world: World, deployment: str) -> None:
    """Have each function look for tasks, stop them, and read what they wrote last."""
    world.stopped(world.launched(deployment), stoppedReason="gone", containers=[])
    in_a_group_of_its_own = world.deployment(configure_cloudwatch_logs=True)
    world.stopped(world.launched(in_a_group_of_its_own), stoppedReason="gone", containers=[])
    world.changed(world.launched(deployment), fails=True, lastStatus=None)  # it is hidden
    run = world.schedule(deployment)
    world.poll()
    world.aws_faults.after("RunTask", lambda: world.cancel(run))
    world.deliver()
    world.cancel(world.launched(deployment)["startedBy"])
    world.heal()


def test_all_is_allowed_and_no_grant_goes_unused(exercised: World) -> None:
    for function in FUNCTIONS:
        assert_allowed_and_needed(exercised, function)


@pytest.mark.parametrize(
    "request_",
    [
        Request(
            "ecs:RunTask",
            "arn:aws:ecs:us-east-1:123456789012:task-definition/x:1",
            {"ecs:cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/foreign"},
        ),
        Request(
            "iam:PassRole",
            "arn:aws:iam::123456789012:role/admin",
            {"iam:PassedToService": "ecs-tasks.amazonaws.com"},
        ),
        Request("iam:PassRole", OTHER_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
        Request("s3:GetObject", "arn:aws:s3:::agentkwargs05fccfbf/elsewhere/x.json"),
        Request("s3:ListBucket", "arn:aws:s3:::agentkwargs05fccfbf", {"s3:prefix": "elsewhere/"}),
        Request("s3:PutObject", "arn:aws:s3:::agentkwargs05fccfbf/kwargs/x.json"),
        Request(
            "ecs:TagResource",
            "arn:aws:ecs:us-east-1:123456789012:task-definition/x:1",
            {"ecs:CreateAction": "CreateService"},
        ),
        Request("ecs:StopTask", "*"),
        Request("sqs:PurgeQueue", "*"),
    ],
    ids=lambda request: f"{request.action} {request.resource[-25:]}",
)
def test_dispatch_may_not(world: World, request_: Request) -> None:
    assert not Judge(world.deployed, "dispatch").allows(request_)


def assert_allowed_and_needed(world: Functions, function: str) -> None:
    """Judge all that a function asked by its role, which must grant no more."""
    judge = Judge(world.deployed, function)
    asked = [
        request
        for call in world.recorder.calls
        if call.function == function
        for request in requests(call)
    ]
    asked += lambdas_own_requests(world, function)

    assert [request for request in asked if not judge.allows(request)] == []
    assert judge.unused == set()


def queue_of(world: Functions, function: str) -> str:
    (mapping,) = [
        resource["Properties"]
        for resource in of_type(world.deployed.template, "AWS::Lambda::EventSourceMapping").values()
        if resource["Properties"]["FunctionName"] == {"Ref": world.deployed.function(function)[0]}
    ]
    return str(world.deployed.resolve(mapping["EventSourceArn"]))


def lambdas_own_requests(world: Functions, function: str) -> list[Request]:
    """Return what Lambda itself asks of the role: to receive from its queue, and to write logs."""
    _, resource = world.deployed.function(function)
    group = resource["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
    arn = world.deployed.resolve({"Fn::GetAtt": [group, "Arn"]})
    return [*consuming(queue_of(world, function)), *logging(arn)]
