"""Judges recorded AWS calls by a role's policies, with ministack's policy evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from local import iam_requests
from local.iam_requests import Request
from tests.support.recorder import Call
from tests.support.stack_template import ACCOUNT, REGION, Deployed


def requests(call: Call) -> Iterator[Request]:
    """Tell what a recorded call asks of the function's role: nothing, if made as somebody else."""
    if not call.key:
        yield from iam_requests.requests(
            call.operation, call.params, account=ACCOUNT, region=REGION
        )


class Judge:
    """Judges by the deployed policies of one function's role.

    ``unused`` holds the (action, resource) grants that no request has needed yet.
    """

    def __init__(self, deployed: Deployed, function: str) -> None:
        _, resource = deployed.function(function)
        (role, _) = resource["Properties"]["Role"]["Fn::GetAtt"]
        self._grants = [
            {**statement, "Action": action, "Resource": resource}
            for statement in deployed.role_statements(role)
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]
        self.unused = {(grant["Action"], grant["Resource"]) for grant in self._grants}

    def allows(self, request: Request) -> bool:
        """Tell whether the role may do this, and remember which grant let it."""
        for grant in self._grants:
            document = {"Version": "2012-10-17", "Statement": [grant]}
            verdict = evaluate(_context(request), [parse_policy_document(document)])
            if verdict.decision == "Allow":
                self.unused.discard((grant["Action"], grant["Resource"]))
                return True
        return False


def _context(request: Request) -> EvalContext:
    return EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/function/function",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=request.action,
        resource_arn=request.resource,
        region=REGION,
        service_context={key.lower(): value for key, value in request.context.items()},
    )


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
