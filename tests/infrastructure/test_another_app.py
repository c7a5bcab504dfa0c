"""The example of an app that makes an agent of constructs of its own."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template

from examples.another_app.app import FlowsStack
from infra.config import ConfigError
from infra.fargate_agent import FargateAgent, FargateAgentProps
from tests.support.stack_template import Deployed, config, of_type, unbundled_app


@cache
def template() -> dict[str, Any]:
    return dict(Template.from_stack(FlowsStack(unbundled_app(), "flows")).to_json())


def test_tasks_and_functions_run_in_the_apps_own_private_subnets() -> None:
    (vpc,) = of_type(template(), "AWS::EC2::VPC")
    assert "Agent" not in vpc
    found = json.loads(Deployed(template()).environment("dispatch")["STACK_KWARGS"])
    network = found["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "DISABLED"
    assert all("Private" in subnet for subnet in network["subnets"])
    for function in of_type(template(), "AWS::Lambda::Function").values():
        if "fargate_agent" in function["Properties"].get("Handler", ""):
            connected = Deployed(template()).resolve(function["Properties"]["VpcConfig"])
            assert connected == {
                "SubnetIds": network["subnets"],
                "SecurityGroupIds": network["securityGroups"],
            }


def test_tasks_run_in_the_apps_cluster_and_none_other_is_made() -> None:
    (cluster,) = of_type(template(), "AWS::ECS::Cluster")
    found = json.loads(Deployed(template()).environment("dispatch")["STACK_KWARGS"])
    assert found["cluster"] == f"arn:aws:ecs:us-east-1:123456789012:cluster/{cluster}"
    (rule,) = of_type(template(), "AWS::Events::Rule").values()
    assert rule["Properties"]["EventPattern"]["detail"]["clusterArn"] == [
        {"Fn::GetAtt": [cluster, "Arn"]}
    ]


def test_what_the_agent_made_takes_the_apps_grants() -> None:
    deployed = Deployed(template())
    roles = of_type(template(), "AWS::IAM::Role")
    (task_role,) = (id for id in roles if "TaskRole" in id)
    (analysts,) = (id for id in roles if "Analysts" in id)
    assert "s3:PutObject" in str(deployed.role_statements(task_role))
    writes = str(deployed.role_statements(analysts))
    assert "/kwargs/*" in writes
    assert "kms:GenerateDataKey" in writes  # the files are encrypted with the app's key


def test_the_apps_own_bucket_is_read_in_place_of_one_that_is_made() -> None:
    stack = Stack(unbundled_app(), "an-app")
    bucket = s3.Bucket(stack, "Kwargs", encryption=s3.BucketEncryption.KMS)
    FargateAgent(stack, "Agent", FargateAgentProps(config=config(), kwargs_bucket=bucket))
    deployed = Deployed(Template.from_stack(stack).to_json())
    (id,) = of_type(deployed.template, "AWS::S3::Bucket")
    assert deployed.environment("dispatch")["KWARGS_BUCKET"] == id.lower()
    _, dispatch = deployed.function("dispatch")
    granted = deployed.role_statements(dispatch["Properties"]["Role"]["Fn::GetAtt"][0])
    actions = [statement["Action"] for statement in granted]
    assert "s3:GetObject" in actions
    assert "kms:Decrypt" in actions


def test_an_attribute_of_a_construct_cannot_be_a_setting() -> None:
    stack = Stack(unbundled_app(), "an-app")
    bucket = s3.Bucket(stack, "Results")
    settings = config(agent={"env": {"RESULTS": bucket.bucket_name}})
    with pytest.raises(ConfigError, match=r"^AgentConfig: holds an attribute of a construct"):
        FargateAgent(stack, "Agent", FargateAgentProps(config=settings))


def test_functions_cannot_be_in_the_public_network_that_the_agent_makes() -> None:
    stack = Stack(unbundled_app(), "an-app")
    props = FargateAgentProps(config=config(), functions_in_network=True)
    with pytest.raises(ConfigError, match=r"^functions_in_network: wants a network of private"):
        FargateAgent(stack, "Agent", props)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"aws": {"role_arn": "arn:aws:iam::210987654321:role/tasks"}},
            "AgentConfig: ecs.kwargs: cluster: must be named, for the tasks run on what this stack",
        ),
        (
            {"ecs": {"kwargs": {"cpuu": 512}}},
            "AgentConfig: ecs.kwargs: cpuu: not a parameter of register_task_definition",
        ),
        (
            {
                "deployment": {"region": "cn-north-1"},
                "aws": {"assumable_roles": ["arn:aws:iam::123456789012:role/x"]},
            },
            "AgentConfig: aws.assumable_roles.0: is of the partition 'aws'",
        ),
    ],
)
def test_settings_made_in_python_are_checked_as_those_of_a_file(
    sections: dict[str, Any], message: str
) -> None:
    props = FargateAgentProps(config=config(**sections))
    with pytest.raises(ConfigError, match=f"^{message}"):
        FargateAgent(Stack(unbundled_app(), "an-app"), "Agent", props)


def test_what_the_app_hands_over_need_not_be_named() -> None:
    stack = Stack(unbundled_app(), "an-app")
    cluster = ecs.Cluster(stack, "Cluster", vpc=ec2.Vpc(stack, "Vpc", max_azs=1))
    settings = config(ecs={"launch_type": "EC2"})
    FargateAgent(stack, "Agent", FargateAgentProps(config=settings, cluster=cluster))
