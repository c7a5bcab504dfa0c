from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.work_pool import job_configuration, merge_variables


def template(job: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    properties = {name: {"default": default} for name, default in defaults.items()}
    return {"variables": {"properties": properties}, "job_configuration": job}


def test_a_stronger_layer_replaces_a_weaker_one():
    pool = template({"cpu": "{{ cpu }}", "memory": "{{ memory }}", "image": "{{ image }}"}, cpu=1)

    job = job_configuration(
        pool, {"cpu": 2, "memory": 2, "image": "deployment"}, {"image": "the run's"}
    )

    assert job == {"cpu": 2, "memory": 2, "image": "the run's"}


def test_a_default_stands_where_no_layer_says_otherwise():
    assert job_configuration(template({"cpu": "{{ cpu }}"}, cpu=512)) == {"cpu": 512}


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


def test_merging_changes_none_of_the_layers():
    weak, strong = {"env": {"A": "1"}}, {"env": {"B": "2"}}

    merge_variables(weak, strong)

    assert (weak, strong) == ({"env": {"A": "1"}}, {"env": {"B": "2"}})


def test_a_placeholder_alone_takes_a_value_of_any_type():
    job = job_configuration(
        template({"a": "{{ list }}", "b": "{{number}}", "c": " {{ mapping }} ", "d": "{{ off }}"}),
        {"list": ["x"], "number": 5, "mapping": {"k": "v"}, "off": False},
    )

    assert job == {"a": ["x"], "b": 5, "c": {"k": "v"}, "d": False}


def test_placeholders_within_text_become_text():
    job = job_configuration(
        template({"family": "{{ pool }}-{{ number }}-{{ none }}!"}), {"pool": "p", "number": 5}
    )

    assert job == {"family": "p-5-!"}


def test_a_placeholder_without_a_value_drops_its_key_at_any_depth():
    job = job_configuration(
        template({"x": "{{ x }}", "in": {"y": "{{ y }}", "kept": 1}, "list": ["{{ z }}", "kept"]})
    )

    assert job == {"in": {"kept": 1}, "list": ["kept"]}


def test_what_is_no_placeholder_stays_as_it_is():
    plain = {"a": 1, "b": None, "c": True, "d": "text {x}", "e": [1.5, {"f": "g"}]}

    assert job_configuration(template(plain)) == plain


def test_a_template_without_variables_or_job_gives_an_empty_job():
    assert job_configuration({}) == {}


@pytest.mark.parametrize(
    "name", ["prefect.blocks.secret.key", "prefect.variables.region", "$HOME", "ctx.flow.name"]
)
def test_a_template_that_asks_for_more_than_job_variables_is_refused(name: str):
    with pytest.raises(PermanentError) as refusal:
        job_configuration(template({"env": {"A": f"{{{{ {name} }}}}"}}))

    assert f"base job template refers to '{{{{ {name} }}}}'" in str(refusal.value)
    assert "write the value into the template or a job variable" in str(refusal.value)


@pytest.mark.parametrize(
    "value", [{"$ref": {"block_document_id": "1"}}, {"deep": [{"$ref": {}}]}, [[{"$ref": 1}]]]
)
def test_a_variable_that_holds_a_block_is_refused_by_name(value: Any):
    with pytest.raises(PermanentError, match=r"^The job variable 'credentials' refers to a block"):
        job_configuration(template({}), {"credentials": value})


@pytest.mark.parametrize(
    "found", ["{{ prefect.blocks.secret.key }}", "{{prefect.variables.b}}", "{{ $B }}"]
)
def test_a_variable_that_refers_to_prefect_is_refused_by_name_and_without_its_value(found: str):
    with pytest.raises(PermanentError) as refusal:
        job_configuration(template({}), {"env": {"A": f"postgres://u:canary@{found}/db"}})

    assert str(refusal.value).startswith(f"The job variable 'env.A' refers to '{found}'")
    assert "canary" not in str(refusal.value)


def test_a_default_that_refers_to_a_block_is_refused_too():
    with pytest.raises(PermanentError, match="'credentials' refers to a block"):
        job_configuration(template({}, credentials={"$ref": {}}))


def test_variables_add_to_an_environment_written_out_in_the_template():
    job = job_configuration(
        template({"env": {"A": "template", "B": "template"}}, env={"B": "pool"}),
        {"env": {"C": "deployment"}},
    )

    assert job["env"] == {"A": "template", "B": "pool", "C": "deployment"}


def test_a_dotted_variable_is_nested_and_what_is_nested_already_stands_above_it():
    job = job_configuration(
        template({"env": "{{ env }}", "cpu": "{{ cpu }}"}),
        {"env.A": "dotted", "env.B": "dotted", "env": {"B": "nested"}, "cpu": 5},
    )

    assert job == {"env": {"A": "dotted", "B": "nested"}, "cpu": 5}


def test_a_block_in_the_template_itself_is_refused():
    with pytest.raises(PermanentError, match="base job template refers to a block"):
        job_configuration(template({"aws_credentials": {"$ref": {"block_document_id": "1"}}}))
