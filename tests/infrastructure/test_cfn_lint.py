"""cfn-lint: every template is one that CloudFormation takes, in every partition."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk.assertions import Template
from cfnlint.api import ManualArgs, lint

from infra.task_account import TaskAccountStack
from tests.infrastructure.test_deployment_options import EVERYTHING
from tests.infrastructure.test_task_account import settings
from tests.infrastructure.test_template import GIVEN
from tests.support.stack_template import (
    OTHER_ROLE,
    SECRET,
    config,
    default_template,
    of_type,
    template,
    unbundled_app,
)

REGIONS = ["us-east-1", "us-gov-west-1", "cn-north-1"]
"""One of each partition, for a resource type or runtime may be missing in another."""

WITHOUT_URLS = "us-gov-west-1"
"""Lambda has no function URLs there: ``agent.url`` is for the other partitions."""

IGNORED = ["W3005"]
"""Dependencies that are there already: the CDK makes a function depend on its role and its role's
policy, though it refers to the role as well."""

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"

VARIANTS: dict[str, dict[str, Any]] = {
    "Prefect 1": {
        "agent": {"url": True, "labels": ["prod"]},
        "prefect": {"version": 1, "api_url": "https://prefect.example.com"},
        "monitoring": {"metrics": False, "dashboard": False, "alarms": False},
    },
    "every option": {
        **EVERYTHING,
        "agent": {"url": True, "poll_interval_seconds": 600, "env": {"TZ": "UTC"}},
        "prefect": {"api_key_secret": SECRET, "work_queues": ["a"]},
        "aws": {"assumable_roles": [OTHER_ROLE]},
        "ecs": {"kwargs": GIVEN, "allowed_roles": [OTHER_ROLE]},
        "external_kwargs": {"bucket": "team-kwargs"},
        "monitoring": {"alarms_topic": TOPIC},
    },
}


def findings(template: dict[str, Any]) -> list[str]:
    has_url = of_type(template, "AWS::Lambda::Url")
    regions = [region for region in REGIONS if not (has_url and region == WITHOUT_URLS)]
    options: ManualArgs = {"regions": regions, "ignore_checks": IGNORED}
    return [str(match) for match in lint(json.dumps(template), None, regions, options)]


def test_the_default_template_has_no_finding() -> None:
    assert findings(default_template()) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_has_a_finding(variant: str) -> None:
    assert findings(template(config(**VARIANTS[variant]))) == []


def test_the_other_accounts_side_has_no_finding() -> None:
    away = TaskAccountStack(unbundled_app(), settings())
    assert findings(Template.from_stack(away).to_json()) == []


def test_the_check_can_fail() -> None:
    alarm = next(iter(of_type(default_template(), "AWS::CloudWatch::Alarm").values()))
    broken = {**alarm, "Properties": {**alarm["Properties"], "ComparisonOperator": "Above"}}
    queues = of_type(default_template(), "AWS::SQS::Queue")
    (finding,) = findings({"Resources": {"Broken": broken, **queues}})
    assert "'Above' is not one of" in finding
