"""``configure_cloudwatch_logs``: where a container writes, where its job says so."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from tests.support.rendering import FakeAccount, rendered
from tests.support.values import agent, flow_run

ROLE = "arn:aws:iam::123456789012:role/execution"
LOGS = {"task_definition": {"executionRoleArn": ROLE}, "configure_cloudwatch_logs": True}
OWN = {"logDriver": "awsfirelens"}


def logs(job: Any, **layers: Any) -> Any:
    (flow,) = rendered(job, **layers).definition["containerDefinitions"]
    return flow.get("logConfiguration")


def options(job: Any = LOGS, **layers: Any) -> dict[str, Any]:
    return dict(logs(job, **layers)["options"])


def test_the_container_writes_to_the_group_prefect_in_the_tasks_region():
    assert logs(LOGS, account=FakeAccount({None: ["subnet-1"]}, region="eu-central-1")) == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-create-group": "true",
            "awslogs-group": "prefect",
            "awslogs-region": "eu-central-1",
            "awslogs-stream-prefix": "prefect-logs_fargate_d1d2f3a4-0000-4000-8000-000000000002",
        },
    }


def test_a_run_without_a_deployment_is_told_apart_by_its_flow():
    found = options(run=flow_run(deployment_id=None))["awslogs-stream-prefix"]

    assert found == "prefect-logs_fargate_b1d2f3a4-0000-4000-8000-000000000001"


def test_a_prefix_and_options_of_the_job_stand_above():
    job = {
        **LOGS,
        "cloudwatch_logs_prefix": "mine",
        "cloudwatch_logs_options": {"awslogs-group": "etl", "mode": "non-blocking"},
    }

    assert options(job).items() >= {
        ("awslogs-group", "etl"),
        ("awslogs-stream-prefix", "mine"),
        ("mode", "non-blocking"),
    }


@pytest.mark.parametrize("prefix", [None, ""])
def test_an_empty_prefix_is_none(prefix: Any):
    assert options({**LOGS, "cloudwatch_logs_prefix": prefix}) == options()


def test_logs_of_the_job_stand_above_the_agents_and_the_templates_and_under_s3():
    mine = agent(kwargs=Kwargs(container={"logConfiguration": OWN}))
    template = {"containerDefinitions": [{"logConfiguration": OWN}], "executionRoleArn": ROLE}
    file = Kwargs(container={"logConfiguration": OWN})

    assert logs(LOGS, agent=mine)["logDriver"] == "awslogs"
    assert logs({**LOGS, "task_definition": template})["logDriver"] == "awslogs"
    assert logs(LOGS, external=file) == OWN


@pytest.mark.parametrize("off", [False, None, "false"])
def test_without_them_the_agents_stay(off: Any):
    mine = agent(kwargs=Kwargs(container={"logConfiguration": OWN}))

    assert logs({"configure_cloudwatch_logs": off}, agent=mine) == OWN


def test_a_sidecar_keeps_its_own():
    containers = [{"name": "prefect"}, {"name": "proxy", "logConfiguration": OWN}]
    job = {
        **LOGS,
        "task_definition": {"executionRoleArn": ROLE, "containerDefinitions": containers},
    }

    _, proxy = rendered(job).definition["containerDefinitions"]
    assert proxy["logConfiguration"] == OWN


def test_logs_need_an_execution_role():
    with pytest.raises(PermanentError, match="has no execution role to write logs with"):
        logs({"configure_cloudwatch_logs": True})


@pytest.mark.parametrize("layer", ["agent", "external"])
def test_the_role_may_come_from_any_layer(layer: str):
    role = Kwargs(definition={"executionRoleArn": ROLE})
    layers: dict[str, Any] = {
        "agent": {"agent": agent(kwargs=role)},
        "external": {"external": role},
    }

    assert logs({"configure_cloudwatch_logs": True}, **layers[layer])["logDriver"] == "awslogs"
