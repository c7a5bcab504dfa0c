"""Environment variables in place of ``[ecs.kwargs]``, as the legacy agent read them."""

import json
import re
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from infra.config import ConfigError, load, split_kwargs
from infra.environment import CONTAINER_FIELDS, PARAMETERS, fallbacks
from tests.support.aws import kwargs_model

PREFECT_1 = "[prefect]\nversion = 1\napi_url = 'https://prefect.example.com'\n"
VALUES: dict[str, Any] = {
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "networkMode": "bridge",
    "volumes": [{"name": "scratch"}],
    "placementConstraints": [{"type": "distinctInstance"}],
    "cpu": "512",
    "memory": "1024",
    "tags": [{"key": "team", "value": "data"}],
    "pidMode": "task",
    "ipcMode": "none",
    "proxyConfiguration": {"containerName": "envoy"},
    "inferenceAccelerators": [{"deviceName": "d", "deviceType": "eia2.medium"}],
    "cluster": "12345",
    "count": 1,
    "group": "etl",
    "placementStrategy": [{"type": "random"}],
    "platformVersion": "1.4",
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    "enableECSManagedTags": True,
    "propagateTags": "TASK_DEFINITION",
}
FIELDS: dict[str, Any] = {
    "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch", "readOnly": False}],
    "secrets": [{"name": "KEY", "valueFrom": "arn:aws:ssm:::parameter/key"}],
    "environment": [{"name": "TZ", "value": "UTC"}],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "flows"}},
    "repositoryCredentials": {"credentialsParameter": "arn"},
}


def found(environ: dict[str, str], **kwargs: Any) -> dict[str, Any]:
    return fallbacks(kwargs, kwargs_model(), environ)


def refusal(environ: dict[str, str], **kwargs: Any) -> str:
    with pytest.raises(PermanentError) as error:
        found(environ, **kwargs)
    return str(error.value)


def test_every_variable_that_the_legacy_agent_knew_is_tried_here():
    assert {*VALUES, "startedBy"} == set(PARAMETERS)
    assert FIELDS.keys() == set(CONTAINER_FIELDS)


@pytest.mark.parametrize("write", [repr, json.dumps], ids=["Python literal", "JSON"])
@pytest.mark.parametrize("name", VALUES)
def test_a_parameter_is_read_from_its_bare_name(name: str, write: Any):
    value = VALUES[name]
    text = value if isinstance(value, str) else write(value)

    assert found({name: text}) == {name: value}


@pytest.mark.parametrize("write", [repr, json.dumps], ids=["Python literal", "JSON"])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_container_is_read_by_its_prefix(name: str, write: Any):
    assert found({f"containerDefinitions_{name}": write(FIELDS[name])}) == {
        "containerDefinitions": [{name: FIELDS[name]}]
    }


@pytest.mark.parametrize("name", ["family", "launchType", "overrides", "PATH", "CPU", "image"])
def test_no_other_variable_is_read(name: str):
    assert found({name: "1", f"containerDefinitions_{name}": "1"}) == {}


def test_settings_stand_above_the_environment():
    assert found({"cpu": "512", "memory": "1024"}, cpu="256") == {"memory": "1024"}


@pytest.mark.parametrize("empty", ["", None, [], {}, 0])
def test_an_empty_setting_is_none(empty: Any):
    assert found({"cluster": "etl"}, cluster=empty) == {"cluster": "etl"}


def test_an_empty_variable_is_none():
    assert found({"cpu": "", "containerDefinitions_environment": ""}) == {}


def test_fields_from_the_environment_join_the_container_of_the_settings():
    given = {"image": "etl:1", "environment": [{"name": "A", "value": "1"}], "secrets": []}
    environ = {f"containerDefinitions_{name}": repr(value) for name, value in FIELDS.items()}

    (container,) = found(environ, containerDefinitions=[given])["containerDefinitions"]

    assert container == {**FIELDS, "image": "etl:1", "environment": given["environment"]}


def test_the_settings_own_mapping_stays_as_it_is():
    given = {"containerDefinitions": [{"image": "etl:1"}]}

    fallbacks(given, kwargs_model(), {"containerDefinitions_environment": "[]", "cpu": "512"})

    assert given == {"containerDefinitions": [{"image": "etl:1"}]}


@pytest.mark.parametrize("containers", [[], [{}, {}], "x", None])
def test_containers_that_are_not_one_are_left_for_the_settings_to_refuse(containers: Any):
    environ = {"cpu": "512", "containerDefinitions_environment": "[]"}

    assert found(environ, containerDefinitions=containers) == {"cpu": "512"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "3"),
        ("startedBy", "me"),
        ("volumes", "scratch"),
        ("containerDefinitions_environment", "[{'name': 'A', 'value': ['hunter2']}]"),
        ("containerDefinitions_environment", "[{'value': 'hunter2'}]"),
    ],
)
def test_a_variable_of_no_use_is_refused_by_name_without_its_value(name: str, text: str):
    message = refusal({name: text})

    assert re.match(rf"environment variable:? {name}: ", message)
    assert "hunter2" not in message


def test_a_stray_count_starts_no_three_tasks_and_a_count_of_one_is_no_harm(tmp_path: Any):
    path = tmp_path / "agent.toml"
    path.write_text(PREFECT_1)

    with pytest.raises(ConfigError, match=r"^environment variable: count: the agent sets this"):
        load(path, {}, {"count": "3"})
    assert "count" not in split_kwargs(load(path, {}, {"count": "1"})).request


def test_the_settings_of_prefect_1_are_completed_from_the_environment(tmp_path: Any):
    path = tmp_path / "agent.toml"
    path.write_text(f"{PREFECT_1}[ecs.kwargs]\ncpu = 256\n")
    environ = {
        "cpu": "512",
        "cluster": "etl",
        "containerDefinitions_environment": '[{"name": "A", "value": "1"}]',
    }

    kwargs = split_kwargs(load(path, {}, environ))

    assert kwargs.definition == {"cpu": "256"}
    assert kwargs.request == {"cluster": "etl"}
    assert kwargs.container == {"environment": [{"name": "A", "value": "1"}]}


def test_with_prefect_3_the_environment_means_nothing(tmp_path: Any):
    path = tmp_path / "agent.toml"
    path.write_text("[prefect]\napi_url = 'https://h/api'\nwork_pool = 'p'\n")

    assert load(path, {}, {"cpu": "512", "count": "3"}).ecs.kwargs == {}


def test_what_the_environment_gives_is_named(tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "agent.toml"
    path.write_text(
        f"{PREFECT_1}[ecs.kwargs]\ncpu = 256\ncontainerDefinitions = [{{image = 'x'}}]\n"
    )

    load(path, {}, {"cpu": "512", "group": "users"})
    assert capsys.readouterr().err == f"{path}: ecs.kwargs: group: taken from the environment\n"

    load(path, {}, {"cpu": "512"})
    assert capsys.readouterr().err == ""
