"""Where tasks run: asked once what stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from fargate_agent import accounts
from fargate_agent.accounts import Account, Accounts
from fargate_agent.errors import PermanentError
from fargate_agent.task_definitions import TaskDefinitions
from tests.support.aws import client, stubbed
from tests.support.revisions import ARN

UNKNOWN: Any = object()
DEFAULT = {"Filters": [{"Name": "isDefault", "Values": ["true"]}]}


def in_vpc(id: str) -> dict[str, Any]:
    return {"Filters": [{"Name": "vpc-id", "Values": [id]}]}


def of(*ids: str, **more: str) -> dict[str, Any]:
    return {"Subnets": [{"SubnetId": id} for id in ids], **more}


@contextmanager
def network() -> Iterator[tuple[Account, Stubber]]:
    """Give an account and the script of its EC2."""
    with stubbed("ec2") as (ec2, script):
        yield Account(client("ecs"), UNKNOWN, lambda: ec2), script


@contextmanager
def definitions() -> Iterator[tuple[Account, Stubber]]:
    """Give an account and the script of its ECS."""
    with stubbed("ecs") as (ecs, script):
        yield Account(ecs, UNKNOWN, nobody), script


def nobody() -> Any:
    raise AssertionError("nobody needs EC2")


# -- the network -----------------------------------------------------------------------------------


def test_a_vpcs_subnets_are_asked_for_once():
    with network() as (account, script):
        script.add_response("describe_subnets", of("subnet-1", "subnet-2"), in_vpc("vpc-1"))

        assert account.subnets("vpc-1") == account.subnets("vpc-1") == ["subnet-1", "subnet-2"]


def test_every_page_of_them_is_read():
    with network() as (account, script):
        script.add_response("describe_subnets", of("subnet-1", NextToken="x"), in_vpc("vpc-1"))
        script.add_response(
            "describe_subnets", of("subnet-2"), {**in_vpc("vpc-1"), "NextToken": "x"}
        )

        assert account.subnets("vpc-1") == ["subnet-1", "subnet-2"]


def test_the_default_vpc_is_found_once():
    with network() as (account, script):
        script.add_response("describe_vpcs", {"Vpcs": [{"VpcId": "vpc-9"}]}, DEFAULT)
        script.add_response("describe_subnets", of("subnet-9"), in_vpc("vpc-9"))

        assert account.subnets(None) == account.subnets(None) == ["subnet-9"]


def test_a_region_without_a_default_vpc_is_named_with_the_remedies():
    with network() as (account, script):
        script.add_response("describe_vpcs", {"Vpcs": []}, DEFAULT)

        with pytest.raises(PermanentError, match="eu-west-1 has no default VPC") as refusal:
            account.subnets(None)

    assert "'vpc_id'" in str(refusal.value)


def test_a_vpc_that_has_no_subnets_is_refused_and_looked_up_again():
    with network() as (account, script):
        for _ in range(2):
            script.add_response("describe_subnets", of(), in_vpc("vpc-1"))
            with pytest.raises(PermanentError, match="VPC vpc-1 does not exist in eu-west-1, or"):
                account.subnets("vpc-1")


def test_a_look_up_that_failed_is_made_again():
    with network() as (account, script):
        script.add_client_error("describe_subnets", "RequestLimitExceeded")
        script.add_response("describe_subnets", of("subnet-1"), in_vpc("vpc-1"))

        with pytest.raises(ClientError, match="RequestLimitExceeded"):
            account.subnets("vpc-1")
        assert account.subnets("vpc-1") == ["subnet-1"]


def test_ec2_is_reached_only_where_it_is_needed():
    account = Account(client("ecs"), UNKNOWN, nobody)

    assert account.region == "eu-west-1"


# -- task definitions that runs name ---------------------------------------------------------------


def described(name: str) -> dict[str, Any]:
    return {"taskDefinition": {"taskDefinitionArn": ARN + name, "containerDefinitions": []}}


@pytest.mark.parametrize("name", ["etl:7", f"{ARN}etl:7"])
def test_a_revision_is_described_once(name: str):
    with definitions() as (account, script):
        script.add_response(
            "describe_task_definition", described("etl:7"), {"taskDefinition": name}
        )

        assert (
            account.describe(name) == account.describe(name) == described("etl:7")["taskDefinition"]
        )


@pytest.mark.parametrize("name", ["etl", f"{ARN}etl"])
def test_a_familys_latest_revision_may_be_another_the_next_time(name: str):
    with definitions() as (account, script):
        for latest in ("etl:7", "etl:8"):
            script.add_response(
                "describe_task_definition", described(latest), {"taskDefinition": name}
            )

        found = [account.describe(name)["taskDefinitionArn"] for _ in range(2)]

    assert found == [ARN + "etl:7", ARN + "etl:8"]


def test_a_definition_that_does_not_exist_is_refused_by_its_name():
    with definitions() as (account, script):
        script.add_client_error("describe_task_definition", "ClientException")

        with pytest.raises(
            PermanentError, match=r"^The task definition 'etl:7' \(task_definition_"
        ):
            account.describe("etl:7")


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ServerException", "AccessDeniedException"]
)
def test_any_other_failure_is_left_to_be_judged_elsewhere(code: str):
    with definitions() as (account, script):
        script.add_client_error("describe_task_definition", code)

        with pytest.raises(ClientError, match=code):
            account.describe("etl:7")


# -- accounts --------------------------------------------------------------------------------------


def an_account(_: Any = None) -> Account:
    return Account(client("ecs"), cast("TaskDefinitions", None), nobody)


def test_without_credentials_it_is_the_agents_own():
    own = an_account()

    assert Accounts(own, an_account).of({}) is own


def test_the_same_credentials_are_one_account_whatever_their_order():
    accounts = Accounts(an_account(), an_account)
    block = {"aws_access_key_id": "A", "region_name": "eu-west-1"}

    made = accounts.of(block)

    assert made is not accounts.own
    assert accounts.of(dict(reversed(block.items()))) is made
    assert accounts.of({**block, "region_name": "us-east-1"}) is not made


def test_what_cannot_be_made_is_made_anew_the_next_time():
    answers: list[Any] = [PermanentError("no"), an_account()]

    def make(_: Any) -> Account:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("Account", answer)

    accounts = Accounts(an_account(), make)
    with pytest.raises(PermanentError):
        accounts.of({"region_name": "x"})
    assert accounts.of({"region_name": "x"})


# -- what does not stay for ever -------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only moves when a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(accounts.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("later", "fresh"), [(accounts.HELD_SECONDS + 1, False), (accounts.FRESH_SECONDS + 1, True)]
)
def test_a_vpc_may_get_other_subnets(clock: list[float], later: float, fresh: bool):
    with network() as (account, script):
        script.add_response("describe_subnets", of("subnet-1"), in_vpc("vpc-1"))
        script.add_response("describe_subnets", of("subnet-2"), in_vpc("vpc-1"))

        assert account.subnets("vpc-1") == ["subnet-1"]
        clock[0] += later
        assert account.subnets("vpc-1", fresh=fresh) == ["subnet-2"]


def test_an_answer_of_this_moment_is_fresh(clock: list[float]):
    with network() as (account, script):
        script.add_response("describe_subnets", of("subnet-1"), in_vpc("vpc-1"))

        assert account.subnets("vpc-1") == account.subnets("vpc-1", fresh=True)


def test_of_many_credentials_those_asked_for_lately_are_held():
    made: list[str] = []

    def make(block: Any) -> Account:
        made.append(block["aws_access_key_id"])
        return an_account()

    held = Accounts(an_account(), make)
    keys = [f"key-{number}" for number in range(accounts.MOST_ACCOUNTS + 1)]
    for key in [keys[0], *keys[1:-1], keys[0], keys[-1], keys[0], keys[1]]:
        held.of({"aws_access_key_id": key})

    assert made == [*keys, keys[1]]


def test_the_agents_own_region_makes_no_other_account():
    own = an_account()

    assert Accounts(own, UNKNOWN).of({"region_name": own.region}) is own
