"""GovCloud, China and regions with less: what is asked of AWS there is what there is."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import ConfigError
from infra.stack import AgentStack
from tests.support.stack_template import PROJECT, config, of_type, synthesize

ACCOUNT = "123456789012"
REGIONS = {"us-gov-west-1": "aws-us-gov", "cn-north-1": "aws-cn"}


def settings(region: str, **agent: Any) -> Any:
    rules = {"account": ACCOUNT, "region": region, "tags": {"team": "data"}}
    return config(deployment=rules, agent=agent)


@cache
def template(region: str) -> dict[str, Any]:
    """Synthesize with the context of ``cdk.json``, as the command line does."""
    context = json.loads((PROJECT / "cdk.json").read_text())["context"]
    app = App(context={**context, "aws:cdk:bundling-stacks": []})
    return dict(Template.from_stack(AgentStack(app, settings(region))).to_json())


@cache
def of_any_region() -> dict[str, Any]:
    return synthesize(config())


def test_a_stack_of_no_region_names_no_partition() -> None:
    text = json.dumps(of_any_region())
    assert '"arn:aws' not in text
    assert "amazonaws.com.cn" not in text


@pytest.mark.parametrize("region", REGIONS)
def test_every_arn_is_of_the_regions_partition(region: str) -> None:
    named = re.findall(r"arn:([\w-]+):", json.dumps(template(region)))
    assert set(named) == {REGIONS[region]}


@pytest.mark.parametrize("region", REGIONS)
def test_roles_are_trusted_by_the_services_of_that_name(region: str) -> None:
    services = {
        statement["Principal"]["Service"]
        for role in of_type(template(region), "AWS::IAM::Role").values()
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    }
    assert services == {
        "ecs-tasks.amazonaws.com",
        "lambda.amazonaws.com",
        "scheduler.amazonaws.com",
    }


@pytest.mark.parametrize("region", REGIONS)
def test_zones_are_asked_for_when_it_is_deployed_not_when_it_is_synthesized(region: str) -> None:
    subnets = of_type(template(region), "AWS::EC2::Subnet").values()
    assert [subnet["Properties"]["AvailabilityZone"] for subnet in subnets] == [
        {"Fn::Select": [place, {"Fn::GetAZs": ""}]} for place in (0, 1)
    ]


@pytest.mark.parametrize(("region", "taken"), [("us-east-1", True), ("us-gov-west-1", False)])
def test_lambdas_json_logs_are_asked_for_where_they_are(region: str, taken: bool) -> None:
    functions = of_type(template(region), "AWS::Lambda::Function").values()
    configs = [function["Properties"]["LoggingConfig"] for function in functions]
    assert ["LogFormat" in found for found in configs] == [taken] * 3
    assert ["SystemLogLevel" in found for found in configs] == [taken] * 3
    assert all("LogGroup" in found for found in configs)


@pytest.mark.parametrize(
    ("region", "taken"), [("us-east-1", True), ("us-gov-west-1", False), ("cn-north-1", False)]
)
def test_event_source_mappings_are_tagged_where_they_can_be(region: str, taken: bool) -> None:
    mappings = of_type(template(region), "AWS::Lambda::EventSourceMapping").values()
    assert {"Tags" in mapping["Properties"] for mapping in mappings} == {taken}
    queues = of_type(template(region), "AWS::SQS::Queue").values()
    assert all("Tags" in queue["Properties"] for queue in queues)


@pytest.mark.parametrize("region", [*REGIONS, "eu-south-2"])
def test_a_function_url_is_refused_where_there_are_none(region: str) -> None:
    with pytest.raises(ConfigError) as error:
        synthesize(settings(region, url=True))
    assert str(error.value) == (
        f"agent.url: Lambda has no function URLs in {region}: set it to false, and poll more often "
        "instead (agent.poll_interval_seconds = 5)"
    )


def test_a_stack_of_no_region_follows_the_one_that_the_command_line_deploys_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CDK_DEFAULT_REGION", "us-gov-west-1")
    with pytest.raises(ConfigError, match="no function URLs in us-gov-west-1"):
        synthesize(config(agent={"url": True}))
    functions = of_type(synthesize(config()), "AWS::Lambda::Function").values()
    assert not any("LogFormat" in f["Properties"]["LoggingConfig"] for f in functions)
