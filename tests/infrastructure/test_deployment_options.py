"""What ``[deployment]`` changes in the template, and what it leaves alone."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Template

from infra.fargate_agent import FargateAgent, FargateAgentProps
from infra.storage import key_policy
from tests.support.stack_template import (
    PROJECT,
    Deployed,
    config,
    default_template,
    of_type,
    synthesize,
    unbundled_app,
)

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = KEY.replace("1234abcd", "4321abcd")
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
EVERYTHING: dict[str, Any] = {
    "agent": {"url": True},
    "deployment": {
        "description": "Flow runs of the data team",
        "architecture": "x86_64",
        "subnets": ["subnet-0a1b2c3d", "subnet-1a1b2c3d"],
        "security_groups": ["sg-0a1b2c3d"],
        "kms_key": KEY,
        "readable_kms_keys": [OTHER_KEY],
        "permissions_boundary": BOUNDARY,
        "tags": {"team": "data", "cost center": "42"},
        "log_retention_days": 365,
        "removal_policy": "destroy",
    },
}
TAGS = [{"Key": "cost center", "Value": "42"}, {"Key": "team", "Value": "data"}]
FUNCTIONS = ("poll", "dispatch", "watch")
INTERFACES = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:UnassignPrivateIpAddresses",
]


@cache
def everything() -> dict[str, Any]:
    return synthesize(config(**EVERYTHING))


def properties(kind: str) -> list[dict[str, Any]]:
    found = [resource["Properties"] for resource in of_type(everything(), kind).values()]
    assert found
    return found


def statements(template: dict[str, Any], function: str) -> list[dict[str, Any]]:
    deployed = Deployed(template)
    _, resource = deployed.function(function)
    return deployed.role_statements(resource["Properties"]["Role"]["Fn::GetAtt"][0])


def granted(template: dict[str, Any], function: str, action: str) -> list[Any]:
    """Return the resources on which a function's role may do one thing."""
    return [
        resource
        for statement in statements(template, function)
        if action in _listed(statement["Action"]) and statement["Effect"] == "Allow"
        for resource in _listed(statement["Resource"])
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _stack() -> Stack:
    return Stack(unbundled_app(), "of-an-app")


# -- a VPC -----------------------------------------------------------------------------------------


def test_the_functions_are_in_the_named_subnets_and_groups() -> None:
    for function in properties("AWS::Lambda::Function"):
        assert function["VpcConfig"] == {
            "SubnetIds": ["subnet-0a1b2c3d", "subnet-1a1b2c3d"],
            "SecurityGroupIds": ["sg-0a1b2c3d"],
        }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_gets_what_it_needs_for_that_and_the_code_does_not(function: str) -> None:
    found = statements(everything(), function)
    of_interfaces = [s for s in found if "ec2:CreateNetworkInterface" in s["Action"]]
    (allowed,) = (s for s in of_interfaces if s["Effect"] == "Allow")
    denied = [s for s in found if s["Effect"] == "Deny"]
    assert sorted(allowed["Action"]) == sorted([*INTERFACES, "ec2:DescribeSubnets"])
    logical_id, _ = Deployed(everything()).function(function)
    of_the_code = f"arn:aws:lambda:us-east-1:123456789012:function:{logical_id}"
    assert [(sorted(s["Action"]), s["Condition"]) for s in denied] == [
        (INTERFACES, {"ArnEquals": {"lambda:SourceFunctionArn": of_the_code}})
    ]


def test_a_function_is_made_when_its_role_may_connect_it() -> None:
    policies = of_type(everything(), "AWS::IAM::Policy")
    for function in of_type(everything(), "AWS::Lambda::Function").values():
        awaited = [policies[id] for id in function["DependsOn"] if id in policies]
        assert "ec2:CreateNetworkInterface" in json.dumps(awaited)


def test_without_subnets_the_functions_are_in_no_vpc() -> None:
    template = default_template()
    functions = of_type(template, "AWS::Lambda::Function").values()
    assert not [f for f in functions if "VpcConfig" in f["Properties"]]
    for function in FUNCTIONS:
        assert granted(template, function, "ec2:CreateNetworkInterface") == []


# -- a key -----------------------------------------------------------------------------------------


def test_everything_that_stores_something_is_encrypted_with_the_key() -> None:
    assert {q["KmsMasterKeyId"] for q in properties("AWS::SQS::Queue")} == {KEY}
    assert {group["KmsKeyId"] for group in properties("AWS::Logs::LogGroup")} == {KEY}
    assert {function["KmsKeyArn"] for function in properties("AWS::Lambda::Function")} == {KEY}
    assert {secret["KmsKeyId"] for secret in properties("AWS::SecretsManager::Secret")} == {KEY}
    (bucket,) = properties("AWS::S3::Bucket")
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["BucketKeyEnabled"] is True
    assert rule["ServerSideEncryptionByDefault"] == {
        "KMSMasterKeyID": KEY,
        "SSEAlgorithm": "aws:kms",
    }


def test_the_functions_may_decrypt_and_only_poll_which_sends_may_encrypt() -> None:
    for function in FUNCTIONS:
        assert granted(everything(), function, "kms:Decrypt") == [KEY, OTHER_KEY]
    encrypting = [granted(everything(), name, "kms:GenerateDataKey") for name in FUNCTIONS]
    assert encrypting == [[KEY], [], []]


def test_the_execution_role_may_decrypt_the_users_secrets_and_nothing_of_the_agents() -> None:
    (role,) = (id for id in of_type(everything(), "AWS::IAM::Role") if "ExecutionRole" in id)
    found = Deployed(everything()).role_statements(role)
    assert [s["Resource"] for s in found if s["Action"] == "kms:Decrypt"] == [OTHER_KEY]


@pytest.mark.parametrize("template", [default_template, everything])
def test_the_rule_alone_may_send_task_events(template: Any) -> None:
    deployed = Deployed(template())
    (rule,) = of_type(deployed.template, "AWS::Events::Rule")
    allowed = [
        (statement["Principal"], statement["Condition"])
        for policy in of_type(deployed.template, "AWS::SQS::QueuePolicy").values()
        for statement in deployed.resolve(policy["Properties"]["PolicyDocument"]["Statement"])
        if statement["Effect"] == "Allow"
    ]
    arn = f"arn:aws:events:us-east-1:123456789012:rule/{rule}"
    assert allowed == [({"Service": "events.amazonaws.com"}, {"ArnEquals": {"aws:SourceArn": arn}})]


def test_the_policy_of_an_apps_own_key_lets_the_services_use_it() -> None:
    stack = _stack()
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    FargateAgent(stack, "Agent", FargateAgentProps(config=config(), encryption_key=key))
    template = Template.from_stack(stack).to_json()
    (found,) = of_type(template, "AWS::KMS::Key").values()
    services = [
        statement["Principal"]["Service"]
        for statement in Deployed(template).resolve(found["Properties"]["KeyPolicy"]["Statement"])
        if "Service" in statement["Principal"]
    ]
    assert services == ["events.amazonaws.com", "logs.us-east-1.amazonaws.com"]


def test_the_docs_show_what_a_keys_policy_must_say() -> None:
    stack = _stack()
    resolved = Deployed({}).resolve(stack.resolve([s.to_json() for s in key_policy(stack)]))
    page = (PROJECT / "docs" / "deployment.md").read_text()
    shown = page.partition("```json\n")[2].partition("```")[0]
    assert json.loads(shown) == resolved


# -- the rest --------------------------------------------------------------------------------------


def test_every_role_has_the_boundary() -> None:
    assert {role["PermissionsBoundary"] for role in properties("AWS::IAM::Role")} == {BOUNDARY}


def test_everything_that_takes_tags_has_them_and_the_tasks_get_them() -> None:
    for kind in ("AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::Logs::LogGroup"):
        for found in properties(kind):
            assert found["Tags"] == TAGS
    for kind in ("AWS::IAM::Role", "AWS::S3::Bucket", "AWS::ECS::Cluster", "AWS::EC2::VPC"):
        for found in properties(kind):
            assert [tag for tag in found["Tags"] if tag["Key"] != "Name"] == TAGS
    of_tasks = json.loads(Deployed(everything()).environment("dispatch")["STACK_KWARGS"])["tags"]
    assert of_tasks == [{"key": tag["Key"], "value": tag["Value"]} for tag in TAGS]


def test_logs_are_kept_for_so_many_days() -> None:
    assert {group["RetentionInDays"] for group in properties("AWS::Logs::LogGroup")} == {365}
    groups = of_type(default_template(), "AWS::Logs::LogGroup").values()
    assert {group["Properties"]["RetentionInDays"] for group in groups} == {30}


@pytest.mark.parametrize(
    ("policy", "bucket", "logs"),
    [(None, "Retain", "Delete"), ("retain", "Retain", "Retain"), ("destroy", "Delete", "Delete")],
)
def test_bucket_and_logs_stay_or_go_with_the_stack(
    policy: str | None, bucket: str, logs: str
) -> None:
    template = synthesize(config(deployment={"removal_policy": policy}))
    for kind, expected in (("AWS::S3::Bucket", bucket), ("AWS::Logs::LogGroup", logs)):
        assert {r["DeletionPolicy"] for r in of_type(template, kind).values()} == {expected}
    assert of_type(template, "AWS::CloudFormation::CustomResource") == {}  # none empties a bucket


def test_the_architecture_and_the_description_are_the_given_ones() -> None:
    assert [f["Architectures"] for f in properties("AWS::Lambda::Function")] == [["x86_64"]] * 3
    assert everything()["Description"] == "Flow runs of the data team"


def test_no_resource_has_a_name_that_another_agent_would_want_too() -> None:
    names = ("BucketName", "FunctionName", "Name", "QueueName", "RoleName", "LogGroupName")
    named = [
        (id, name)
        for id, resource in everything()["Resources"].items()
        for name in names
        if isinstance(given := resource.get("Properties", {}).get(name), str)
        and not given.startswith("fargate-agent/")  # saved queries go by the agent's name
    ]
    assert named == []
