"""What a role may do: what IAM's simulation proves, and else what stands in its policies."""

from __future__ import annotations

from typing import Any

import pytest

from cli.doctor.permissions import PASSED_TO, allowed
from tests.support.aws import client_error

ROLE = "arn:aws:iam::123456789012:role/path/agent"
TASK_ROLE = "arn:aws:iam::123456789012:role/etl"
ALLOW = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": TASK_ROLE}


class Iam:
    """IAM with one role, which has one policy of its own and one that is attached."""

    def __init__(self, statements: list[dict[str, Any]], simulated: dict[str, Any] | None) -> None:
        self._statements, self._simulated = statements, simulated

    def simulate_principal_policy(self, **_: Any) -> Any:
        if self._simulated is None:
            raise client_error("AccessDenied", operation="SimulatePrincipalPolicy")
        return {"EvaluationResults": [self._simulated]}

    def list_role_policies(self, *, RoleName: str) -> Any:
        assert RoleName == "agent"
        return {"PolicyNames": ["own"]}

    def get_role_policy(self, **_: Any) -> Any:
        return {"PolicyDocument": {"Statement": self._statements[:1]}}

    def list_attached_role_policies(self, **_: Any) -> Any:
        return {"AttachedPolicies": [{"PolicyArn": "attached"}]}

    def get_policy(self, **_: Any) -> Any:
        return {"Policy": {"DefaultVersionId": "v1"}}

    def get_policy_version(self, **_: Any) -> Any:
        return {"PolicyVersion": {"Document": {"Statement": self._statements[1:]}}}


def may_pass(*statements: dict[str, Any], simulated: dict[str, Any] | None = None) -> bool:
    iam = Iam(list(statements), simulated)
    return allowed(iam, ROLE, "iam:PassRole", TASK_ROLE, {PASSED_TO: "ecs-tasks.amazonaws.com"})


def when(service: str, operator: str = "StringEquals") -> dict[str, Any]:
    return {**ALLOW, "Condition": {operator: {PASSED_TO: service}}}


WITHOUT_MFA = {"Bool": {"aws:MultiFactorAuthPresent": "false"}}
OTHER = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statements", "may"),
    [
        ([ALLOW], True),
        ([OTHER, ALLOW], True),
        ([OTHER], False),
        ([], False),
        ([{**ALLOW, "Action": ["IAM:Pass*"], "Resource": "arn:aws:iam::*:role/et?"}], True),
        ([{**ALLOW, "Resource": f"{TASK_ROLE}-other"}], False),
        ([{"Effect": "Allow", "NotAction": "s3:*", "NotResource": "arn:aws:s3:::*"}], True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], False),
        ([ALLOW, {**ALLOW, "Effect": "Deny"}], False),
        ([ALLOW, {**ALLOW, "Effect": "Deny", "Condition": WITHOUT_MFA}], True),
        ([{**ALLOW, "Condition": WITHOUT_MFA}], True),
        ([when("ecs-tasks.amazonaws.com")], True),
        ([when("ec2.amazonaws.com")], False),
        ([when("ec2.amazonaws.com", "StringNotEquals")], True),
        ([when("ecs-*.amazonaws.com", "StringLike")], True),
    ],
)
def test_policies_are_read_where_nothing_is_simulated(
    statements: list[dict[str, Any]], may: bool
) -> None:
    assert may_pass(*statements) is may


def test_a_simulation_that_allows_is_believed() -> None:
    assert may_pass(simulated={"EvalDecision": "allowed"})


@pytest.mark.parametrize(
    "simulated",
    [
        {"EvalDecision": "explicitDeny"},
        {
            "EvalDecision": "implicitDeny",
            "PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False},
        },
        {
            "EvalDecision": "implicitDeny",
            "OrganizationsDecisionDetail": {"AllowedByOrganizations": False},
        },
    ],
)
def test_a_boundary_stands_above_the_policies(simulated: dict[str, Any]) -> None:
    assert not may_pass(ALLOW, simulated=simulated)


def test_a_plain_refusal_is_no_proof() -> None:
    assert may_pass(ALLOW, simulated={"EvalDecision": "implicitDeny"})
