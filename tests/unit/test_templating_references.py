"""Blocks and variables that a template refers to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.templating import references_in, resolve
from tests.support.references import FakeReferences

BLOCKS = {
    "secret/token": {"value": "s3cret"},
    "json/config": {"value": {"key": {"nested-key": "found"}, "list": [{"a": 1}], "value": 7}},
    "secret/nothing": {"value": None},
    "aws-credentials/prod": {"region_name": "eu-west-1", "value": "no system block"},
    "text/empty": {},
    "secret/nested": {"value": "{{ prefect.variables.region }}"},
    "secret/again": {"value": "{{ prefect.blocks.secret.token }}"},
}
DOCUMENTS = {"id-1": {"region_name": "eu-west-1", "deep": ["{{ prefect.variables.region }}"]}}
VARIABLES = {
    "region": "eu-west-1",
    "size": 512,
    "table": {"a": [1]},
    "null": None,
    "off": False,
    "again": "{{ prefect.variables.region }}",
}


def resolved(template: Any) -> Any:
    return resolve(template, FakeReferences(BLOCKS, DOCUMENTS, VARIABLES))


def refusal(template: Any) -> str:
    with pytest.raises(PermanentError) as error:
        resolved(template)
    return str(error.value)


# -- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("secret.token", "s3cret"),
        ("secret.token.value", "s3cret"),
        ("secret.nothing", None),
        ("json.config.key", {"nested-key": "found"}),
        ("json.config.value.key.nested-key", "found"),
        ("json.config.list[0].a", 1),
        ("json.config.value.value", 7),
        ("aws-credentials.prod", BLOCKS["aws-credentials/prod"]),
        ("aws-credentials.prod.value", "no system block"),
        ("aws-credentials.prod.region_name", "eu-west-1"),
        ("text.empty", {}),
    ],
)
def test_a_block_is_all_of_it_or_its_only_value_or_an_attribute(path: str, value: Any):
    assert resolved({"x": [f"{{{{ prefect.blocks.{path} }}}}"]}) == {"x": [value]}


def test_a_block_within_text_becomes_text():
    template = "{{ prefect.blocks.secret.token }}/{{ prefect.blocks.json.config.list[0].a }}"

    assert resolved(template) == "s3cret/1"


@pytest.mark.parametrize(
    ("path", "kind"), [("json.config.key", "dict"), ("json.config.list", "list")]
)
def test_a_table_cannot_stand_within_text(path: str, kind: str):
    found = refusal(f"<{{{{ prefect.blocks.{path} }}}}>")

    assert found.startswith(f"The placeholder '{{{{ prefect.blocks.{path} }}}}' is a {kind}, which")


def test_a_block_without_a_name_is_refused():
    assert "prefect.blocks.secret }}' names no block" in refusal("{{ prefect.blocks.secret }}")


@pytest.mark.parametrize("path", ["json.config.other", "secret.token.key", "secret.token.valued"])
def test_an_attribute_that_the_block_lacks_is_refused_without_what_it_holds(path: str):
    found = refusal(f"{{{{ prefect.blocks.{path} }}}}")

    assert "which the block does not have" in found
    assert "s3cret" not in found


def test_a_block_that_does_not_exist_is_refused():
    with pytest.raises(PermanentError, match="secret/gone"):
        resolved("{{ prefect.blocks.secret.gone }}")


def test_a_block_may_be_referred_to_by_its_id():
    assert resolved({"aws": {"$ref": {"block_document_id": "id-1"}}})["aws"] == {
        "region_name": "eu-west-1",
        "deep": ["eu-west-1"],
    }


@pytest.mark.parametrize(
    "plain", [{"$ref": "x"}, {"$ref": {}}, {"$ref": {"block_document_id": None}}, {"$ref": None}]
)
def test_what_only_looks_like_a_reference_stays(plain: Any):
    assert resolved({"a": plain}) == {"a": plain}


def test_what_a_block_holds_may_name_a_variable_and_no_further_block():
    assert resolved("{{ prefect.blocks.secret.nested }}") == "eu-west-1"
    again = "{{ prefect.blocks.secret.token }}"
    assert resolved("{{ prefect.blocks.secret.again }}") == again


def test_what_is_resolved_may_be_changed_without_changing_the_block():
    blocks = {"json/x": {"value": {"a": [1]}}}

    resolve("{{ prefect.blocks.json.x }}", FakeReferences(blocks))["a"].append(2)

    assert blocks == {"json/x": {"value": {"a": [1]}}}


# -- variables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["region", "size", "table", "null", "off"])
def test_a_variable_alone_is_of_any_type(name: str):
    assert resolved({"x": f"{{{{ prefect.variables.{name} }}}}"}) == {"x": VARIABLES[name]}


def test_a_variable_within_text_becomes_text():
    assert (
        resolved("{{ prefect.variables.region }}-{{ prefect.variables.size }}") == "eu-west-1-512"
    )


def test_a_variable_that_does_not_exist_is_empty():
    template = {"a": "{{ prefect.variables.gone }}", "b": "<{{ prefect.variables.gone }}>"}

    assert resolved(template) == {"a": "", "b": "<>"}


def test_a_variable_in_a_variable_stays_as_it_is():
    assert resolved("{{ prefect.variables.again }}") == "{{ prefect.variables.region }}"


def test_a_variable_that_is_changed_afterwards_is_the_callers_own():
    variables = {"table": {"a": [1]}}
    references = FakeReferences(variables=variables)

    resolve("{{ prefect.variables.table }}", references)["a"].append(2)

    assert variables == {"table": {"a": [1]}}


# -- what is referred to ---------------------------------------------------------------------------


def test_references_are_named_once_wherever_they_stand():
    template = {
        "env": {"A": "{{ prefect.blocks.secret.token }}/{{ prefect.blocks.secret.token.value }}"},
        "list": [{"x": "{{ prefect.variables.a.b }}"}, "{{prefect.blocks.json.config.list[0]}}"],
        "aws": {"$ref": {"block_document_id": "id-1"}, "other": "{{ prefect.variables.unread }}"},
        "plain": "{{ cpu }} {{ $HOME }} {{ ctx.flow.name }}",
    }

    assert references_in(template) == {
        "blocks.secret.token",
        "blocks.json.config",
        "block_documents.id-1",
        "variables.a.b",
    }


@pytest.mark.parametrize(
    "template", [None, 5, True, "", {}, [], "{{ prefect.blocks.secret }}", "{{ prefect.other }}"]
)
def test_what_refers_to_nothing_names_nothing(template: Any):
    assert references_in(template) == set()


SOME = st.sampled_from(
    [
        *(f"<{{{{ prefect.variables.{name} }}}}>" for name in VARIABLES),
        *(f"{{{{prefect.blocks.{name.replace('/', '.')}}}}}" for name in BLOCKS),
        *({"$ref": {"block_document_id": id}} for id in DOCUMENTS),
        "plain",
    ]
)


@given(
    st.recursive(SOME, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=2), x))
)
def test_all_that_is_asked_for_was_named_before(template: Any):
    references = FakeReferences(BLOCKS, DOCUMENTS, VARIABLES)

    resolve(template, references)

    named = references_in(template) | {"variables.region"}  # which some blocks name in turn
    asked = {name.replace("/", ".") for name in references.asked}
    assert asked <= {name.partition(".")[2] for name in named}
