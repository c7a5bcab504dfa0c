"""The calls of AWS that a course comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import botocore.session
from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator

from tests.parity.ecs_worker.aws.calls import Call
from tests.parity.ecs_worker.aws.model import ASSUMED_KEY, Aws
from tests.parity.ecs_worker.course.habits import Habits, Memory
from tests.parity.ecs_worker.plan import Plan

SERVICES = {
    **dict.fromkeys(("DescribeVpcs", "DescribeSubnets"), "ec2"),
    "AssumeRole": "sts",
    "GetResources": "resourcegroupstaggingapi",
}
"""Whose operations they are, if not ECS's."""


class Caller:
    """Makes calls, keeps them, and lets AWS answer."""

    def __init__(self, aws: Aws, habits: Habits) -> None:
        self.aws = aws
        self.memory = Memory()
        self.calls: list[Call] = []
        self._habits = habits

    def assume(self, plan: Plan) -> None:
        """Assume the account's role, where it has one."""
        if plan.account.role is not None:
            self._take("AssumeRole", plan.account.role, plan, plan.account.key)

    def call(self, plan: Plan, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call AWS for a plan, as its account.

        Raises
        ------
        botocore.exceptions.ClientError
            AWS refuses.
        botocore.exceptions.ParamValidationError
            Its client does.
        """
        key = plan.account.key
        if plan.account.role is not None:
            session = json.dumps(dict(plan.account.role), sort_keys=True)
            if self._habits.one_session and session not in self.memory.sessions:
                self.memory.sessions.add(session)
                self.assume(plan)
            key = ASSUMED_KEY
        return self._take(operation, params, plan, key)

    def _take(
        self, operation: str, params: Mapping[str, Any], plan: Plan, key: str
    ) -> dict[str, Any]:
        account = plan.account
        told = deepcopy(dict(params))
        self.calls.append(Call(operation, told, account.region, key, account.endpoint))
        report = ParamValidator().validate(told, shape(operation))
        if report.has_errors():
            raise ParamValidationError(report=report.generate_report())
        return self.aws.answer(operation, told, account.region)


def problems(operation: str, params: Mapping[str, Any]) -> str:
    """Tell what AWS's client would refuse of a call."""
    return str(ParamValidator().validate(params, shape(operation)).generate_report())


@cache
def shape(operation: str) -> Any:
    """Return botocore's model of an operation's parameters."""
    model = _session().get_service_model(SERVICES.get(operation, "ecs"))
    return model.operation_model(operation).input_shape


@cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()
