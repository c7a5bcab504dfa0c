"""Kwargs as the legacy agent took them: Python literals, JSON, and text that stays text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from tests.support.aws import kwargs_model

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}}
GOOD = {"environment": {"name": "A"}, "secrets": {"name": "A", "valueFrom": "arn"}}
TEXT = st.text(max_size=20)
ENVIRONMENT = st.lists(
    st.fixed_dictionaries({"name": TEXT.filter(bool), "value": TEXT}), max_size=4
)


def parsed(**kwargs: Any) -> dict[str, Any]:
    return kwargs_model().parsed(kwargs)


def refusal(kwargs: dict[str, Any], **options: Any) -> str:
    with pytest.raises(PermanentError) as error:
        kwargs_model().split(kwargs, "the source", **options)
    return str(error.value)


@pytest.mark.parametrize("write", [repr, json.dumps], ids=["Python literal", "JSON"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("networkConfiguration", NETWORK),
        ("volumes", [{"name": "scratch", "host": {"sourcePath": "/mnt"}}]),
        ("enableECSManagedTags", True),
        ("enableExecuteCommand", False),
        ("ephemeralStorage", {"sizeInGiB": 50}),
        ("containerDefinitions", [{"image": "etl:1", "essential": True}]),
        ("tags", []),
    ],
)
def test_a_literal_is_what_it_says(write: Any, key: str, value: Any):
    assert parsed(**{key: write(value)}) == {key: value}


@pytest.mark.parametrize("text", [" [1] ", "\n[1]\n", "[1] # one", "(1,)"])
def test_a_literal_may_be_written_as_python_allows(text: str):
    assert list(parsed(volumes=text)["volumes"]) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "12345",
        "1.4",
        "True",
        "None",
        "[1]",
        "{}",
        "",
        "arn:aws:iam::123456789012:role/task",
        "o'clock",
        "'",
    ],
)
@pytest.mark.parametrize("key", ["cluster", "platformVersion", "family", "taskRoleArn", "group"])
def test_what_ecs_wants_as_text_stays_text(key: str, text: str):
    assert parsed(**{key: text}) == {key: text}


@pytest.mark.parametrize("text", ["subnet-1", "__import__('os')", "[1", "{'a': x}", "1 + [", ""])
def test_what_is_no_literal_stays_as_it_is_and_is_refused_with_its_key(text: str):
    assert parsed(volumes=text) == {"volumes": text}
    assert refusal({"volumes": text}).startswith("the source: volumes: Invalid type for parameter")


def test_a_literal_of_an_absurd_depth_is_refused_and_harms_nobody():
    assert refusal({"volumes": "[" * 100_000}).startswith("the source: volumes: Invalid type")


@given(ENVIRONMENT)
def test_an_environment_survives_both_ways_of_writing(environment: list[dict[str, str]]):
    for write in (repr, json.dumps):
        read = parsed(containerDefinitions=[{"environment": write(environment)}])

        assert read == {"containerDefinitions": [{"environment": environment}]}


def test_json_escapes_mean_what_they_mean_in_json():
    text = r'[{"name": "FACE", "value": "\ud83d\ude00"}, {"name": "PATH", "value": "a\/b"}]'

    assert parsed(containerDefinitions=[{"environment": text}])["containerDefinitions"] == [
        {"environment": [{"name": "FACE", "value": "😀"}, {"name": "PATH", "value": "a/b"}]}
    ]


def test_fields_of_a_container_may_be_texts_too():
    container = {
        "environment": '[{"name": "A", "value": "[1]"}]',
        "cpu": "256",
        "essential": "False",
        "image": "123",
        "command": "['python', '-m', 'flow']",
    }

    assert parsed(containerDefinitions=[container])["containerDefinitions"] == [
        {
            "environment": [{"name": "A", "value": "[1]"}],
            "cpu": 256,
            "essential": False,
            "image": "123",
            "command": ["python", "-m", "flow"],
        }
    ]


def test_containers_and_their_fields_may_both_be_texts():
    inner = [{"environment": "[{'name': 'A', 'value': 'a'}]"}]

    assert parsed(containerDefinitions=repr(inner)) == {
        "containerDefinitions": [{"environment": [{"name": "A", "value": "a"}]}]
    }


@pytest.mark.parametrize("given", [256, "256"])
def test_a_size_becomes_the_text_that_ecs_wants(given: Any):
    assert parsed(cpu=given, memory=given) == {"cpu": "256", "memory": "256"}


def test_an_unknown_key_is_not_read_and_refused_by_name():
    assert parsed(subnets="[1]") == {"subnets": "[1]"}
    assert refusal({"subnets": "[1]"}).startswith("the source: subnets: not a parameter of")


# -- what says no more than the agent does ---------------------------------------------------------


@pytest.mark.parametrize("count", [1, "1"])
def test_a_count_of_one_says_nothing_new(count: Any):
    assert kwargs_model().split({"count": count, "cpu": 256}, "x").request == {}


@pytest.mark.parametrize("count", [0, 2, "3", True, "True", None, "one", [1]])
def test_any_other_count_is_refused(count: Any):
    assert refusal({"count": count}).startswith("the source: count: the agent sets this itself")


def test_a_task_definition_by_the_name_of_the_family_says_nothing_new():
    kwargs = kwargs_model().split({"family": "etl", "taskDefinition": "etl"}, "x")

    assert (kwargs.definition, kwargs.request) == ({"family": "etl"}, {})


@pytest.mark.parametrize(
    "kwargs", [{"taskDefinition": "etl"}, {"taskDefinition": "etl:7", "family": "etl"}]
)
def test_any_other_task_definition_is_refused(kwargs: dict[str, Any]):
    assert refusal(kwargs).startswith("the source: taskDefinition: the agent sets this itself")


# -- containers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("environment", {}),
        ("environment", {"value": "hunter2"}),
        ("environment", {"name": ""}),
        ("secrets", {"name": "", "valueFrom": "hunter2"}),
    ],
)
def test_an_entry_without_a_name_is_refused_by_its_place(key: str, entry: dict[str, str]):
    container = {key: [GOOD[key], entry]}

    message = f"the source: containerDefinitions: {key}[1] has no name. Add it."
    assert refusal({"containerDefinitions": [container]}) == message


def test_several_containers_stay_in_the_definition():
    containers = [{"name": "flow", "image": "etl:1"}, {"name": "log-router"}]

    kwargs = kwargs_model().split(
        {"containerDefinitions": repr(containers), "cluster": "etl"}, "x", several_containers=True
    )

    assert kwargs.definition == {"containerDefinitions": containers}
    assert kwargs.request == {"cluster": "etl"}
    assert kwargs.container == {}


def test_several_containers_may_be_none():
    assert kwargs_model().split({}, "x", several_containers=True).definition == {}


def test_several_containers_are_all_looked_at():
    containers = [{"name": "flow"}, {"environment": [{"value": "hunter2"}]}]

    message = refusal({"containerDefinitions": containers}, several_containers=True)

    assert message == "the source: containerDefinitions: environment[0] has no name. Add it."
    wrong = [{"name": "flow"}, {"imagee": "etl:1"}]
    assert "containerDefinitions[1]" in refusal(
        {"containerDefinitions": wrong}, several_containers=True
    )
