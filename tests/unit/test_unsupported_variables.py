"""Job variables of the ECS worker that this agent does not follow."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from tests.support.rendering import rendered


@pytest.mark.parametrize(
    ("job", "variable"),
    [
        ({"task_run_request": {"taskDefinition": "etl:7"}}, "task_definition_arn"),
        (
            {"task_run_request": {"capacityProviderStrategy": [{}]}},
            "capacity_provider_strategy",
        ),
        ({"aws_credentials": {"aws_access_key_id": "A"}}, "aws_credentials"),
        ({"vpc_id": "vpc-1"}, "vpc_id"),
        ({"match_latest_revision_in_family": True}, "match_latest_revision_in_family"),
        ({"auto_deregister_task_definition": True}, "auto_deregister_task_definition"),
        ({"cloudwatch_logs_options": {"a": "b"}}, "cloudwatch_logs_options"),
        ({"cloudwatch_logs_prefix": "x"}, "cloudwatch_logs_prefix"),
        ({"prefect_api_key_secret_arn": "arn"}, "prefect_api_key_secret_arn"),
        ({"prefect_api_auth_string_secret_arn": "arn"}, "prefect_api_auth_string_secret_arn"),
    ],
)
def test_a_variable_that_is_not_followed_is_refused_by_name(job: Any, variable: str):
    with pytest.raises(PermanentError, match=f"^The job variable '{variable}' is set, which"):
        rendered(job)


def test_a_variable_that_is_not_followed_may_be_empty():
    job = {"vpc_id": None, "aws_credentials": {}, "auto_deregister_task_definition": False}

    assert rendered(job) == rendered()


@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL"])
def test_another_launch_type_is_refused_by_name(launch_type: str):
    with pytest.raises(PermanentError, match=f"launch type is '{launch_type}'"):
        rendered({"task_run_request": {"launchType": launch_type}})


def test_fargate_spot_is_asked_for_as_the_capacity_provider_that_it_is():
    launch = rendered({"task_run_request": {"launchType": "FARGATE_SPOT"}})

    assert launch.request["capacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE_SPOT", "weight": 1}
    ]
    assert "launchType" not in launch.request
    assert launch.definition["requiresCompatibilities"] == ["FARGATE"]
