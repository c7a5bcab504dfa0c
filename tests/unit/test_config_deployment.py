"""``[deployment]``: what an account asks of the stack, and what is wrong about it."""

from __future__ import annotations

import pytest

from infra.config import ConfigError
from tests.support.agent_toml import VALID, read, refusal

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
TABLE = f"""{VALID}
[deployment]
account = "123456789012"
region = "eu-west-1"
description = "Flow runs of the data team"
architecture = "x86_64"
subnets = ["subnet-0a", "subnet-0b"]
security_groups = ["sg-0a"]
kms_key = "{KEY}"
readable_kms_keys = ["{KEY}"]
permissions_boundary = "arn:aws:iam::aws:policy/PowerUserAccess"
tags = {{ team = "data", "cost center" = "42" }}
log_retention_days = 365
removal_policy = "destroy"
"""


def test_a_whole_table_is_read_as_it_is_written() -> None:
    assert read(TABLE).deployment.model_dump() == {
        "account": "123456789012",
        "region": "eu-west-1",
        "description": "Flow runs of the data team",
        "architecture": "x86_64",
        "subnets": ["subnet-0a", "subnet-0b"],
        "security_groups": ["sg-0a"],
        "kms_key": KEY,
        "readable_kms_keys": [KEY],
        "permissions_boundary": "arn:aws:iam::aws:policy/PowerUserAccess",
        "tags": {"team": "data", "cost center": "42"},
        "log_retention_days": 365,
        "removal_policy": "destroy",
    }


def test_its_scalars_are_overridden_on_the_command_line() -> None:
    flags = {
        "deployment.region": "us-west-2",
        "deployment.log_retention_days": "7",
        "deployment.tags.team": "42",
    }
    found = read(overrides=flags).deployment
    assert (found.region, found.log_retention_days, found.tags) == ("us-west-2", 7, {"team": "42"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("subnet = []", "deployment.subnet: no such setting. Did you mean 'subnets'?"),
        (
            "account = '12'",
            "deployment.account: String should match pattern '^",
        ),
        ("region = 'Paris'", "deployment.region: must be a region of AWS, such as eu-west-1"),
        ("subnets = ['vpc-1']", "deployment.subnets.0: String should match pattern '^subnet-"),
        ("subnets = ['subnet-1']", "deployment.security_groups: must be named too, for subnets"),
        (
            "security_groups = ['sg-1']",
            "deployment.subnets: must be named too, for security_groups",
        ),
        ("account = '123456789012'", "deployment.region: must be named too, for account is"),
        ("kms_key = 'alias/mine'", "deployment.kms_key: must be an ARN such as arn:aws:kms:"),
        (
            f"kms_key = '{KEY}'\nregion = 'us-east-1'",
            "deployment.kms_key: must be a key of the region 'us-east-1', where what it encrypts",
        ),
        ("permissions_boundary = 'x'", "deployment.permissions_boundary: must be an ARN such as"),
        (
            "account = '210987654321'\nregion = 'eu-west-1'\n"
            "permissions_boundary = 'arn:aws:iam::123456789012:policy/boundary'",
            "deployment.permissions_boundary: must be a policy of the account '210987654321', whose"
            " roles it limits",
        ),
        (
            "tags = { Team = '1', team = '2' }",
            "deployment.tags: 'Team' and 'team' are one name to IAM",
        ),
        ("tags = { 'AWS:x' = '1' }", "deployment.tags: 'AWS:x' begins with aws:, which is AWS's"),
        ("tags = { 'a?' = '1' }", "deployment.tags: 'a?' is no name of a tag: 1 to 128 letters"),
        ("tags = { a = '<b>' }", "deployment.tags: a: its value must be up to 256 letters, digits"),
        ("tags = { a = 1 }", "deployment.tags.a: Input should be a valid string; it is 1"),
        (
            "log_retention_days = 31",
            "deployment.log_retention_days: Input should be 1, 3, 5, 7, 14",
        ),
        ("removal_policy = 'keep'", "deployment.removal_policy: Input should be 'retain' or 'de"),
        ("architecture = 'arm'", "deployment.architecture: Input should be 'arm64' or 'x86_64'"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(line: str, message: str) -> None:
    assert refusal(f"{VALID}[deployment]\n{line}\n").startswith(f"FILE: {message}")


def test_there_may_not_be_more_tags_than_a_task_takes_beside_the_agents_own() -> None:
    tags = ", ".join(f"t{number} = ''" for number in range(41))
    found = refusal(f"{VALID}[deployment]\ntags = {{ {tags} }}\n")
    assert found == "FILE: deployment.tags: must be 40 at most"


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")],
)
def test_arns_of_every_partition_are_taken(region: str, partition: str) -> None:
    of = f"arn:{partition}"
    config = read(f"""
        [prefect]
        api_url = "https://prefect.example.com/api"
        work_pool = "fargate"
        api_key_secret = "{of}:secretsmanager:{region}:123456789012:secret:key-AbCdEf"
        [aws]
        region = "{region}"
        role_arn = "{of}:iam::210987654321:role/tasks"
        [ecs]
        allowed_clusters = ["{of}:ecs:{region}:210987654321:cluster/other"]
        [ecs.kwargs]
        cluster = "{of}:ecs:{region}:210987654321:cluster/flows"
        executionRoleArn = "{of}:iam::210987654321:role/execution"
        taskRoleArn = "{of}:iam::210987654321:role/task"
        networkConfiguration = {{ awsvpcConfiguration = {{ subnets = ["subnet-1"] }} }}
        [deployment]
        region = "{region}"
        kms_key = "{of}:kms:{region}:123456789012:key/1234"
        permissions_boundary = "{of}:iam::123456789012:policy/boundary"
        """)
    assert config.deployment.region == region


@pytest.mark.parametrize(
    ("table", "key", "arn"),
    [
        ("[aws]\nassumable_roles = ['{}']", "aws.assumable_roles.0", "iam::123456789012:role/x"),
        ("[ecs.kwargs]\ntaskRoleArn = '{}'", "ecs.kwargs.taskRoleArn", "iam::123456789012:role/x"),
        ("[deployment]\nkms_key = '{}'", "deployment.kms_key", "kms:cn-north-1:123456789012:key/1"),
    ],
)
def test_an_arn_of_another_partition_than_the_regions_is_refused(
    table: str, key: str, arn: str
) -> None:
    arn = f"arn:aws:{arn}"
    with pytest.raises(ConfigError) as error:
        read(VALID + table.format(arn), {"deployment.region": "cn-north-1"})
    assert str(error.value) == (
        f"FILE: {key}: is of the partition 'aws', and deployment.region 'cn-north-1' of 'aws-cn': "
        f"name one of there; it is '{arn}'"
    )
