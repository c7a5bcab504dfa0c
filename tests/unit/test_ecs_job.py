"""A filled-in template, checked before any call."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.profiles.work_pool.ecs_job import CloudWatchLogs, EcsJob

DEFINITION = {"task_definition": {"family": "etl"}}
TEXTS = ("cluster", "command", "container_name", "name")
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"


def job(**fields: Any) -> EcsJob:
    return EcsJob.read({**DEFINITION, **fields})


def refusal(**fields: Any) -> str:
    with pytest.raises(PermanentError) as error:
        job(**fields)
    return str(error.value)


def test_a_job_of_a_definition_alone_asks_for_nothing_else():
    assert job() == EcsJob(task_definition={"family": "etl"})


def test_every_field_is_read():
    assert job(
        task_run_request={"cluster": "request"},
        name="nightly",
        command="python -m flow",
        env={"A": 1, "B": None, "C": True, "D": ""},
        labels={"team": "data"},
        container_name="flow",
        cluster="etl",
        network_configuration={"subnets": ["subnet-1"]},
        vpc_id="vpc-1",
        configure_cloudwatch_logs=True,
        cloudwatch_logs_options={"awslogs-group": "mine"},
        cloudwatch_logs_prefix="run",
        prefect_api_key_secret_arn=ARN,
        prefect_api_auth_string_secret_arn=f"{ARN}-2",
        auto_deregister_task_definition=True,
        aws_credentials={"region_name": "eu-west-1"},
        match_latest_revision_in_family=True,
        stream_output=True,
        task_start_timeout_seconds=5,
    ) == EcsJob(
        task_definition={"family": "etl"},
        task_run_request={"cluster": "request"},
        name="nightly",
        command="python -m flow",
        env={"A": "1", "B": None, "C": "True", "D": ""},
        labels={"team": "data"},
        container_name="flow",
        cluster="etl",
        network_configuration={"subnets": ["subnet-1"]},
        vpc_id="vpc-1",
        cloudwatch_logs=CloudWatchLogs(options={"awslogs-group": "mine"}, prefix="run"),
        secrets={"PREFECT_API_KEY": ARN, "PREFECT_API_AUTH_STRING": f"{ARN}-2"},
        auto_deregister_task_definition=True,
        aws_credentials={"region_name": "eu-west-1"},
    )


@pytest.mark.parametrize(
    "field",
    [
        *TEXTS,
        *("task_run_request", "env", "labels", "network_configuration", "vpc_id"),
        *("configure_cloudwatch_logs", "cloudwatch_logs_options", "cloudwatch_logs_prefix"),
        *("prefect_api_key_secret_arn", "prefect_api_auth_string_secret_arn"),
        *("auto_deregister_task_definition", "aws_credentials"),
    ],
)
def test_null_is_a_value_left_out_whatever_the_field(field: str):
    assert job(**{field: None}) == job()


@pytest.mark.parametrize("field", TEXTS)
def test_an_empty_text_is_none(field: str):
    assert job(**{field: ""}) == job()


@pytest.mark.parametrize("field", [*TEXTS, "vpc_id", "prefect_api_key_secret_arn"])
@pytest.mark.parametrize(("value", "kind"), [(5, "int"), (["a"], "list"), (True, "bool")])
def test_a_text_of_another_type_is_refused_by_name_and_without_its_value(
    field: str, value: Any, kind: str
):
    assert refusal(**{field: value}) == (
        f"The job variable {field!r} must be text; it is a {kind}. Correct it in the work pool, "
        "the deployment or the run."
    )


@pytest.mark.parametrize(
    "field",
    [
        *("task_definition", "task_run_request", "env", "labels", "network_configuration"),
        *("cloudwatch_logs_options", "aws_credentials"),
    ],
)
@pytest.mark.parametrize("value", ["canary", ["canary"], 5])
def test_a_table_of_another_type_is_refused_by_name_and_without_its_value(field: str, value: Any):
    found = refusal(**{field: value})

    assert found.startswith(f"The job variable {field!r} must be a table; it is a ")
    assert "canary" not in found


@pytest.mark.parametrize("field", ["labels", "cloudwatch_logs_options"])
@pytest.mark.parametrize("value", [5, None, ["x"], True])
def test_a_table_of_texts_holds_nothing_else(field: str, value: Any):
    asked = {field: {"a": value}, "configure_cloudwatch_logs": True}

    assert refusal(**asked).startswith(f"The job variable '{field}.a' must be text; it is a ")


# -- truth values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("yes", [True, 1, "true", "True", "yes", "on", "1", "T"])
def test_a_truth_value_may_be_written_as_text(yes: Any):
    assert job(auto_deregister_task_definition=yes).auto_deregister_task_definition


@pytest.mark.parametrize("no", [False, 0, "false", "no", "OFF", "0", "", "f"])
def test_so_may_the_other(no: Any):
    assert not job(auto_deregister_task_definition=no).auto_deregister_task_definition


@pytest.mark.parametrize("neither", ["maybe", 2, [], {}, ["true"]])
def test_any_other_is_refused(neither: Any):
    assert refusal(configure_cloudwatch_logs=neither).startswith(
        "The job variable 'configure_cloudwatch_logs' must be true or false; it is a "
    )


# -- what goes together ----------------------------------------------------------------------------


@pytest.mark.parametrize("definition", [None, {}])
def test_without_a_definition_or_the_name_of_one_there_is_nothing_to_run(definition: Any):
    assert "task_definition_arn" in refusal(task_definition=definition)
    assert "task_definition_arn" in refusal(
        task_definition=definition, task_run_request={"taskDefinition": ""}
    )


def test_a_definition_may_be_named_instead():
    named = job(task_definition=None, task_run_request={"taskDefinition": "etl:7"})

    assert named.task_definition_arn == "etl:7"
    assert job().task_definition_arn is None


def test_a_network_needs_its_vpc():
    assert "'network_configuration' is set and 'vpc_id' is not" in refusal(
        network_configuration={"subnets": ["subnet-1"]}
    )


def test_a_vpc_needs_no_network():
    assert job(vpc_id="vpc-1").vpc_id == "vpc-1"


def test_options_of_logs_need_the_logs():
    options = {"cloudwatch_logs_options": {"awslogs-group": "x"}}

    assert "'configure_cloudwatch_logs' is not" in refusal(**options)
    assert "'configure_cloudwatch_logs' is not" in refusal(
        **options, configure_cloudwatch_logs=False
    )


def test_a_prefix_of_logs_alone_means_nothing():
    assert job(cloudwatch_logs_prefix="run").cloudwatch_logs is None


# -- containers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("containers", ["prefect", {"name": "prefect"}, ["prefect"], [None]])
def test_containers_are_a_list_of_tables(containers: Any):
    assert "containerDefinitions must be a list of tables" in refusal(
        task_definition={"containerDefinitions": containers}
    )


@pytest.mark.parametrize(
    "containers", [None, [], [{}], [{"essential": True}, {"essential": False}]]
)
def test_containers_may_be_left_out_or_empty(containers: Any):
    definition = {"family": "etl", "containerDefinitions": containers}

    assert job(task_definition=definition).task_definition == definition


def test_one_container_must_be_essential():
    assert "No container of the task_definition is essential" in refusal(
        task_definition={"containerDefinitions": [{"essential": False}, {"essential": False}]}
    )


def test_essential_is_the_default():
    containers = [{"essential": None}, {"essential": False}]

    job(task_definition={"containerDefinitions": containers})


# -- an AWS credentials block ----------------------------------------------------------------------


def test_only_what_a_credentials_block_says_is_kept():
    block = {
        "region_name": "eu-west-1",
        "aws_session_token": None,
        "profile_name": "",
        "aws_client_parameters": {
            "use_ssl": False,
            "config": {"a": None},
            "endpoint_url": None,
        },
    }

    assert job(aws_credentials=block).aws_credentials == {
        "region_name": "eu-west-1",
        "aws_client_parameters": {"use_ssl": False},
    }


@pytest.mark.parametrize("block", [{}, {"a": None}, {"a": {"b": None}}, {"a": {"b": {"c": ""}}}])
def test_a_credentials_block_that_says_nothing_is_none(block: Any):
    assert job(aws_credentials=block).aws_credentials == {}


def test_a_zero_in_a_credentials_block_says_something():
    block = {"aws_client_parameters": {"config": {"retries": {"max_attempts": 0}}}}

    assert job(aws_credentials=block).aws_credentials == block
