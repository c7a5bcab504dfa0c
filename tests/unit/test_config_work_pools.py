"""``agent.toml`` for work pools: Prefect 2 and 3, launch types, roles of jobs."""

import pytest

from infra.config import ONLY_PREFECT_1, runtime_settings
from tests.support.agent_toml import VALID, read, refusal

NETWORK = "networkConfiguration = { awsvpcConfiguration = { subnets = ['subnet-1'] } }\n"
ROLE = "arn:aws:iam::210987654321:role/tenant"
VERSIONS = [2, 3]


def of(version: int, rest: str = "") -> str:
    return f"{VALID}version = {version}\n{rest}"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_reaches_the_functions(version: int):
    settings = runtime_settings(read(of(version)))

    assert (settings["prefect_version"], settings["work_pool"]) == (version, "fargate")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_work_pool_must_be_named(version: int):
    text = "\n".join(line for line in of(version).splitlines() if "work_pool" not in line)

    assert refusal(text).startswith("FILE: prefect.work_pool: must be set")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", ONLY_PREFECT_1)
def test_a_key_of_prefect_1_is_refused(version: int, key: str):
    value = {"backend": "'cloud'", "logging_level": "'INFO'", "extra_loggers": "[]"}.get(key, "'x'")

    assert refusal(of(version, f"{key} = {value}\n")).startswith(
        f"FILE: prefect.{key}: belongs to Prefect 1, and prefect.version is {version}: remove it"
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[agent]\nlabels = ['a']\n", "agent.labels"),
        ("[ecs]\nenable_task_revisions = true\n", "ecs.enable_task_revisions"),
        ("[ecs]\nlaunch_type = ''\n", "ecs.launch_type"),
    ],
)
def test_what_prefect_1_alone_knows_is_refused_by_name(version: int, text: str, key: str):
    message = refusal(of(version, text))

    assert message.startswith(f"FILE: {key}: ")
    assert "Prefect 1" in message


def test_the_address_of_prefect_2_is_that_of_its_api():
    text = of(2).replace("/api", "/graphql")

    assert "Prefect's API" in refusal(text)


# -- launch types ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("launch_type", ["FARGATE", "FARGATE_SPOT"])
def test_fargate_needs_nothing_named(version: int, launch_type: str):
    config = read(of(version, f"[ecs]\nlaunch_type = '{launch_type}'\n"))

    assert runtime_settings(config)["launch_type"] == launch_type


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("launch_type", ["EC2", "EXTERNAL"])
def test_instances_need_a_cluster_and_with_awsvpc_a_network(version: int, launch_type: str):
    text = of(version, f"[ecs]\nlaunch_type = '{launch_type}'\n[ecs.kwargs]\n")

    assert refusal(text).startswith("FILE: ecs.kwargs: cluster: must be named, ")
    text += "cluster = 'etl'\n"
    assert runtime_settings(read(text))["launch_type"] == launch_type
    read(f"{text}networkMode = 'bridge'\n")
    with_awsvpc = f"{text}networkMode = 'awsvpc'\n"
    assert refusal(with_awsvpc).startswith("FILE: ecs.kwargs: networkConfiguration: must be named")
    read(with_awsvpc + NETWORK)


def test_another_region_still_needs_a_network_for_fargate():
    text = f"{VALID}[aws]\nregion = 'eu-central-1'\n[ecs.kwargs]\ncluster = 'etl'\n"

    assert refusal(text).startswith("FILE: ecs.kwargs: networkConfiguration: must be named")


# -- roles that jobs' credentials blocks assume ----------------------------------------------------


def test_roles_that_jobs_may_assume_are_named_by_their_arns():
    text = f"{VALID}[aws]\nassumable_roles = ['{ROLE}']\n"

    config = read(text)

    assert config.aws.assumable_roles == [ROLE]
    assert not config.aws.elsewhere


@pytest.mark.parametrize("role", ["tenant", "arn:aws:iam::210987654321:user/x", "*"])
def test_a_role_that_is_none_is_refused(role: str):
    message = refusal(f"{VALID}[aws]\nassumable_roles = ['{role}']\n")

    assert message.startswith("FILE: aws.assumable_roles.0: ")
