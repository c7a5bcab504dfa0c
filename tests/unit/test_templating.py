"""Placeholders, filled in as Prefect's workers do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.templating import MISSING, fill, reach

VALUES = {
    "text": "x",
    "number": 5,
    "off": False,
    "null": None,
    "list": ["a", {"b": "c"}],
    "mapping": {"k": {"deep": [1, 2]}},
    "inner": "{{ text }}",
}
PLAIN = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="{"))
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def filled(template: Any, environment: dict[str, str] | None = None) -> Any:
    return fill(template, VALUES, environment or {})


@pytest.mark.parametrize("name", ["text", "number", "off", "null", "list", "mapping"])
@pytest.mark.parametrize("written", ["{{{{ {} }}}}", "{{{{{}}}}}", "{{{{  {}\n}}}}"])
def test_a_placeholder_alone_takes_a_value_of_any_type(written: str, name: str):
    assert filled(written.format(name)) == VALUES[name]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ text }}-{{ number }}!", "x-5!"),
        ("{{ none }}-{{ number }}", "-5"),
        ("{{ text }}{{ text }}", "xx"),
        ("{{ off }},{{ null }}", "False,None"),
        (" {{ number }}", " 5"),
        ("{{ number }} ", "5 "),
        ("{{ mapping.k }}\n", "{'deep': [1, 2]}\n"),
        ("{{{ text }}}", "{x}"),
        ("{{ é }}{{ text }}", "x"),
    ],
)
def test_placeholders_within_text_become_text(template: str, text: str):
    assert filled(template) == text


@pytest.mark.parametrize(
    "text", ["{{ }}", "{{}}", "{ text }", "{{ text", "{{ text | upper }}", "{{ a b }}", "{{ a/b }}"]
)
def test_what_is_no_placeholder_stays(text: str):
    assert filled(text) == text


@given(JSON)
def test_what_holds_no_placeholder_comes_out_as_it_went_in(template: Any):
    assert filled(template) == template


def test_a_placeholder_without_a_value_drops_its_key_or_item_at_any_depth():
    template = {"x": "{{ none }}", "in": {"y": "{{ none }}"}, "list": ["{{ none }}", "kept", None]}

    assert filled(template) == {"in": {}, "list": ["kept", None]}


def test_a_placeholder_in_a_value_stays_as_it_is():
    assert filled({"alone": "{{ inner }}", "within": "<{{ inner }}>"}) == {
        "alone": "{{ text }}",
        "within": "<{{ text }}>",
    }


def test_a_placeholder_in_a_key_stays_as_it_is():
    assert filled({"{{ text }}": 1}) == {"{{ text }}": 1}


@pytest.mark.parametrize(
    "name",
    [
        "prefect.blocks.secret.token",
        "prefect.variables.region",
    ],
)
def test_what_prefect_holds_is_left_for_later(name: str):
    assert filled(f"{{{{ {name} }}}}") == f"{{{{ {name} }}}}"
    assert filled(f"{{{{ text }}}}/{{{{ {name} }}}}") == f"x/{{{{ {name} }}}}"


# -- the environment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ $HOME }}", "/root"),
        ("{{$HOME}}/x", "/root/x"),
        ("{{ $NONE }}", ""),
        ("<{{ $NONE }}>", "<>"),
        ("{{ $$HOME }}", "/root"),
        ("{{ HOME }}!", "!"),
    ],
)
def test_a_dollar_reads_the_agents_environment(template: str, text: str):
    assert filled(template, {"HOME": "/root"}) == text


def test_a_variable_that_is_not_set_is_empty_and_keeps_its_key():
    assert filled({"a": "{{ $NONE }}", "b": ["{{ $NONE }}"]}) == {"a": "", "b": [""]}


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("mapping.k.deep[1]", 2),
        ("mapping.k.deep.1", 2),
        ("list[1].b", "c"),
        ("list[-1].b", "c"),
        ("text[0]", "x"),
        ("null", None),
    ],
)
def test_a_path_reaches_into_values(path: str, found: Any):
    assert reach(VALUES, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "none",
        "none.k",
        "text.k",
        "number.k",
        "null.k",
        "list[9]",
        "list.b",
        "list[k]",
        "mapping.k.deep[1].x",
        "mapping[0]",
        "",
        ".",
        "--1",
        "list[--1]",
        "list[²]",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(path: str):
    assert reach(VALUES, path) is MISSING


@given(st.text("ab.[]-0129é$ ", max_size=12))
def test_no_path_is_an_error(path: str):
    reach(VALUES, path)
