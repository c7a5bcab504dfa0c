"""What ``-c`` changes, what ``[ecs.kwargs]`` may hold, and what this version leaves out."""

from typing import Any

import pytest

from fargate_agent.kwargs import Kwargs
from infra.config import split_kwargs
from tests.support.agent_toml import VALID, read, refusal
from tests.support.aws import kwargs_model


@pytest.mark.parametrize(
    ("flag", "value", "found"),
    [
        ("agent.name", "night-shift", "night-shift"),
        ("agent.enabled", "false", False),
        ("agent.send_logs", "true", True),
        ("agent.poll_interval_seconds", "30", 30),
        ("prefect.work_pool", "other", "other"),
        ("prefect.work_pool", "123", "123"),
        ("prefect.work_pool", "true", "true"),
        ("prefect.api_url", "http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("ecs.launch_type", "FARGATE", "FARGATE"),
        ("external_kwargs.enabled", "false", False),
        ("external_kwargs.bucket", "etl-kwargs", "etl-kwargs"),
    ],
)
def test_a_scalar_is_overridden_in_the_type_that_it_has(flag: str, value: str, found: Any):
    section, _, key = flag.partition(".")

    assert read(overrides={flag: value}).model_dump()[section][key] == found


def test_an_override_stands_above_the_file_and_leaves_the_rest():
    text = f"{VALID}[agent]\nname = 'file'\npoll_interval_seconds = 20\n"

    config = read(text, {"agent.name": "flag"})

    assert (config.agent.name, config.agent.poll_interval_seconds) == ("flag", 20)


def test_an_override_may_give_what_the_file_lacks():
    assert read("", {"prefect.api_url": "https://h/api", "prefect.work_pool": "p"}) == read(
        "[prefect]\napi_url = 'https://h/api'\nwork_pool = 'p'\n"
    )


def test_ecs_kwargs_are_overridden_key_by_key():
    text = f"{VALID}[ecs.kwargs]\ncpu = 512\nmemory = 1024\n"

    config = read(
        text, {"ecs.kwargs.memory": "4096", "ecs.kwargs.cluster": "etl", "ecs.kwargs.family": "f-1"}
    )

    assert config.ecs.kwargs == {"cpu": 512, "memory": "4096", "cluster": "etl", "family": "f-1"}


def test_ecs_kwargs_are_overridden_at_any_depth():
    config = read(overrides={"ecs.kwargs.ephemeralStorage.sizeInGiB": "50"})

    assert config.ecs.kwargs == {"ephemeralStorage": {"sizeInGiB": 50}}


@pytest.mark.parametrize(
    "key", ["agent", "@aws-cdk/core:newStyleStackSynthesis", "availability-zones:account=1.x", "x"]
)
def test_the_rest_of_the_cdk_context_is_no_setting(key: str):
    assert read(overrides={key: "x"}) == read()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("agent.nam", "x", "-c agent.nam: no such setting. Did you mean 'name'?"),
        ("agnet.name", "x", "-c agnet.name: no such setting. Did you mean 'agent'?"),
        (
            "agent.enabled",
            "maybe",
            "-c agent.enabled: Input should be a valid boolean; it is 'maybe'",
        ),
        (
            "agent.poll_interval_seconds",
            "soon",
            "-c agent.poll_interval_seconds: Input should be a valid integer; it is 'soon'",
        ),
        (
            "agent.poll_interval_seconds",
            "7",
            "-c agent.poll_interval_seconds: must divide 60 (5, 6, 10, 12, 15, 20, 30, 60) or be "
            "120, 180, ... 3600; it is 7",
        ),
        ("prefect.api_url.port", "80", "-c prefect.api_url.port: api_url is not a table"),
    ],
)
def test_a_bad_override_names_the_flag(flag: str, value: str, message: str):
    assert refusal(overrides={flag: value}) == message


def test_a_problem_of_the_file_is_not_put_down_to_a_flag():
    message = refusal(f"{VALID}[agent]\nenabled = 1\n", {"agent.name": "fine"})

    assert message == "FILE: agent.enabled: Input should be a valid boolean; it is 1"


def test_an_unknown_ecs_kwarg_names_the_nearest_known_one():
    assert refusal(f"{VALID}[ecs.kwargs]\ntaskRolArn = 'x'\n") == (
        "FILE: ecs.kwargs: taskRolArn: not a parameter of register_task_definition or run_task. "
        "Did you mean 'taskRoleArn'?"
    )


