"""Strategies that make cases nobody thought of: pools, deployments, flow runs and accounts.

Most are of the kind people have; some hold what they get wrong: a null, a type that does not fit,
a reference to nothing.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.optional.ecs_worker.holdings import (
    ARN,
    BLOCKS,
    DEFINITIONS,
    VARIABLES,
    Json,
    often,
    seldom,
)
from tests.optional.ecs_worker.job_variables import job_variables
from tests.optional.ecs_worker.templates import PLAIN_TEMPLATE, templates

STARTED = {
    "taskArn": f"{ARN}:task/default/ffffffffffffffffffffffffffffffff",
    "clusterArn": f"{ARN}:cluster/default",
    "lastStatus": "PROVISIONING",
}
WORKER_ID = "c1000000-0000-4000-8000-000000000001"
"""As Prefect Cloud gives one."""

ODD_NAMES = ("Nightly ETL (prod)", "söndag ✓", "a*b+c", "x" * 300, "UPPER_case-1.2", " spaced  ")


scripts = st.sampled_from(
    (
        {"RunTask": [{"always": True, "failures": [{"reason": "AGENT"}], "tasks": []}]},
        {"RunTask": [{"failures": [{"reason": "RESOURCE:CPU"}], "tasks": []}, {"pass": True}]},
        {"RunTask": [{"always": True, "failures": [], "tasks": []}]},
        {"RunTask": [{"failures": [{"reason": "MISSING"}], "tasks": [STARTED]}, {"pass": True}]},
        {
            "RunTask": [
                {
                    "always": True,
                    "error": {"Code": "AccessDeniedException", "Message": "not authorized"},
                }
            ]
        },
        {
            "RegisterTaskDefinition": [
                {
                    "error": {
                        "Code": "ClientException",
                        "Message": "Too many concurrent attempts to create a new revision of the "
                        "specified family.",
                    }
                },
                {"pass": True},
            ]
        },
        {
            "DescribeVpcs": [
                {
                    "always": True,
                    "error": {"Code": "UnauthorizedOperation", "Message": "You may not."},
                }
            ]
        },
    )
)


@st.composite
def accounts(draw: st.DrawFn) -> Json:
    """Give AWS's side: clusters, networks, definitions of others, and seldom a fault."""
    existing = copy.deepcopy(DEFINITIONS)
    existing[2]["status"] = draw(often("ACTIVE", "INACTIVE"))
    made: Json = {
        "clusters": ["default", "second"],
        "vpcs": [
            {"id": "vpc-default", "is_default": not draw(seldom())},
            {"id": "vpc-2"},
            {"id": "vpc-empty"},
        ],
        "subnets": [
            {"id": "subnet-d1", "vpc_id": "vpc-default"},
            {"id": "subnet-d2", "vpc_id": "vpc-default"},
            {"id": "subnet-21", "vpc_id": "vpc-2"},
            {"id": "subnet-22", "vpc_id": "vpc-2"},
        ],
        "task_definitions": existing,
    }
    if draw(seldom()):
        made["script"] = copy.deepcopy(draw(scripts))
    return made


@st.composite
def further_runs(draw: st.DrawFn, deployment: Json | None) -> list[Json]:
    """Give what changes before each of a case's runs; mostly there is one run."""
    patches: list[Json] = [{}]
    for kind in draw(st.lists(st.sampled_from(("same", "new worker", "changed")), max_size=2)):
        if kind == "changed" and deployment is not None:
            variables = deployment["job_variables"] | draw(job_variables(2))
            patches.append({"deployment": {"job_variables": variables}})
        else:
            patches.append({"new_worker": True} if kind == "new worker" else {})
    return patches


@st.composite
def inputs(draw: st.DrawFn) -> Json:
    """Give the input of a case."""
    deployment: Json | None = {
        "name": draw(often("nightly", *ODD_NAMES)),
        "tags": draw(st.sampled_from((["prod"], []))),
        "updated": "2025-01-02T03:04:05.678901Z",
        "job_variables": draw(job_variables()),
    }
    if draw(seldom()):
        deployment = None
    env = {"PREFECT_API_URL": "http://prefect.example:4200/api", "REGISTRY": "reg.example"}
    env |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "PREFECT_API_KEY": st.just("pnu_key"),
                "PREFECT_API_AUTH_STRING": st.just("admin:pw"),
                "PREFECT_LOGGING_LEVEL": st.just("DEBUG"),
            },
        )
    )
    flow_run: Json = {
        "name": draw(often("brave-kestrel", *ODD_NAMES)),
        "job_variables": draw(st.one_of(st.just({}), st.just({}), job_variables(3))),
    }
    flow_run |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "parameters": st.just({"region": "eu"}),
                "labels": st.just({"team": "x"}),
                "tags": st.just(["adhoc"]),
            },
        )
    )
    pool_name = draw(often("ecs-pool", "my pool", "p" * 200))
    return {
        "worker": {
            "name": draw(often("agent", "Worker ✓ 1")),
            "id": draw(often(None, WORKER_ID)),
            "env": env,
        },
        "work_pool": {"id": "a1000000-0000-4000-8000-000000000001", "name": pool_name},
        "base_job_template": draw(templates()),
        "deployment": deployment,
        "flow": {
            "id": "f1000000-0000-4000-8000-000000000001",
            "name": draw(often("etl", *ODD_NAMES)),
        },
        "flow_run": flow_run,
        "blocks": copy.deepcopy(BLOCKS),
        "variables": copy.deepcopy(VARIABLES),
        "aws": draw(accounts()),
        "runs": draw(further_runs(deployment)),
    }


@dataclass(frozen=True, repr=False)
class Input:
    """The input of a case, which shows what of it differs from the plainest one."""

    held: Json

    def __repr__(self) -> str:
        """Leave out what is the same in all cases."""
        aws = self.held["aws"]
        told = {key: self.held[key] for key in self.held if key not in (*FIXED, "aws")}
        told["base_job_template"] = differences(PLAIN_TEMPLATE, told["base_job_template"])
        told |= {key: aws[key] for key in ("vpcs", "script") if key in aws}
        return json.dumps(told, indent=1, ensure_ascii=False)


FIXED = ("blocks", "variables")


def differences(plain: Any, other: Any) -> Any:
    """Return what of a value differs from another."""
    if not (isinstance(plain, dict) and isinstance(other, dict)):
        return other
    made = {
        key: differences(plain.get(key), value)
        for key, value in other.items()
        if key not in plain or plain[key] != value
    }
    return made | {key: "(removed)" for key in plain if key not in other}
