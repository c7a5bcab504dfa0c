"""``agent.toml`` for Prefect 1, and for tasks in other accounts, regions and clusters."""

from typing import Any

import pytest

from infra.config import ONLY_PREFECT_1, ONLY_WORK_POOLS, runtime_settings
from tests.support.agent_toml import VALID, read, refusal

PREFECT_1 = """
[prefect]
version = 1
api_url = "https://prefect.example.com/graphql"
"""
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"
ROLE = "arn:aws:iam::123456789012:role/tasks"
NETWORK = "networkConfiguration = { awsvpcConfiguration = { subnets = ['subnet-1'] } }\n"


def test_prefect_1_needs_an_address_and_no_work_pool():
    config = read(PREFECT_1)

    assert (config.prefect.version, config.prefect.work_pool) == (1, None)
    assert runtime_settings(config)["work_pool"] == ""


@pytest.mark.parametrize(
    "url", ["http://localhost:4200", "https://api.prefect.io/", "https://h/graphql/alpha"]
)
def test_the_address_of_prefect_1_may_have_any_path(url: str):
    config = read(f"[prefect]\nversion = 1\napi_url = '{url}'\n")

    assert config.prefect.api_url == url.rstrip("/")


def test_every_setting_of_the_legacy_agent_is_taken():
    config = read(f"""
        [agent]
        labels = ["etl", "night"]
        url = true
        [prefect]
        version = 1
        api_url = "https://api.prefect.io"
        api_key_secret = "{SECRET}"
        agent_config_id = "c1"
        backend = "server"
        tenant_id = "t1"
        logging_level = "DEBUG"
        extra_loggers = ["boto3"]
        [ecs]
        launch_type = "FARGATE_SPOT"
        enable_task_revisions = true
        on_drift = "fail"
    """)

    assert (
        runtime_settings(config).items()
        >= {
            "agent_labels": ["etl", "night"],
            "prefect_version": 1,
            "api_key_secret": SECRET,
            "agent_config_id": "c1",
            "backend": "server",
            "tenant_id": "t1",
            "logging_level": "DEBUG",
            "extra_loggers": ["boto3"],
            "launch_type": "FARGATE_SPOT",
            "enable_task_revisions": True,
            "on_drift": "fail",
        }.items()
    )
    assert config.agent.url


@pytest.mark.parametrize(
    ("flag", "value", "found"),
    [
        ("agent.labels", '["a", "b"]', ["a", "b"]),
        ("prefect.agent_config_id", "123", "123"),
        ("prefect.tenant_id", "true", "true"),
        ("ecs.enable_task_revisions", "false", False),
        ("ecs.on_drift", "reuse", "reuse"),
        ("ecs.launch_type", "", ""),
        ("aws.botocore.max_pool_connections", "5", None),
    ],
)
def test_a_setting_is_overridden_in_the_type_that_it_has(flag: str, value: str, found: Any):
    section, _, key = flag.partition(".")

    config = read(PREFECT_1, {flag: value}).model_dump()

    if key in config[section]:
        assert config[section][key] == found
    else:
        assert config["aws"]["botocore"] == {"max_pool_connections": 5}


@pytest.mark.parametrize("value", ["'False'", "0", "'no'"])
def test_a_truth_value_is_never_guessed(value: str):
    message = refusal(f"{PREFECT_1}[ecs]\nenable_task_revisions = {value}\n")

    assert message.startswith("FILE: ecs.enable_task_revisions: Input should be a valid boolean")


@pytest.mark.parametrize(
    ("secret", "backend"), [(f"api_key_secret = '{SECRET}'\n", "cloud"), ("", "server")]
)
def test_a_key_makes_the_backend_prefects_cloud(secret: str, backend: str):
    assert runtime_settings(read(PREFECT_1 + secret))["backend"] == backend


@pytest.mark.parametrize("key", ONLY_PREFECT_1)
def test_a_key_of_prefect_1_is_refused_with_prefect_3(key: str):
    value = {"backend": "'cloud'", "logging_level": "'INFO'", "extra_loggers": "[]"}.get(key, "'x'")

    message = refusal(f"{VALID}{key} = {value}\n")

    assert message.startswith(f"FILE: prefect.{key}: belongs to Prefect 1")


@pytest.mark.parametrize("key", ONLY_WORK_POOLS)
def test_a_key_of_work_pools_is_refused_with_prefect_1(key: str):
    value = {"auth_string_secret": f"'{SECRET}'", "work_queues": "[]"}.get(key, "'x'")

    message = refusal(f"{PREFECT_1}{key} = {value}\n")

    assert message.startswith(f"FILE: prefect.{key}: belongs to Prefect 2 and 3")


def test_ecs_kwargs_may_be_the_legacy_agents_texts():
    config = read(
        f"{PREFECT_1}[ecs.kwargs]\nvolumes = \"[{{'name': 'scratch'}}]\"\nplatformVersion = '1.4'\n"
    )

    assert config.ecs.kwargs == {"volumes": [{"name": "scratch"}], "platformVersion": "1.4"}


@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL"])
def test_instances_need_a_cluster_and_the_network_of_their_tasks(launch_type: str):
    text = f"{PREFECT_1}[ecs]\nlaunch_type = '{launch_type}'\n[ecs.kwargs]\n"

    assert refusal(text).startswith("FILE: ecs.kwargs: cluster: must be named, ")
    assert refusal(f"{text}cluster = 'etl'\n").startswith("FILE: ecs.kwargs: networkConfiguration:")
    read(f"{text}cluster = 'etl'\n{NETWORK}")
    read(f"{text}cluster = 'etl'\nnetworkMode = 'bridge'\n")


def test_another_region_needs_a_cluster_and_a_network_and_no_roles():
    text = f"{PREFECT_1}[aws]\nregion = 'eu-central-1'\n[ecs.kwargs]\n"

    assert refusal(text).startswith("FILE: ecs.kwargs: cluster: must be named, ")
    assert read(f"{text}cluster = 'etl'\n{NETWORK}").aws.elsewhere


@pytest.mark.parametrize("aws", [f"role_arn = '{ROLE}'", f"credentials_secret = '{SECRET}'"])
def test_another_account_needs_a_cluster_a_network_and_roles(aws: str):
    text = f"{PREFECT_1}[aws]\n{aws}\n[ecs.kwargs]\n"
    for key, line in {
        "cluster": "cluster = 'etl'\n",
        "networkConfiguration": NETWORK,
        "executionRoleArn": f"executionRoleArn = '{ROLE}'\n",
        "taskRoleArn": f"taskRoleArn = '{ROLE}'\n",
    }.items():
        assert refusal(text).startswith(f"FILE: ecs.kwargs: {key}: must be named, ")
        text += line

    assert read(text).aws.elsewhere


def test_fargate_in_the_stacks_own_account_needs_nothing_named():
    assert not read(f"{PREFECT_1}[ecs]\nlaunch_type = 'FARGATE_SPOT'\n").aws.elsewhere


@pytest.mark.parametrize("option", ["retrie = 1", "retries = { mode = 'wild' }"])
def test_what_botocore_does_not_know_is_refused(option: str):
    message = refusal(f"{PREFECT_1}[aws.botocore]\n{option}\n")

    assert message.startswith("FILE: aws.botocore: not an option of botocore's Config: ")
