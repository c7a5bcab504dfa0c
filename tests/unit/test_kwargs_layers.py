"""Kwargs laid over each other, and checked before ECS is asked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, stacked
from tests.support.aws import kwargs_model
from tests.support.rendering import rendered

NAMES = st.sampled_from(["A", "B", "C"])
PLAIN = st.lists(st.fixed_dictionaries({"name": NAMES, "value": st.text(max_size=2)}), max_size=3)
SECRET = st.lists(
    st.fixed_dictionaries({"name": NAMES, "valueFrom": st.text(max_size=2)}), max_size=3
)
CONTAINERS = st.fixed_dictionaries({}, optional={"environment": PLAIN, "secrets": SECRET})


def container(**fields: Any) -> Kwargs:
    return Kwargs(container=fields)


def plain(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def secret(**arns: str) -> list[dict[str, str]]:
    return [{"name": name, "valueFrom": arn} for name, arn in arns.items()]


# -- stacked ---------------------------------------------------------------------------------------


def test_nothing_stacked_is_nothing():
    assert stacked() == stacked(Kwargs(), Kwargs()) == Kwargs()


def test_a_key_replaces_the_whole_value_below_it_and_variables_merge_by_name():
    weak = Kwargs(
        definition={"cpu": "1", "volumes": [{"name": "a"}]},
        request={"cluster": "a"},
        container={"image": "a", "user": "a", "environment": plain(A="weak", B="weak")},
    )
    strong = Kwargs(
        definition={"volumes": [{"name": "b"}]},
        request={"group": "b"},
        container={"image": "b", "environment": plain(B="strong", C="strong")},
    )

    assert stacked(weak, strong) == Kwargs(
        definition={"cpu": "1", "volumes": [{"name": "b"}]},
        request={"cluster": "a", "group": "b"},
        container={
            "image": "b",
            "user": "a",
            "environment": plain(A="weak", B="strong", C="strong"),
        },
    )


def test_a_secret_takes_the_place_of_a_weaker_variable_and_the_other_way_round():
    weak = container(environment=plain(A="weak"), secrets=secret(B="arn:weak"))
    strong = container(environment=plain(B="strong"), secrets=secret(A="arn:strong"))

    assert stacked(weak, strong).container == {
        "environment": plain(B="strong"),
        "secrets": secret(A="arn:strong"),
    }


def test_no_list_is_left_empty():
    weak, strong = container(environment=plain(A="x")), container(secrets=secret(A="arn"))

    assert stacked(weak, strong).container == {"secrets": secret(A="arn")}
    assert stacked(container(environment=[], secrets=[])).container == {}


@given(st.lists(CONTAINERS, max_size=4))
def test_a_name_stands_once_and_as_the_strongest_layer_has_it(layers: list[dict[str, Any]]):
    found = stacked(*(Kwargs(container=layer) for layer in layers)).container

    entries = found.get("environment", []) + found.get("secrets", [])
    names = [entry["name"] for entry in entries]
    given_entries = [
        entry
        for layer in layers
        for kind in ("environment", "secrets")
        for entry in layer.get(kind, [])
    ]
    last = {entry["name"]: entry for entry in given_entries}
    assert sorted(names) == sorted(last)
    assert all(entry == last[entry["name"]] for entry in entries)


# -- checked ---------------------------------------------------------------------------------------


def refusal(definition: Any, request: Any = None) -> str:
    with pytest.raises(PermanentError) as error:
        kwargs_model().check(definition, request or {})
    return str(error.value)


def definition(*containers: Any, **fields: Any) -> dict[str, Any]:
    return {"family": "etl", "containerDefinitions": [*containers], **fields}


FLOW = {"name": "prefect", "image": "etl:1"}


def test_what_is_rendered_passes():
    launch = rendered()

    kwargs_model().check(launch.definition, launch.request)
    kwargs_model().check(None, launch.request)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (definition(FLOW, cpu=512), "cpu"),
        (definition(FLOW, colour="red"), "colour"),
        (definition({**FLOW, "cpu": "512"}), "containerDefinitions[0].cpu"),
        (definition({**FLOW, "ulimits": [{"name": "nofile"}]}), "softLimit"),
        (definition(FLOW, volumes=[{"efsVolumeConfiguration": {}}]), "fileSystemId"),
    ],
)
def test_what_ecs_would_refuse_in_a_definition_is_refused_by_its_place(wrong: Any, place: str):
    assert place in refusal(wrong)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"launchtype": "EC2"}, "launchtype"),
        ({"cluster": 5}, "cluster"),
        ({"tags": [{"key": "a", "value": 5}]}, "tags[0].value"),
        ({"networkConfiguration": {"awsvpcConfiguration": {}}}, "subnets"),
    ],
)
def test_what_ecs_would_refuse_in_a_request_is_refused_by_its_place(wrong: Any, place: str):
    assert place in refusal(definition(FLOW), wrong)
    assert place in refusal(None, wrong)


@pytest.mark.parametrize("empty", [{}, {"image": ""}, {"image": None}])
def test_a_container_without_an_image_is_named_by_its_place(empty: Any):
    found = refusal(definition(FLOW, {"name": "proxy", **empty}))

    assert "containerDefinitions[1]" in found
    assert "image" in found


def test_a_container_without_a_name_is_named_by_its_place():
    assert "containerDefinitions[1] has no name" in refusal(definition(FLOW, {"image": "i"}))


def test_a_refusal_shows_no_value():
    environment = [{"name": "TOKEN", "value": ["canary"]}]
    found = refusal(definition({**FLOW, "environment": environment}))

    assert "environment[0].value" in found
    assert "canary" not in found


def test_customised_templates_pass():
    whole = definition(
        {
            **FLOW,
            "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
            "resourceRequirements": [{"type": "GPU", "value": "1"}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": False}],
        },
        {"name": "proxy", "image": "proxy:1", "essential": False},
        volumes=[{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
        runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
    )

    kwargs_model().check(whole, {"cluster": "etl"})
    launch = rendered({"task_definition": whole})
    kwargs_model().check(launch.definition, launch.request)
    flow, proxy = launch.definition["containerDefinitions"]
    assert (flow, proxy) == tuple(whole["containerDefinitions"])
    assert launch.definition["volumes"] == whole["volumes"]
    assert launch.definition["runtimePlatform"] == whole["runtimePlatform"]
