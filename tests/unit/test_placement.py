from typing import Any

import pytest

from fargate_agent.placement import CPU, MEMORY, asked_launch, place, without_needless_network

SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
MIXED = [{"capacityProvider": "FARGATE", "base": 1}, {"capacityProvider": "FARGATE_SPOT"}]
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


def test_fargate_gets_a_network_mode_a_compatibility_and_a_size():
    assert place({}, {}, "FARGATE") == (
        {
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": CPU,
            "memory": MEMORY,
        },
        {"launchType": "FARGATE"},
    )


def test_fargate_spot_is_a_capacity_provider_of_the_same_definition():
    definition, request = place({}, {}, "FARGATE_SPOT")

    assert definition == place({}, {}, "FARGATE")[0]
    assert request == {"capacityProviderStrategy": SPOT}


@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL"])
def test_instances_need_no_size(launch_type: str):
    assert place({}, {}, launch_type) == (
        {"networkMode": "awsvpc", "requiresCompatibilities": [launch_type]},
        {"launchType": launch_type},
    )


def test_an_empty_launch_type_leaves_the_choice_to_the_cluster():
    sized = {"networkMode": "awsvpc", "cpu": "1024", "memory": "2048"}
    assert place({}, {}, "") == (sized, {})


@pytest.mark.parametrize("launch_type", ["FARGATE", "FARGATE_SPOT", "EC2", "EXTERNAL", ""])
def test_what_the_definition_names_itself_stays(launch_type: str):
    named = {
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2", "FARGATE"],
        "cpu": "256",
        "memory": "512",
        "family": "etl",
    }

    assert place(named, {}, launch_type)[0] == named


def test_a_definition_for_both_gets_the_size_that_fargate_needs():
    definition, _ = place({"requiresCompatibilities": ["EC2", "FARGATE"]}, {}, "EC2")

    assert (definition["cpu"], definition["memory"]) == (CPU, MEMORY)


@pytest.mark.parametrize("empty", [None, "", 0])
def test_an_empty_size_is_none(empty: Any):
    definition, _ = place({"cpu": empty, "memory": empty}, {}, "FARGATE")

    assert (definition["cpu"], definition["memory"]) == (CPU, MEMORY)


def test_a_number_becomes_the_text_that_ecs_wants():
    assert place({"cpu": 256, "memory": 512}, {}, "FARGATE")[0].items() >= {
        ("cpu", "256"),
        ("memory", "512"),
    }


@pytest.mark.parametrize("asked", ["EC2", "FARGATE", "FARGATE_SPOT"])
def test_a_request_chooses_for_itself(asked: str):
    definition, request = place({}, {"launchType": asked}, "EXTERNAL")

    assert (definition, request) == place({}, {}, asked)


def test_a_strategy_and_a_launch_type_are_never_both_sent():
    both = {"capacityProviderStrategy": MIXED, "launchType": "FARGATE", "cluster": "etl"}

    assert asked_launch(both, "EC2") == {"capacityProviderStrategy": MIXED, "cluster": "etl"}


@pytest.mark.parametrize("empty", [None, []])
def test_an_empty_strategy_chooses_nothing(empty: Any):
    assert asked_launch({"capacityProviderStrategy": empty}, "EC2") == {"launchType": "EC2"}


def test_a_strategy_of_fargates_runs_a_definition_for_fargate_whatever_the_settings_say():
    definition, _ = place({}, {"capacityProviderStrategy": MIXED}, "EC2")

    assert definition["requiresCompatibilities"] == ["FARGATE"]
    assert (definition["cpu"], definition["memory"]) == (CPU, MEMORY)


def test_what_is_given_stays_as_it_is():
    definition: dict[str, Any] = {}
    request = {"launchType": "FARGATE_SPOT", "capacityProviderStrategy": []}

    place(definition, request, "FARGATE")

    assert (definition, request) == (
        {},
        {"launchType": "FARGATE_SPOT", "capacityProviderStrategy": []},
    )


# -- the network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bridge", "host", "none"])
def test_the_stacks_network_is_left_out_where_ecs_takes_none(mode: str):
    request = {"networkConfiguration": NETWORK, "cluster": "etl"}

    assert without_needless_network({"networkMode": mode}, request, NETWORK) == {"cluster": "etl"}


@pytest.mark.parametrize(
    ("definition", "made"),
    [
        pytest.param({"networkMode": "awsvpc"}, NETWORK, id="it is needed"),
        pytest.param({}, NETWORK, id="it is needed by default"),
        pytest.param({"networkMode": "bridge"}, None, id="the stack made none"),
        pytest.param({"networkMode": "bridge"}, {"awsvpcConfiguration": {}}, id="the user's own"),
    ],
)
def test_any_other_network_stays(definition: Any, made: Any):
    request = {"networkConfiguration": NETWORK}

    assert without_needless_network(definition, request, made) == request


def test_where_there_is_no_network_there_is_none_to_leave_out():
    assert without_needless_network({"networkMode": "host"}, {}, NETWORK) == {}
