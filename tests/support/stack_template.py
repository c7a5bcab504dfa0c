"""The stack's template, synthesized once a test process, and what it says when deployed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import AgentConfig
from infra.stack import AgentStack

PROJECT = Path(__file__).parents[2]
ACCOUNT, REGION = "123456789012", "us-east-1"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:prefect-api-key-AbCdEf"
OTHER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/etl"


def config(**sections: Mapping[str, Any]) -> AgentConfig:
    """Return valid settings, with some sections changed."""
    given = sections.get("prefect", {})
    prefect = {"api_url": "http://prefect.test/api"}
    if given.get("version", 3) != 1:
        prefect["work_pool"] = "fargate"
    return AgentConfig.model_validate({**sections, "prefect": {**prefect, **given}})


def unbundled_app() -> App:
    """Return an app that synthesizes without building the functions' bundle."""
    return App(context={"aws:cdk:bundling-stacks": []})


def synthesize(settings: AgentConfig) -> dict[str, Any]:
    """Return the template of an agent with these settings."""
    return dict(Template.from_stack(AgentStack(unbundled_app(), settings)).to_json())


def template(settings: AgentConfig) -> dict[str, Any]:
    """Return the template of an agent with these settings, synthesized once for all its equals.

    The address of the API is no part of it.
    """
    prefect = settings.prefect.model_copy(update={"api_url": "http://prefect.test/api"})
    alike = settings.model_copy(update={"prefect": prefect})
    return _synthesized_once(alike.model_dump_json(exclude_unset=True))


@cache
def _synthesized_once(settings: str) -> dict[str, Any]:
    return synthesize(AgentConfig.model_validate_json(settings))


@cache
def default_template() -> dict[str, Any]:
    """Return the template of an agent with every default, an API key and a further role."""
    return synthesize(
        config(prefect={"api_key_secret": SECRET}, ecs={"allowed_roles": [OTHER_ROLE]})
    )


def of_type(template: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of one type by their logical id."""
    return {id: r for id, r in template["Resources"].items() if r["Type"] == kind}


class Deployed:
    """A template as CloudFormation would deploy it: every reference has a value.

    Parameters
    ----------
    physical
        Ids of resources that exist already, by logical id; all others are made up.
    """

    def __init__(
        self, template: Mapping[str, Any], physical: Mapping[str, str] | None = None
    ) -> None:
        self.template = template
        self.physical = {**(physical or {})}

    def resolve(self, value: Any) -> Any:
        """Replace the intrinsic functions in a value."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            match name:
                case "Ref":
                    return self._ref(argument)
                case "Fn::GetAtt":
                    return self._attribute(*argument)
                case "Fn::Join":
                    separator, parts = argument
                    return separator.join(self.resolve(parts))
        return {key: self.resolve(item) for key, item in value.items()}

    def environment(self, function: str) -> dict[str, str]:
        """Return the environment of the function with this handler module."""
        _, resource = self.function(function)
        return dict(self.resolve(resource["Properties"]["Environment"]["Variables"]))

    def function(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return the logical id and resource of a function, by its handler module."""
        handler = f"fargate_agent.{name}.handler"
        functions = of_type(self.template, "AWS::Lambda::Function")
        return next((id, r) for id, r in functions.items() if r["Properties"]["Handler"] == handler)

    def role_statements(self, role: str) -> list[dict[str, Any]]:
        """Return every policy statement of a role, by the role's logical id."""
        return [
            statement
            for policy in of_type(self.template, "AWS::IAM::Policy").values()
            if {"Ref": role} in policy["Properties"]["Roles"]
            for statement in self.resolve(policy["Properties"]["PolicyDocument"]["Statement"])
        ]

    def _ref(self, id: str) -> str:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            "AWS::StackName": "fargate-agent",
            "AWS::URLSuffix": "amazonaws.com",
        }
        if id in pseudo:
            return pseudo[id]
        name = self._name(id)
        if self._type(id) == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        return name

    def _attribute(self, id: str, attribute: str) -> str:
        name = self._name(id)
        if attribute != "Arn":
            return name
        service = f"{REGION}:{ACCOUNT}"
        return {
            "AWS::ECS::Cluster": f"arn:aws:ecs:{service}:cluster/{name}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            "AWS::Lambda::Function": f"arn:aws:lambda:{service}:function:{name}",
            "AWS::Logs::LogGroup": f"arn:aws:logs:{service}:log-group:{name}:*",
            "AWS::KMS::Key": f"arn:aws:kms:{service}:key/{name}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
            "AWS::SQS::Queue": f"arn:aws:sqs:{service}:{name}",
            "AWS::Scheduler::Schedule": f"arn:aws:scheduler:{service}:schedule/default/{name}",
            "AWS::Events::Rule": f"arn:aws:events:{service}:rule/{name}",
            "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{service}:alarm:{name}",
        }[self._type(id)]

    def _type(self, id: str) -> str:
        return str(self.template["Resources"][id]["Type"])

    def _name(self, id: str) -> str:
        if id in self.physical:
            return self.physical[id]
        if self._type(id) == "AWS::S3::Bucket":
            return id.lower()
        fifo = self.template["Resources"][id].get("Properties", {}).get("FifoQueue")
        return f"{id}.fifo" if fifo else id
