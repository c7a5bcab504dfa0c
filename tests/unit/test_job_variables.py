"""Job variables of a deployment and of a run, merged as Prefect's server and clients merge them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.profiles.work_pool.job_template import merge_variables

NAMES = st.sampled_from(["A", "B", "C", "é"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
ENV = st.dictionaries(NAMES, SCALARS, max_size=3)
LAYERS = st.lists(
    st.dictionaries(st.sampled_from(["cpu", "image"]), SCALARS)
    | st.fixed_dictionaries({"env": ENV}),
    max_size=3,
)


def test_env_merges_by_name_and_all_else_is_replaced_whole():
    merged = merge_variables(
        {"env": {"A": "1", "B": "1"}, "labels": {"a": "1"}},
        {"env": {"B": "2"}, "labels": {"b": "2"}},
        {"env": {"C": "3"}},
    )

    assert merged == {"env": {"A": "1", "B": "2", "C": "3"}, "labels": {"b": "2"}}


@pytest.mark.parametrize("layer", [{"env": None}, {"env": {}}, {}])
def test_an_absent_env_takes_nothing_away(layer: dict[str, Any]):
    assert merge_variables({"env": {"A": "1"}}, layer) == {"env": {"A": "1"}}


def test_null_takes_a_variable_of_the_environment_away():
    assert merge_variables({"env": {"A": "1"}}, {"env": {"A": None}}) == {"env": {"A": None}}


def test_null_stands_above_a_weaker_layer():
    assert merge_variables({"cpu": 512}, {"cpu": None}) == {"cpu": None}


@given(LAYERS)
def test_the_strongest_layer_that_names_a_variable_decides_it(layers: list[dict[str, Any]]):
    merged = merge_variables(*layers)

    plain = {key: value for layer in layers for key, value in layer.items() if key != "env"}
    env = {name: v for layer in layers for name, v in layer.get("env", {}).items()}
    assert {key: value for key, value in merged.items() if key != "env"} == plain
    assert merged.get("env", {}) == env


@given(LAYERS)
def test_merging_changes_none_of_the_layers(layers: list[dict[str, Any]]):
    before = repr(layers)

    merge_variables(*layers)["env"] = "changed"

    assert repr(layers) == before


def test_what_is_merged_is_not_the_layers_own():
    layer = {"labels": {"a": ["x"]}, "env.A": "1", "env": {"B": "2"}}

    merged = merge_variables(layer)
    merged["labels"]["a"].append("y")
    merged["env"]["C"] = "3"

    assert layer == {"labels": {"a": ["x"]}, "env.A": "1", "env": {"B": "2"}}


# -- dotted names ----------------------------------------------------------------------------------


def test_a_dotted_variable_is_nested_and_what_is_nested_already_stands_above_it():
    merged = merge_variables({"env.A": "dotted", "env.B": "dotted", "env": {"B": "nested"}})

    assert merged == {"env": {"A": "dotted", "B": "nested"}}


def test_a_runs_dotted_variable_stands_above_the_deployments_table():
    assert merge_variables({"env": {"A": "deployment"}}, {"env.A": "run"}) == {"env": {"A": "run"}}


def test_a_deployments_dotted_variable_stands_under_the_runs_table():
    assert merge_variables({"env.A": "deployment"}, {"env": {"A": "run"}}) == {"env": {"A": "run"}}


def test_of_two_dotted_variables_of_one_name_the_runs_stands():
    assert merge_variables({"env.A": "deployment"}, {"env.A": "run"}) == {"env": {"A": "run"}}


def test_a_dotted_name_leads_as_deep_as_it_says():
    merged = merge_variables({"a.b.c": 1, "a": {"b": {"d": 2}, "e": 3}})

    assert merged == {"a": {"b": {"c": 1, "d": 2}, "e": 3}}


def test_a_dotted_name_into_what_is_no_table_is_refused_by_its_name():
    with pytest.raises(PermanentError, match=r"'a\.b\.c' leads into another, 'b',"):
        merge_variables({"a.b": 1, "a.b.c": 2})


def test_a_value_that_is_no_table_takes_a_weaker_dotted_variables_place():
    assert merge_variables({"labels.a": "1", "labels": None}) == {"labels": None}
