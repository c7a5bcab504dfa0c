"""The other account's side of ``aws.role_arn`` can do what the functions' own roles could."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from infra.config import AgentConfig, ConfigError
from infra.task_account import TaskAccountStack, TaskRunnerRole
from tests.infrastructure.test_template import GIVEN
from tests.support.stack_template import Deployed, config, of_type, synthesize, unbundled_app

AGENT, TASKS = "123456789012", "210987654321"
ROLE = f"arn:aws:iam::{TASKS}:role/agents/tasks"
LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "/flows"}}
PREFECT_1 = {"version": 1, "api_url": "https://prefect.example.com"}
OF_THE_AGENT = ("kms:", "logs:Create", "logs:Put", "secretsmanager:", "sqs:", "sts:")
"""What functions do in their own account, wherever the tasks run."""


def settings(version: int = 3, **sections: Any) -> AgentConfig:
    kwargs = {**GIVEN, "containerDefinitions": [{"logConfiguration": LOGS}]}
    given: dict[str, Any] = {
        "aws": {"role_arn": ROLE},
        "ecs": {
            "kwargs": kwargs,
            "allowed_roles": [f"arn:aws:iam::{TASKS}:role/etl"],
            "allowed_clusters": [f"arn:aws:ecs:us-east-1:{TASKS}:cluster/gpu"],
        },
        "external_kwargs": {"bucket": "team-kwargs"},
        "deployment": {"account": AGENT, "region": "us-east-1"},
        "prefect": PREFECT_1 if version == 1 else {},
    }
    return config(**given | sections)


@cache
def template(version: int = 3) -> dict[str, Any]:
    stack = TaskAccountStack(unbundled_app(), settings(version))
    return dict(Template.from_stack(stack).to_json())


def the_role(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    roles = of_type(found, "AWS::IAM::Role")
    return next((id, r["Properties"]) for id, r in roles.items() if "RoleName" in r["Properties"])


def grants(statements: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Return each action with its resource and condition, by themselves."""
    return {
        (action, resource.replace(TASKS, AGENT), json.dumps(s.get("Condition"), sort_keys=True))
        for s in json.loads(json.dumps(statements).replace(TASKS, AGENT))
        for action in _listed(s["Action"])
        for resource in _listed(s["Resource"])
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("version", [1, 3])
def test_it_may_do_what_the_functions_of_an_agent_with_tasks_at_home_may(version: int) -> None:
    at_home = Deployed(synthesize(settings(version, aws={})))
    of_functions: set[tuple[str, str, str]] = set()
    for name in ("poll", "dispatch", "watch"):
        _, function = at_home.function(name)
        role = function["Properties"]["Role"]["Fn::GetAtt"][0]
        of_functions |= grants(at_home.role_statements(role))
    wanted = {grant for grant in of_functions if not grant[0].startswith(OF_THE_AGENT)}

    away = Deployed(template(version))
    role, _ = the_role(template(version))

    assert grants(away.role_statements(role)) == wanted


def test_it_has_the_name_and_path_that_the_agent_looks_for() -> None:
    _, role = the_role(template())
    assert (role["RoleName"], role["Path"]) == ("tasks", "/agents/")


def test_the_roles_of_the_agents_stack_may_assume_it_and_no_others() -> None:
    _, role = the_role(template())
    (statement,) = Deployed(template()).resolve(role["AssumeRolePolicyDocument"]["Statement"])
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{AGENT}:root"}
    assert statement["Condition"] == {
        "ArnLike": {"aws:PrincipalArn": [f"arn:aws:iam::{AGENT}:role/fargate-agent-*"]}
    }


def test_other_roles_may_be_named_where_the_agent_is_part_of_another_app() -> None:
    stack = Stack(unbundled_app(), "an-app")
    mine = f"arn:aws:iam::{AGENT}:role/flows-*"
    TaskRunnerRole(stack, "TaskRunner", settings(), trusted=[mine])
    _, role = the_role(Template.from_stack(stack).to_json())
    assert mine in json.dumps(role["AssumeRolePolicyDocument"])


def test_the_tasks_events_are_sent_home_where_they_are_let_in() -> None:
    agent = synthesize(settings())
    (sent,) = of_type(template(), "AWS::Events::Rule").values()
    (heard,) = of_type(agent, "AWS::Events::Rule").values()
    assert sent["Properties"]["EventPattern"] == heard["Properties"]["EventPattern"]
    (target,) = Deployed(template()).resolve(sent["Properties"]["Targets"])
    bus = f"arn:aws:events:us-east-1:{AGENT}:event-bus/default"
    assert target["Arn"] == bus
    (policy,) = of_type(agent, "AWS::Events::EventBusPolicy").values()
    assert Deployed(agent).resolve(policy["Properties"]["Statement"]) == {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{TASKS}:root"},
        "Action": "events:PutEvents",
        "Resource": bus,
        "Condition": {
            "StringEquals": {
                "events:source": "aws.ecs",
                "events:detail-type": "ECS Task State Change",
            }
        },
    }


def test_an_agent_with_tasks_at_home_lets_nobody_send_events() -> None:
    assert of_type(synthesize(settings(aws={})), "AWS::Events::EventBusPolicy") == {}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"aws": {}}, "aws.role_arn: must be named: the role that the agent will run tasks by"),
        ({"deployment": {}}, "deployment.account: must be named, with deployment.region: where"),
    ],
)
def test_settings_that_do_not_tell_the_accounts_are_refused(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        TaskAccountStack(unbundled_app(), settings(**sections))


def test_every_finding_of_cdk_nag_has_its_reason() -> None:
    app = App()
    TaskAccountStack(app, settings())
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()  # raises, naming the findings
