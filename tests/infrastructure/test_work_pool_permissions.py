"""What the functions and tasks of a work pool may do, and those of Prefect 1 may not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.infrastructure.test_template import GIVEN
from tests.support.stack_template import Deployed, config, default_template, of_type, synthesize

TENANT = "arn:aws:iam::210987654321:role/tenant"
PREFECT_1 = {"version": 1, "api_url": "https://prefect.example.com", "work_pool": None}
JOBS_LOGS = "log-group:prefect:*"


@cache
def template(kind: str) -> dict[str, Any]:
    """Synthesize each kind of agent once."""
    return {
        "Prefect 3": default_template,
        "Prefect 2": lambda: synthesize(config(prefect={"version": 2})),
        "Prefect 1": lambda: synthesize(config(prefect=PREFECT_1)),
        "tenants": lambda: synthesize(config(aws={"assumable_roles": [TENANT]})),
        "elsewhere": lambda: synthesize(
            config(aws={"role_arn": "arn:aws:iam::210987654321:role/tasks"}, ecs={"kwargs": GIVEN})
        ),
    }[kind]()


def granted(kind: str, function: str) -> dict[str, Any]:
    """Return the resources that each action of a function's role is allowed on."""
    deployed = Deployed(template(kind))
    _, found = deployed.function(function)
    return resources(deployed, found["Properties"]["Role"]["Fn::GetAtt"][0])


def resources(deployed: Deployed, role: str) -> dict[str, Any]:
    statements = deployed.role_statements(role)
    made: dict[str, Any] = {}
    for statement in statements:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            made.setdefault(action, []).append(statement["Resource"])
    return made


def execution_role(kind: str) -> dict[str, Any]:
    deployed = Deployed(template(kind))
    (role,) = (id for id in of_type(deployed.template, "AWS::IAM::Role") if "ExecutionRole" in id)
    return resources(deployed, role)


@pytest.mark.parametrize("kind", ["Prefect 2", "Prefect 3"])
def test_dispatch_may_look_networks_up(kind: str) -> None:
    assert granted(kind, "dispatch")["ec2:DescribeSubnets"] == ["*"]


@pytest.mark.parametrize("kind", ["Prefect 2", "Prefect 3"])
def test_watch_may_deregister_definitions_and_list_no_tasks(kind: str) -> None:
    assert granted(kind, "watch")["ecs:DeregisterTaskDefinition"] == ["*"]
    assert "ecs:ListTasks" not in granted(kind, "watch")


def test_with_prefect_1_neither_is_allowed() -> None:
    for function in ("poll", "dispatch", "watch"):
        actions = granted("Prefect 1", function).keys()
        assert not [action for action in actions if action.startswith("ec2:")]
        assert "ecs:DeregisterTaskDefinition" not in actions


@pytest.mark.parametrize("function", ["poll", "dispatch"])
def test_only_watch_may_deregister(function: str) -> None:
    assert "ecs:DeregisterTaskDefinition" not in granted("Prefect 3", function)


def test_in_another_account_watch_and_dispatch_may_do_no_more_than_be_its_role() -> None:
    for function in ("dispatch", "watch"):
        actions = granted("elsewhere", function)
        assert actions["sts:AssumeRole"] == ["arn:aws:iam::210987654321:role/tasks"]
        assert not [action for action in actions if action.startswith(("ecs:", "ec2:", "iam:"))]


# -- logs of jobs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Prefect 2", "Prefect 3"])
def test_tasks_may_write_to_the_log_group_that_jobs_make(kind: str) -> None:
    role = execution_role(kind)
    assert [arn.endswith(JOBS_LOGS) for arn in role["logs:CreateLogGroup"]] == [True]
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        assert any(str(arn).endswith(JOBS_LOGS) for arn in role[action])


def test_those_of_prefect_1_may_not() -> None:
    role = execution_role("Prefect 1")
    assert "logs:CreateLogGroup" not in role
    assert JOBS_LOGS not in str(role)


# -- roles of jobs' credentials --------------------------------------------------------------------


def test_roles_that_jobs_may_assume_are_dispatchs_to_assume() -> None:
    assert granted("tenants", "dispatch")["sts:AssumeRole"] == [TENANT]
    assert "sts:AssumeRole" not in granted("tenants", "poll")


def test_without_such_roles_none_may_be_assumed() -> None:
    for function in ("poll", "dispatch", "watch"):
        assert "sts:AssumeRole" not in granted("Prefect 3", function)
