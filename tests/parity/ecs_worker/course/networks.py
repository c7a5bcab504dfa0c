"""Which network a task runs in."""

from __future__ import annotations

import json
from typing import Any

from tests.parity.ecs_worker.course.caller import Caller
from tests.parity.ecs_worker.course.habits import Habits
from tests.parity.ecs_worker.migration import network as own_network
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.worker.templating import Refusal


class Networks:
    """Looks up the subnets of VPCs."""

    def __init__(self, caller: Caller, habits: Habits) -> None:
        self._caller = caller
        self._habits = habits

    def of(self, plan: Plan) -> Any:
        """Return what is asked for in place of a network that the run does not name itself."""
        if not plan.looks_up:
            return None
        if self._habits.own_network and not plan.vpc_id and not plan.account.elsewhere:
            return own_network(plan.run.case)
        subnets = self._subnets(plan)
        if plan.network is None:
            return _awsvpc(subnets)
        if not {*plan.network.get("subnets", [])} <= {*subnets}:
            raise Refusal("subnets of another VPC", plan.vpc_id or "")
        return {"awsvpcConfiguration": plan.network}

    def _subnets(self, plan: Plan) -> list[str]:
        key = json.dumps([plan.vpc_id, plan.account.region, plan.account.key])
        if self._habits.looks_up_once and key in self._caller.memory.subnets:
            return self._caller.memory.subnets[key]
        if not self._habits.checks_first:
            self._caller.assume(plan)
        vpc_id = plan.vpc_id
        if not (self._habits.looks_up_once and vpc_id):
            asked = (
                {"VpcIds": [vpc_id]}
                if vpc_id
                else {"Filters": [{"Name": "isDefault", "Values": ["true"]}]}
            )
            found = self._caller.call(plan, "DescribeVpcs", asked)["Vpcs"]
            if not found:
                raise Refusal("no VPC", plan.vpc_id or "VPC")
            vpc_id = found[0]["VpcId"]
        params = {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]}
        subnets = self._caller.call(plan, "DescribeSubnets", params)["Subnets"]
        if not subnets:
            raise Refusal("no subnets", "subnets")
        self._caller.memory.subnets[key] = [subnet["SubnetId"] for subnet in subnets]
        return self._caller.memory.subnets[key]


def _awsvpc(subnets: list[str]) -> dict[str, Any]:
    network = {"subnets": subnets, "assignPublicIp": "ENABLED", "securityGroups": []}
    return {"awsvpcConfiguration": network}
