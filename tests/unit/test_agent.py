from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.work_pool.agent import Agent
from tests.support.aws import kwargs_model
from tests.support.values import settings

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"


def agent(**changes: Any) -> Agent:
    return Agent.from_settings(settings(**changes), kwargs_model())


def test_an_agent_of_plain_settings_brings_its_name_and_address():
    assert agent() == Agent(
        name="fargate-agent", work_pool="fargate", api_url="https://prefect.example.com/api"
    )


@pytest.mark.parametrize(
    ("setting", "variable"),
    [("api_key_secret", "PREFECT_API_KEY"), ("auth_string_secret", "PREFECT_API_AUTH_STRING")],
)
def test_a_secret_is_held_by_reference_under_the_variable_that_prefect_reads(
    setting: str, variable: str
):
    assert agent(**{setting: ARN}).secrets == {variable: ARN}


def test_the_users_kwargs_stand_above_the_stacks():
    made = agent(
        stack_kwargs={
            "cluster": "stack",
            "executionRoleArn": "stack",
            "containerDefinitions": [{"image": "stack", "user": "stack"}],
        },
        ecs_kwargs={"cluster": "user", "cpu": 512, "containerDefinitions": [{"image": "user"}]},
    )

    assert made.kwargs == Kwargs(
        definition={"executionRoleArn": "stack", "cpu": "512"},
        request={"cluster": "user"},
        container={"image": "user", "user": "stack"},
    )


def test_runs_write_no_logs_where_that_is_switched_off_unless_the_user_says_so():
    assert agent(send_logs=False).env == {"PREFECT_LOGGING_TO_API_ENABLED": "false"}
    assert agent(
        send_logs=False, agent_env={"PREFECT_LOGGING_TO_API_ENABLED": "true", "A": "1"}
    ).env == {"PREFECT_LOGGING_TO_API_ENABLED": "true", "A": "1"}


def test_a_wrong_kwarg_is_told_with_its_place_in_the_settings():
    with pytest.raises(PermanentError, match=r"^agent\.toml: ecs\.kwargs: clutser: not a param"):
        agent(ecs_kwargs={"clutser": "x"})


def test_in_another_account_the_agent_brings_the_users_kwargs_alone():
    stack = {"cluster": "arn:stack", "taskRoleArn": "arn:stack", "propagateTags": "TASK_DEFINITION"}
    user = {"cluster": "theirs", "cpu": 512}
    given = settings(stack_kwargs=stack, ecs_kwargs=user, launch_type="EC2")

    agent = Agent.from_settings(given, kwargs_model())

    assert agent.kwargs.definition == {"taskRoleArn": "arn:stack", "cpu": "512"}
    assert agent.elsewhere().kwargs == Kwargs(
        definition={"cpu": "512"}, request={"cluster": "theirs"}
    )
    assert agent.elsewhere().launch_type == agent.launch_type == "EC2"
