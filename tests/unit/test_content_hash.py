from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fargate_agent.task_definitions import content_hash

DEFINITION: dict[str, Any] = {
    "family": "etl",
    "cpu": "1024",
    "containerDefinitions": [{"name": "prefect", "image": "etl:1"}],
    "tags": [{"key": "team", "value": "data"}],
}
NAMED = st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=5)


def definition(env: Any = (), secrets: Any = (), tags: Any = (), **changes: Any) -> dict[str, Any]:
    container = {
        "name": "prefect",
        "environment": [{"name": name, "value": value} for name, value in env],
        "secrets": [{"name": name, "valueFrom": value} for name, value in secrets],
    }
    return {
        "family": "etl",
        "containerDefinitions": [container],
        "tags": [{"key": key, "value": value} for key, value in tags],
        **changes,
    }


@given(NAMED, NAMED, NAMED, st.randoms(use_true_random=False))
def test_the_order_of_variables_secrets_and_tags_means_nothing(
    env: dict[str, str], secrets: dict[str, str], tags: dict[str, str], random: Any
):
    lists = [list(named.items()) for named in (env, secrets, tags)]
    shuffled = [random.sample(items, len(items)) for items in lists]

    assert content_hash(definition(*shuffled)) == content_hash(definition(*lists))


def test_the_order_of_keys_means_nothing():
    assert content_hash(dict(reversed(DEFINITION.items()))) == content_hash(DEFINITION)


@given(NAMED, NAMED, st.sampled_from(["env", "secrets", "tags"]))
def test_two_sets_of_values_have_two_hashes(one: dict[str, str], other: dict[str, str], place: str):
    assume(one != other)

    made = [content_hash(definition(**{place: named.items()})) for named in (one, other)]

    assert made[0] != made[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "other"},
        {"cpu": "2048"},
        {"memory": "2048"},
        {"tags": []},
        {"containerDefinitions": [{"name": "prefect", "image": "etl:2"}]},
        {"containerDefinitions": [*DEFINITION["containerDefinitions"], {"name": "proxy"}]},
    ],
)
def test_any_change_of_content_changes_the_hash(changes: dict[str, Any]):
    assert content_hash({**DEFINITION, **changes}) != content_hash(DEFINITION)


def test_the_order_of_a_command_and_of_containers_has_a_meaning():
    assert content_hash({"command": ["a", "b"]}) != content_hash({"command": ["b", "a"]})
    assert content_hash({"c": [{"name": "a"}, {"name": "b"}]}) != content_hash(
        {"c": [{"name": "b"}, {"name": "a"}]}
    )
