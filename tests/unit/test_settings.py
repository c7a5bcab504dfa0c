"""An agent configuration of Prefect 1's API above the deployed settings."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from tests.support.prefect1_values import settings


def test_it_holds_the_legacy_agents_arguments():
    configured = settings(ecs_kwargs={"cpu": "256", "cluster": "etl"}).with_agent_config(
        {
            "name": "configured",
            "labels": ["a", "b"],
            "env_vars": {"TZ": "UTC"},
            "no_cloud_logs": True,
            "launch_type": "EC2",
            "enable_task_revisions": True,
            "cpu": 1024,
            "networkMode": "bridge",
        }
    )

    assert configured == settings(
        agent_name="configured",
        agent_labels=("a", "b"),
        agent_env={"TZ": "UTC"},
        send_logs=False,
        launch_type="EC2",
        enable_task_revisions=True,
        ecs_kwargs={"cpu": 1024, "cluster": "etl", "networkMode": "bridge"},
    )


def test_an_empty_one_changes_nothing():
    assert settings().with_agent_config({}) == settings()


def test_what_it_does_not_name_stays():
    deployed = settings(agent_labels=("a",), agent_env={"A": "1"}, send_logs=False)

    assert deployed.with_agent_config({"name": "x"}).agent_labels == ("a",)
    assert deployed.with_agent_config({"name": "x"}).send_logs is False


def test_logs_may_be_switched_on_again():
    assert settings(send_logs=False).with_agent_config({"no_cloud_logs": False}).send_logs


def test_labels_and_variables_replace_those_of_the_deployment():
    deployed = settings(agent_labels=("a",), agent_env={"A": "1"})

    configured = deployed.with_agent_config({"labels": [], "env_vars": {}})

    assert (configured.agent_labels, configured.agent_env) == ((), {})


@pytest.mark.parametrize(
    "key",
    ["name", "labels", "env_vars", "no_cloud_logs", "launch_type", "enable_task_revisions", "cpu"],
)
def test_a_null_is_no_value(key: str):
    deployed = settings(agent_labels=("a",), agent_env={"A": "1"}, ecs_kwargs={"cpu": "256"})

    assert deployed.with_agent_config({key: None}) == deployed


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", "['a']"),
        ("labels", {"a": 1}),
        ("env_vars", "A=hunter2"),
        ("env_vars", ["hunter2"]),
        ("no_cloud_logs", "false"),
        ("enable_task_revisions", "False"),
        ("name", 5),
        ("launch_type", ["EC2"]),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_configurations_id(key: str, value: Any):
    with pytest.raises(PermanentError) as refusal:
        settings(agent_config_id="c1").with_agent_config({key: value})

    assert "c1" in str(refusal.value)
    assert key in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_what_only_a_deployment_settles_is_left_to_it():
    config = {"region_name": "eu-west-1", "use_external_kwargs": True, "max_polls": 3}
    assert settings().with_agent_config(config) == settings()


def test_labels_and_variables_are_text():
    configured = settings().with_agent_config({"labels": [1], "env_vars": {"A": 1}})
    assert (configured.agent_labels, configured.agent_env) == (("1",), {"A": "1"})
