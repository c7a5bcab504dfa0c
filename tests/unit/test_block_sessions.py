"""AWS as the credentials block of a job says: its keys, its role, its client's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from fargate_agent import clients
from fargate_agent.errors import PermanentError
from fargate_agent.sessions import block_client
from tests.support.values import settings

ROLE = "arn:aws:iam::999999999999:role/tenant"
KEYS = {"aws_access_key_id": "AKIABLOCK", "aws_secret_access_key": "block"}
CONFIG = Config(max_pool_connections=7, connect_timeout=3)


@pytest.fixture(autouse=True)
def _aws() -> Iterator[None]:
    with mock_aws():
        yield


def client(block: dict[str, Any], service: str = "ecs", *, agent: str = "fargate-agent") -> Any:
    return block_client(block, agent)(service, CONFIG)


def key_of(made: Any) -> Any:
    return made._request_signer._credentials.get_frozen_credentials()


# -- who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "session"])
def test_its_keys_are_used(token: str | None):
    key = key_of(client({**KEYS, **({"aws_session_token": token} if token else {})}))

    assert (key.access_key, key.secret_key, key.token) == ("AKIABLOCK", "block", token)


def test_without_keys_it_is_the_function_itself():
    made = client({"region_name": "eu-central-1"})

    assert made.meta.region_name == "eu-central-1"
    assert key_of(made) == key_of(boto3.client("ecs"))


def test_without_a_region_the_functions_own_is_kept():
    assert client(KEYS).meta.region_name == "us-east-1"


def test_its_role_is_assumed_under_the_agents_name():
    caller = client({"assume_role_arn": ROLE}, "sts", agent="a" * 70).get_caller_identity()

    assert caller["Arn"] == f"arn:aws:sts::999999999999:assumed-role/tenant/{'a' * 64}"


def test_what_its_role_is_assumed_with_is_the_blocks():
    block = {"assume_role_arn": ROLE, "assume_role_kwargs": {"RoleSessionName": "tenant-1"}}

    assert client(block, "sts").get_caller_identity()["Arn"].endswith("/tenant-1")


def test_its_role_may_be_assumed_with_its_keys():
    iam = boto3.client("iam")
    iam.create_user(UserName="tenant")
    made = iam.create_access_key(UserName="tenant")["AccessKey"]
    block = {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
    }

    assert client(block, "sts").get_caller_identity()["Arn"].endswith(":user/tenant")
    by_role = client({**block, "assume_role_arn": ROLE}, "sts").get_caller_identity()["Arn"]
    assert by_role.startswith("arn:aws:sts::999999999999:assumed-role/tenant/")


# -- parameters of its clients ---------------------------------------------------------------------


def test_its_clients_parameters_are_followed():
    parameters = {"endpoint_url": "http://localhost:1", "use_ssl": False, "api_version": None}
    made = client({**KEYS, "aws_client_parameters": parameters})

    assert made.meta.endpoint_url == "http://localhost:1"


def test_its_configuration_is_laid_over_the_agents():
    config = client({"aws_client_parameters": {"config": {"max_pool_connections": 3}}}).meta.config

    assert (config.max_pool_connections, config.connect_timeout) == (3, 3)


def test_the_block_is_not_changed():
    block = {"aws_client_parameters": {"config": {"max_pool_connections": 3}}}
    before = repr(block)

    client(block)
    client(block)

    assert repr(block) == before


def test_two_clients_of_one_block_have_the_same_parameters():
    make = block_client({"aws_client_parameters": {"config": {"max_pool_connections": 3}}}, "x")

    found = [make(name, CONFIG).meta.config.max_pool_connections for name in ("ecs", "ec2")]

    assert found == [3, 3]


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({"profile_name": "prod"}, "profile_name"),
        ({"aws_client_parameters": {"verify_cert_path": "/etc/ca"}}, "verify_cert_path"),
    ],
)
def test_what_is_a_file_on_a_workers_machine_is_refused_by_its_name(block: Any, name: str):
    with pytest.raises(PermanentError, match=f"sets '{name}', which is a file"):
        client(block)


@pytest.mark.parametrize(
    "parameters",
    [
        {"config": {"colour": "red"}},
        {"config": "fast"},
        {"colour": "red"},
        {"use_ssl": "maybe?", "config": 5},
    ],
)
def test_parameters_that_botocore_does_not_know_are_the_jobs_to_mend(parameters: Any):
    """A launch takes these errors for errors of the job; see ``WorkPoolProfile.render``."""
    with pytest.raises((PermanentError, TypeError, ValueError)):
        client({"aws_client_parameters": parameters})


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ["UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "AuthFailure"],
)
def test_credentials_that_aws_refuses_are_the_jobs_to_mend(
    code: str, monkeypatch: pytest.MonkeyPatch
):
    made = client({**KEYS, "aws_secret_access_key": "canary"})
    made.meta.events.register("before-call", lambda **_: refused(code))

    with pytest.raises(PermanentError, match=code) as refusal:
        made.list_clusters()

    assert "aws_credentials" in str(refusal.value)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "AccessDeniedException", "ServerException"]
)
def test_any_other_error_stays_what_it_is(code: str):
    made = client(KEYS)
    made.meta.events.register("before-call", lambda **_: refused(code))

    with pytest.raises(ClientError, match=code):
        made.list_clusters()


def refused(code: str) -> Any:
    """Answer a call before it is sent."""
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415

    error = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return AWSResponse("", 400, {}, None), error


# -- accounts --------------------------------------------------------------------------------------


def test_a_jobs_account_is_reached_by_its_block_in_every_service():
    accounts = clients.accounts(settings(aws_botocore={"max_pool_connections": 5}))

    found = accounts.of({**KEYS, "region_name": "eu-central-1"})

    assert found.region == "eu-central-1"
    for made in (found.ecs, found.definitions.tagging, found._ec2):
        assert key_of(made).access_key == "AKIABLOCK"
        assert made.meta.region_name == "eu-central-1"
        assert made.meta.config.max_pool_connections == 5


# -- what a block may not do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"endpoint_url": "http://elsewhere.example"},
        {"use_ssl": False},
        {"verify": False},
        {"config": {"proxies": {"http": "http://elsewhere.example"}}},
    ],
)
def test_the_functions_own_credentials_take_no_other_way(parameters: dict[str, Any]):
    with pytest.raises(PermanentError, match="a way of its own to AWS and no key"):
        client({"aws_client_parameters": parameters})

    client({**KEYS, "aws_client_parameters": parameters})


def test_its_configuration_keeps_the_agents_time_outs():
    options = {"connect_timeout": 900, "read_timeout": 900, "retries": {"max_attempts": 100}}
    config = client({"aws_client_parameters": {"config": options}}).meta.config

    assert (config.connect_timeout, config.read_timeout) == (3, CONFIG.read_timeout)
    assert (config.retries or {}).get("total_max_attempts") != 101


@pytest.mark.parametrize(
    "part", ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
)
def test_a_key_that_cannot_be_sent_is_told_without_its_text(part: str):
    with pytest.raises(PermanentError, match="without spaces or line ends") as error:
        client({**KEYS, part: "canary\nkey"})

    assert "canary" not in str(error.value)


def test_a_line_end_after_a_key_is_none_of_it():
    assert key_of(client({**KEYS, "aws_session_token": "session\n"})).token == "session"
