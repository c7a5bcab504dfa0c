from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import external_key
from fargate_agent.kwargs import AGENTS_OWN, Kwargs, did_you_mean
from tests.support.aws import kwargs_model

VALUES: dict[str, Any] = {
    "family": "etl",
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "cpu": "1024",
    "memory": "2048",
    "volumes": [{"name": "scratch"}],
    "ephemeralStorage": {"sizeInGiB": 50},
    "tags": [{"key": "team", "value": "data"}],
    "cluster": "flows",
    "launchType": "FARGATE",
    "enableExecuteCommand": True,
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    "propagateTags": "TASK_DEFINITION",
    "overrides": {"cpu": "512"},
    "containerDefinitions": [{"name": "flow", "image": "etl:1"}],
}


def split(kwargs: dict[str, Any]) -> Kwargs:
    return kwargs_model().split(kwargs, "the source")


def refusal(kwargs: dict[str, Any]) -> str:
    with pytest.raises(PermanentError) as error:
        split(kwargs)
    return str(error.value)


def test_each_key_goes_to_the_call_that_takes_it():
    assert split(
        {
            "taskRoleArn": "role",
            "cluster": "flows",
            "containerDefinitions": [{"image": "etl:1"}],
        }
    ) == Kwargs(
        definition={"taskRoleArn": "role"},
        request={"cluster": "flows"},
        container={"image": "etl:1"},
    )


def test_a_key_of_both_calls_goes_to_both():
    tags = [{"key": "team", "value": "data"}]

    assert split({"tags": tags}) == Kwargs(definition={"tags": tags}, request={"tags": tags})


@given(st.sets(st.sampled_from(sorted(VALUES))))
def test_splitting_loses_no_key_and_changes_no_value(keys: set[str]):
    found = split({key: VALUES[key] for key in keys})

    together = {**found.definition, **found.request}
    if found.container:
        together["containerDefinitions"] = [found.container]
    assert together == {key: VALUES[key] for key in keys}


@pytest.mark.parametrize("key", ["cpu", "memory"])
def test_a_whole_number_becomes_the_text_that_ecs_wants(key: str):
    assert split({key: 1024}).definition == {key: "1024"}


def test_splitting_leaves_the_users_mapping_alone():
    kwargs = {"cpu": 1024, "containerDefinitions": [{"image": "etl:1"}]}

    split(kwargs)

    assert kwargs == {"cpu": 1024, "containerDefinitions": [{"image": "etl:1"}]}


@pytest.mark.parametrize("cpu", [True, 0.5, None, [1024]])
def test_a_size_of_another_type_is_refused(cpu: Any):
    message = refusal({"cpu": cpu})

    assert message.startswith("the source: cpu: ")
    assert "Invalid type for parameter cpu, type: " in message


def test_an_unknown_key_names_the_nearest_known_one():
    assert refusal({"taskRolArn": "x"}) == (
        "the source: taskRolArn: not a parameter of register_task_definition or run_task. "
        "Did you mean 'taskRoleArn'?"
    )


def test_an_unknown_key_that_resembles_none_is_to_be_removed():
    assert refusal({"zzz": 1}).endswith("Remove it, or correct its name.")


@pytest.mark.parametrize("key", sorted(AGENTS_OWN))
def test_a_key_that_the_agent_sets_itself_is_refused(key: str):
    assert refusal({key: "x"}) == (
        f"the source: {key}: the agent sets this itself, so that no run is started twice. "
        "Remove it."
    )


def test_a_misspelt_key_is_never_likened_to_one_that_the_agent_sets_itself():
    assert "clientToken" not in refusal({"clientTokn": "x"})


def test_an_unknown_key_deep_inside_is_named_with_its_place():
    message = refusal({"containerDefinitions": [{"imagee": "etl:1"}]})

    assert message.startswith("the source: containerDefinitions: ")
    assert 'Unknown parameter in containerDefinitions[0]: "imagee"' in message


def test_a_wrong_value_is_named_by_place_and_type_and_never_shown():
    message = refusal(
        {"containerDefinitions": [{"environment": [{"name": "KEY", "value": ["hunter2"]}]}]}
    )

    assert "containerDefinitions[0].environment[0].value, type: <class 'list'>" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("count", [0, 2])
def test_there_must_be_exactly_one_container_definition(count: int):
    message = refusal({"containerDefinitions": [{"image": "etl:1"}] * count})

    assert f"the source: containerDefinitions: holds {count} definitions" in message
    assert "exactly one" in message


def test_a_suggestion_is_made_for_what_is_close_and_for_nothing_else():
    assert did_you_mean("clutser", ["cluster", "family"]) == "Did you mean 'cluster'?"
    assert did_you_mean("zone", ["cluster", "family"]) == "Remove it, or correct its name."


@pytest.mark.parametrize(
    ("prefix", "flow_name", "key"),
    [
        ("kwargs", "Load orders", "kwargs/load-orders/b1d2f3a4.json"),
        ("", "Load orders", "load-orders/b1d2f3a4.json"),
        ("/team/kwargs/", "load_orders", "team/kwargs/load-orders/b1d2f3a4.json"),
        ("kwargs", "Überweisung & Söhne", "kwargs/uberweisung-sohne/b1d2f3a4.json"),
        ("kwargs", "!!!", "kwargs/b1d2f3a4.json"),
    ],
)
def test_a_flows_file_is_named_by_prefix_slug_and_start_of_its_id(
    prefix: str, flow_name: str, key: str
):
    assert external_key(prefix, flow_name, "b1d2f3a4-0000-4000-8000-000000000001") == key
