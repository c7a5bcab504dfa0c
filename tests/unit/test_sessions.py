"""The clients of where tasks run: with the function's own credentials, a secret's, or a role's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from fargate_agent import clients
from fargate_agent.errors import PermanentError
from fargate_agent.sessions import task_client
from tests.support.aws import kwargs_model
from tests.support.values import settings

ROLE = "arn:aws:iam::999999999999:role/run-flows"
KEYS = {"aws_access_key_id": "AKIAOTHER", "aws_secret_access_key": "other"}


@pytest.fixture(autouse=True)
def _aws() -> Iterator[None]:
    with mock_aws():
        yield


def secret(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    made = boto3.client("secretsmanager").create_secret(Name="keys", SecretString=text)
    return made["ARN"]


def secrets_manager() -> Any:
    return boto3.client("secretsmanager")


def nobody() -> Any:
    raise AssertionError("nobody needs Secrets Manager")


def make(**changes: Any) -> Any:
    """Return what makes the clients, as these settings want it."""
    return task_client(settings(**changes), secrets_manager)


def key_of(client: Any) -> Any:
    """Return the credentials that a client signs with now."""
    return client._request_signer._credentials.get_frozen_credentials()


def test_by_default_the_function_acts_as_itself():
    assert task_client(settings(), nobody) is boto3.client


def test_another_region_is_reached_with_the_functions_own_credentials():
    client = task_client(settings(aws_region="eu-central-1"), nobody)("ecs")

    assert client.meta.region_name == "eu-central-1"
    assert key_of(client) == key_of(boto3.client("ecs"))


def test_without_a_region_the_functions_own_is_kept():
    assert make(aws_role_arn=ROLE)("ecs").meta.region_name == "us-east-1"


@pytest.mark.parametrize("token", [None, "session"])
def test_keys_are_read_from_the_secret(token: str | None):
    held = {**KEYS, **({"aws_session_token": token} if token else {})}

    key = key_of(make(aws_credentials_secret=secret(held))("ecs"))

    assert (key.access_key, key.secret_key, key.token) == ("AKIAOTHER", "other", token)


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        '["hunter2"]',
        '"hunter2"',
        "null",
        "{}",
        '{"aws_access_key_id": "AKIAOTHER"}',
        '{"aws_secret_access_key": "hunter2"}',
    ],
)
def test_a_secret_that_holds_no_key_is_refused_by_its_name_and_not_shown(value: str):
    arn = secret(value)

    with pytest.raises(PermanentError) as refusal:
        make(aws_credentials_secret=arn)

    assert str(refusal.value) == (
        f"The secret {arn} (aws.credentials_secret) must be a JSON object with aws_access_key_id "
        "and aws_secret_access_key, and aws_session_token where there is one."
    )


def test_a_secret_that_is_not_there_may_be_there_later():
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf"

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        make(aws_credentials_secret=arn)


def test_a_role_is_assumed_under_the_agents_name():
    caller = make(aws_role_arn=ROLE, agent_name="night-shift")("sts").get_caller_identity()

    assert caller["Arn"] == "arn:aws:sts::999999999999:assumed-role/run-flows/night-shift"
    assert caller["Account"] == "999999999999"


def test_a_name_longer_than_a_session_may_have_is_cut():
    caller = make(aws_role_arn=ROLE, agent_name="a" * 70)("sts").get_caller_identity()

    assert caller["Arn"].rpartition("/")[2] == "a" * 64


def test_a_role_may_be_assumed_with_the_secrets_keys():
    user = boto3.client("iam")
    user.create_user(UserName="agent")
    made = user.create_access_key(UserName="agent")["AccessKey"]
    arn = secret(
        {
            "aws_access_key_id": made["AccessKeyId"],
            "aws_secret_access_key": made["SecretAccessKey"],
        }
    )

    by_key = make(aws_credentials_secret=arn)("sts").get_caller_identity()["Arn"]
    by_role = make(aws_credentials_secret=arn, aws_role_arn=ROLE)("sts").get_caller_identity()

    assert by_key.endswith(":user/agent")
    assert by_role["Arn"].startswith("arn:aws:sts::999999999999:assumed-role/run-flows/")


def test_all_clients_share_what_the_role_was_assumed_with():
    made = make(aws_role_arn=ROLE)

    first, second = (key_of(made(service)) for service in ("ecs", "resourcegroupstaggingapi"))

    assert first == second
    assert first != key_of(boto3.client("ecs"))
    assert first.token


def test_tasks_are_run_as_somebody_else_and_the_stacks_bucket_is_read_as_oneself():
    given = settings(aws_role_arn=ROLE, aws_region="eu-central-1")

    own, s3 = clients.accounts(given).own, clients.kwargs_files(given, kwargs_model()).s3

    assert own.region == own.ecs.meta.region_name == "eu-central-1"
    assert own.definitions.tagging.meta.region_name == "eu-central-1"
    assert key_of(own.ecs) == key_of(own.definitions.tagging) != key_of(boto3.client("ecs"))
    assert s3.meta.region_name == "us-east-1"
    assert key_of(s3) == key_of(boto3.client("s3"))


def test_a_bucket_that_the_user_named_is_read_as_tasks_are_run():
    given = settings(aws_role_arn=ROLE, kwargs_bucket_is_given=True)
    s3 = clients.kwargs_files(given, kwargs_model()).s3

    caller = key_of(s3)
    assert caller.token
    assert caller != key_of(boto3.client("s3"))


def test_botocores_options_are_laid_over_the_agents():
    options = {"max_pool_connections": 3, "user_agent_extra": "etl"}

    own = clients.accounts(settings(aws_botocore=options)).own

    config = own.ecs.meta.config
    assert (config.max_pool_connections, config.user_agent_extra) == (3, "etl")
    assert (config.connect_timeout, config.read_timeout) == (3, 8)
    assert own.definitions.tagging.meta.config.max_pool_connections == 3
