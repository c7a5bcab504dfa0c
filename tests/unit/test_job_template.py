"""A work pool's base job template, filled in with the variables of a deployment and a run."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.profiles.work_pool.job_template import job_configuration
from tests.support.references import FakeReferences


def template(job: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    properties = {name: {"default": default} for name, default in defaults.items()}
    return {"variables": {"properties": properties}, "job_configuration": job}


def configured(
    pool: dict[str, Any],
    *layers: dict[str, Any],
    environment: dict[str, str] | None = None,
    **held: Any,
) -> dict[str, Any]:
    references = FakeReferences(**held)
    return job_configuration(pool, *layers, references=references, environment=environment or {})


def test_a_stronger_layer_replaces_a_weaker_one():
    pool = template({"cpu": "{{ cpu }}", "memory": "{{ memory }}", "image": "{{ image }}"}, cpu=1)

    job = configured(pool, {"cpu": 2, "memory": 2, "image": "deployment"}, {"image": "the run's"})

    assert job == {"cpu": 2, "memory": 2, "image": "the run's"}


def test_a_default_stands_where_no_layer_says_otherwise():
    assert configured(template({"cpu": "{{ cpu }}"}, cpu=512)) == {"cpu": 512}


@pytest.mark.parametrize("default", [0, False, "", [], {}])
def test_a_default_may_be_empty(default: Any):
    assert configured(template({"cpu": "{{ cpu }}"}, cpu=default)) == {"cpu": default}


def test_a_default_of_null_is_none():
    assert configured(template({"cpu": "{{ cpu }}", "x": 1}, cpu=None)) == {"x": 1}


def test_a_variable_without_a_default_has_none():
    pool = {
        "variables": {"properties": {"cpu": {"type": "integer"}}},
        "job_configuration": {"cpu": "{{ cpu }}"},
    }

    assert configured(pool) == {}


def test_null_in_a_job_variable_stands_above_a_default():
    assert configured(template({"cpu": "{{ cpu }}"}, cpu=512), {"cpu": None}) == {"cpu": None}


@pytest.mark.parametrize("variables", [None, {}, {"properties": None}, {"properties": {}}])
def test_a_template_may_have_no_variables_of_its_own(variables: Any):
    pool = {"variables": variables, "job_configuration": {"cpu": "{{ cpu }}"}}

    assert configured(pool, {"cpu": 1}) == {"cpu": 1}


def test_a_template_without_variables_or_job_gives_an_empty_job():
    assert configured({}) == {}


def test_filling_in_changes_neither_template_nor_variables():
    pool = template({"env": {"A": "template"}, "list": ["{{ cpu }}"]}, env={"B": "pool"})
    layer = {"env": {"C": "deployment"}, "cpu": 1, "env.D": "dotted"}
    before = repr((pool, layer))

    configured(pool, layer)

    assert repr((pool, layer)) == before


def test_a_filled_in_value_is_not_the_variables_own():
    tags = {"a": ["x"]}

    job = configured(template({"one": "{{ tags }}", "other": "{{ tags }}"}), {"tags": tags})
    job["one"]["a"].append("y")

    assert tags == {"a": ["x"]}


# -- the environment -------------------------------------------------------------------------------


def test_variables_add_to_an_environment_written_out_in_the_template():
    job = configured(
        template({"env": {"A": "template", "B": "template"}}, env={"B": "pool"}),
        {"env": {"C": "deployment"}},
    )

    assert job["env"] == {"A": "template", "B": "pool", "C": "deployment"}


def test_the_pools_environment_stays_under_the_deployments_and_the_runs():
    job = configured(
        template({"env": "{{ env }}"}, env={"A": "pool", "B": "pool", "C": "pool"}),
        {"env": {"B": "deployment", "C": "deployment"}},
        {"env": {"C": "run"}},
    )

    assert job["env"] == {"A": "pool", "B": "deployment", "C": "run"}


def test_an_environment_that_only_the_deployment_has_takes_the_placeholders_place():
    assert configured(template({"env": "{{ env }}"}), {"env": {"A": "1"}}) == {"env": {"A": "1"}}


def test_a_placeholder_in_a_variable_is_filled_in_where_the_pool_writes_an_environment_out():
    written = template({"env": {"A": "template"}})
    plain = template({"env": "{{ env }}"})
    layer = {"env": {"B": "{{ name }}"}, "name": "x"}

    assert configured(written, layer)["env"] == {"A": "template", "B": "x"}
    assert configured(plain, layer)["env"] == {"B": "{{ name }}"}


@pytest.mark.parametrize("wrong", ["A=1", ["A"], 5])
def test_an_environment_that_is_no_table_is_refused_by_its_type(wrong: Any):
    kind = type(wrong).__name__
    with pytest.raises(PermanentError, match=f"^The job variable 'env' is a {kind}; it must be a"):
        configured(template({"env": {"A": "1"}}), {"env": wrong})


# -- references ------------------------------------------------------------------------------------


def test_a_block_a_variable_and_a_variable_of_the_agents_environment_are_read():
    pool = template(
        {
            "env": {
                "TOKEN": "{{ prefect.blocks.secret.token }}",
                "URL": "https://{{ prefect.variables.host }}/x",
                "REGION": "{{ $AWS_REGION }}",
            }
        }
    )

    assert configured(
        pool,
        blocks={"secret/token": {"value": "s3cret"}},
        variables={"host": "example.com"},
        environment={"AWS_REGION": "eu-west-1"},
    ) == {"env": {"TOKEN": "s3cret", "URL": "https://example.com/x", "REGION": "eu-west-1"}}


def test_a_reference_in_a_job_variable_is_followed():
    job = configured(
        template({"image": "{{ image }}", "aws_credentials": "{{ aws_credentials }}"}),
        {
            "image": "{{ prefect.variables.image }}",
            "aws_credentials": {"$ref": {"block_document_id": "1"}},
        },
        variables={"image": "flows:1"},
        documents={"1": {"region_name": "eu-west-1"}},
    )

    assert job == {"image": "flows:1", "aws_credentials": {"region_name": "eu-west-1"}}


def test_a_variable_of_the_agents_environment_is_not_read_for_a_job_variable():
    job = configured(
        template({"image": "{{ image }}"}), {"image": "{{ $HOME }}"}, environment={"HOME": "/root"}
    )

    assert job == {"image": "{{ $HOME }}"}


def test_a_reference_in_a_default_is_followed():
    pool = template({"image": "{{ image }}"}, image="{{ prefect.variables.image }}")

    assert configured(pool, variables={"image": "flows:1"}) == {"image": "flows:1"}


def test_a_reference_that_nothing_uses_is_not_read():
    references = FakeReferences()

    job_configuration(
        template({"cpu": 1}, image="{{ prefect.blocks.secret.gone }}"),
        {"other": {"$ref": {"block_document_id": "1"}}},
        references=references,
        environment={},
    )

    assert references.asked == []
