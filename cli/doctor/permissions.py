"""What a role may do: by IAM's own simulation, or by reading the role's policies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

PASSED_TO = "iam:PassedToService"


def role_name(arn: str) -> str:
    """Return a role's name, which follows its path."""
    return arn.rpartition("/")[2]


def allowed(
    iam: Any, role_arn: str, action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Tell whether a role may do something.

    Parameters
    ----------
    context
        Condition keys of the request, as ``iam:PassedToService``.

    Raises
    ------
    botocore.exceptions.ClientError
        Neither may the caller simulate, nor read the role's policies.
    """
    simulated = _simulated(iam, role_arn, action, resource, context or {})
    if simulated is not None:
        return simulated
    statements = [*_statements(iam, role_name(role_arn))]
    matching = [s for s in statements if _matches(s, action, resource, context or {})]
    effects = {statement["Effect"] for statement in matching}
    return effects == {"Allow"}


def _simulated(
    iam: Any, role_arn: str, action: str, resource: str, context: Mapping[str, str]
) -> bool | None:
    """Ask IAM; None where its answer is no proof.

    A plain refusal is none: a condition on what was not told in the call is refused as well.
    """
    try:
        (result,) = iam.simulate_principal_policy(
            PolicySourceArn=role_arn,
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[
                {"ContextKeyName": k, "ContextKeyValues": [v], "ContextKeyType": "string"}
                for k, v in context.items()
            ],
        )["EvaluationResults"]
    except (ClientError, NotImplementedError):
        return None
    organization = result.get("OrganizationsDecisionDetail", {})
    boundary = result.get("PermissionsBoundaryDecisionDetail", {})
    if (
        result["EvalDecision"] == "explicitDeny"
        or organization.get("AllowedByOrganizations") is False
        or boundary.get("AllowedByPermissionsBoundary") is False
    ):
        return False
    return True if result["EvalDecision"] == "allowed" else None


def _statements(iam: Any, role: str) -> Iterator[Mapping[str, Any]]:
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        yield from as_list(document["Statement"])
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        held = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
        yield from as_list(held["Document"]["Statement"])


def _matches(
    statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]
) -> bool:
    return (
        _named(statement, "Action", action.lower(), str.lower)
        and _named(statement, "Resource", resource, str)
        and _meets(statement.get("Condition", {}), context, statement["Effect"] == "Allow")
    )


def _named(statement: Mapping[str, Any], key: str, value: str, normal: Any) -> bool:
    if f"Not{key}" in statement:
        return not any(_like(normal(p), value) for p in as_list(statement[f"Not{key}"]))
    return any(_like(normal(p), value) for p in as_list(statement.get(key, [])))


def _meets(
    conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str], others: bool
) -> bool:
    """Check the conditions on what is known of the request; ``others`` are taken for met, or not.

    So each statement is read in the role's favour: what is called wrong is wrong for certain.
    """
    for operator, keys in conditions.items():
        for key, values in keys.items():
            if key not in context or not operator.startswith("String"):
                if not others:
                    return False
                continue
            matches = any(_like(str(value), context[key]) for value in as_list(values))
            if matches == operator.startswith("StringNot"):
                return False
    return True


def _like(pattern: str, value: str) -> bool:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), value) is not None


def as_list(value: Any) -> list[Any]:
    """Return a policy's element as a list, which may stand alone."""
    return value if isinstance(value, list) else [value]