@pytest.mark.parametrize("key", ["startedBy", "clientToken", "count", "taskDefinition"])
def test_an_ecs_kwarg_that_the_agent_sets_itself_is_refused(key: str):
    message = refusal(f"{VALID}[ecs.kwargs]\n{key} = 'x'\n")

    assert message.startswith(f"FILE: ecs.kwargs: {key}: the agent sets this itself")


def test_an_ecs_kwarg_of_a_wrong_type_is_refused():
    message = refusal(f"{VALID}[ecs.kwargs]\nvolumes = 'x'\n")

    assert message.startswith("FILE: ecs.kwargs: volumes: Invalid type for parameter volumes, ")


@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL", "FARGATE_SPOT"])
def test_an_ecs_kwarg_may_choose_a_launch_type(launch_type: str):
    config = read(f"{VALID}[ecs.kwargs]\nlaunchType = '{launch_type}'\n")

    assert split_kwargs(config).request == {"launchType": launch_type}


def test_ecs_kwargs_are_split_as_the_function_will():
    config = read(
        f"{VALID}[ecs.kwargs]\ncpu = 512\ncluster = 'etl'\nlaunchType = 'FARGATE'\n"
        "[[ecs.kwargs.containerDefinitions]]\nimage = 'etl:1'\n"
    )

    assert split_kwargs(config) == Kwargs(
        definition={"cpu": "512"},
        request={"cluster": "etl", "launchType": "FARGATE"},
        container={"image": "etl:1"},
    )
    assert split_kwargs(config) == kwargs_model().split(config.ecs.kwargs, "ecs.kwargs")


@pytest.mark.parametrize(
    ("flag", "value"), [("agent.labels", "['a']"), ("ecs.enable_task_revisions", "true")]
)
def test_what_only_prefect_1_knows_is_refused_by_name(flag: str, value: str):
    section, _, key = flag.partition(".")
    message = f"{flag}: belongs to Prefect 1"

    assert refusal(f"{VALID}[{section}]\n{key} = {value}\n").startswith(f"FILE: {message}")
    assert refusal(overrides={flag: value}).startswith(f"-c {message}")


@pytest.mark.parametrize(
    ("flag", "value", "found"),
    [
        ("prefect.version", "2", 2),
        ("prefect.version", "3", 3),
        ("prefect.work_queues", '["fast", "slow"]', ["fast", "slow"]),
        ("agent.enabled", False, False),
    ],
)
def test_numbers_lists_and_typed_context_are_read_as_such(flag: str, value: Any, found: Any):
    section, _, key = flag.partition(".")

    assert read(overrides={flag: value}).model_dump()[section][key] == found


def test_a_variable_of_any_name_is_text():
    config = read(overrides={"agent.env.LOG_LEVEL": "DEBUG", "agent.env.a1": "5"})

    assert config.agent.env == {"LOG_LEVEL": "DEBUG", "a1": "5"}


def test_kwargs_that_are_text_stay_text():
    config = read(overrides={"ecs.kwargs.platformVersion": "1.4", "ecs.kwargs.family": "5"})

    assert config.ecs.kwargs == {"platformVersion": "1.4", "family": "5"}


def test_a_bad_kwarg_names_its_flag():
    assert refusal(overrides={"ecs.kwargs.cpuu": "5"}).startswith("-c ecs.kwargs.cpuu: ")


def test_an_innocent_flag_is_not_blamed():
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf"
    text = f"{VALID}api_key_secret = '{arn}'\nauth_string_secret = '{arn}'\n"

    assert refusal(text, {"prefect.work_pool": "z"}) == (
        "FILE: prefect: api_key_secret and auth_string_secret are both set: keep the first for "
        "Prefect Cloud, the second for a self-hosted server"
    )


def test_a_table_that_is_none_is_refused():
    assert refusal("prefect = 'x'\n").startswith("FILE: prefect: ")


def test_a_missing_table_is_named():
    assert refusal("").startswith("FILE: the table [prefect] is missing.")


def test_a_key_pasted_for_its_arn_is_not_repeated():
    assert "pnu_canary" not in refusal(f"{VALID}api_key_secret = 'pnu_canary'\n")
