"""The definition and the request of a launch, laid over each other from all layers."""

from typing import Any

import pytest

from fargate_agent.kwargs import Kwargs
from tests.support.rendering import rendered, task_kwargs
from tests.support.values import RUN_ID, agent, flow_run

KEY_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"
POOL = {"task_definition": {"cpu": 512, "containerDefinitions": [{"image": "pool:1"}]}}


def container(job: Any = None, **layers: Any) -> dict[str, Any]:
    (only,) = rendered(job, **layers).definition["containerDefinitions"]
    return only


def tags(job: Any = None, **layers: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in rendered(job, **layers).request["tags"]}


def test_a_run_that_asks_for_nothing_gets_a_small_fargate_task_of_the_default_image():
    launch = rendered()

    assert launch.definition == {
        "family": "prefect_fargate_d1d2f3a4-0000-4000-8000-000000000002",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "1024",
        "memory": "2048",
        "containerDefinitions": [{"name": "prefect", "image": "default:1"}],
    }
    assert set(launch.request) == {"launchType", "networkConfiguration", "overrides", "tags"}
    assert launch.request["launchType"] == "FARGATE"
    assert (launch.definition_arn, launch.deregisters, launch.aws_credentials) == (None, False, {})


def test_rendering_twice_gives_the_same_launch():
    assert rendered(POOL) == rendered(POOL)


def test_each_layer_replaces_the_layer_below_key_by_key():
    launch = rendered(
        {
            "task_definition": {"memory": 2, "taskRoleArn": "job", "volumes": [{"name": "job"}]},
            "task_run_request": {"cluster": "job", "platformVersion": "job"},
        },
        agent=agent(
            kwargs=Kwargs(
                definition={"cpu": "1", "memory": "1", "taskRoleArn": "agent"},
                request={"cluster": "agent", "propagateTags": "TASK_DEFINITION"},
            )
        ),
        external=Kwargs(definition={"taskRoleArn": "s3"}, request={"cluster": "s3"}),
    )

    assert task_kwargs(launch.definition) == {
        "cpu": "1",
        "memory": "2",
        "taskRoleArn": "s3",
        "volumes": [{"name": "job"}],
    }
    assert launch.request["cluster"] == "s3"
    assert launch.request["platformVersion"] == "job"
    assert launch.request["propagateTags"] == "TASK_DEFINITION"


def test_the_flows_container_is_merged_from_all_layers():
    assert container(
        {"task_definition": {"containerDefinitions": [{"image": "job", "user": "job"}]}},
        agent=agent(kwargs=Kwargs(container={"image": "agent", "user": "agent", "privileged": 1})),
        external=Kwargs(container={"image": "s3"}),
    ) == {"name": "prefect", "image": "s3", "user": "job", "privileged": 1}


def test_the_default_image_is_asked_for_only_where_nobody_names_one():
    def no_image() -> str:
        raise AssertionError("an image is named")

    assert container(POOL, default_image=no_image)["image"] == "pool:1"


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_what_is_empty_in_the_job_replaces_nothing(empty: Any):
    job = {
        "task_definition": {"taskRoleArn": empty, "containerDefinitions": [{"image": empty}]},
        "task_run_request": {"cluster": empty},
    }
    mine = Kwargs(
        definition={"taskRoleArn": "role"}, request={"cluster": "c"}, container={"image": "i"}
    )

    launch = rendered(job, agent=agent(kwargs=mine))

    assert launch.definition["taskRoleArn"] == "role"
    assert launch.definition["containerDefinitions"] == [{"name": "prefect", "image": "i"}]
    assert launch.request["cluster"] == "c"


def test_a_capacity_provider_strategy_takes_the_place_of_the_launch_type():
    strategy = [{"capacityProvider": "FARGATE_SPOT"}]

    request = rendered(external=Kwargs(request={"capacityProviderStrategy": strategy})).request

    assert request["capacityProviderStrategy"] == strategy
    assert "launchType" not in request


@pytest.mark.parametrize(
    ("job", "external", "name"),
    [
        ({}, {}, "prefect"),
        ({"task_definition": {"containerDefinitions": [{"name": "a"}]}}, {}, "a"),
        ({"task_definition": {"containerDefinitions": [{"name": "a"}]}}, {"name": "c"}, "c"),
        ({}, {"name": "c"}, "c"),
    ],
)
def test_the_strongest_layer_names_the_flows_container(job: Any, external: Any, name: str):
    assert container(job, external=Kwargs(container=external))["name"] == name


def test_a_sidecar_stays_as_the_template_has_it():
    proxy = {"name": "proxy", "image": "proxy:1", "essential": False}
    job = {
        "container_name": "flow",
        "task_definition": {"containerDefinitions": [proxy, {"name": "flow"}]},
    }

    launch = rendered(job, external=Kwargs(container={"image": "flow:2"}))

    assert launch.definition["containerDefinitions"] == [
        proxy,
        {"name": "flow", "image": "flow:2"},
    ]


def test_an_api_key_reaches_the_container_by_reference_only():
    launch = rendered(agent=agent(secrets={"PREFECT_API_KEY": KEY_ARN}))

    assert launch.definition["containerDefinitions"][0]["secrets"] == [
        {"name": "PREFECT_API_KEY", "valueFrom": KEY_ARN}
    ]
    assert "PREFECT_API_KEY" not in str(launch.request)


def test_the_agents_secret_stands_beside_those_of_the_user():
    own = {"name": "DB", "valueFrom": "arn:db"}

    assert container(
        agent=agent(secrets={"PREFECT_API_KEY": KEY_ARN}),
        external=Kwargs(container={"secrets": [own]}),
    )["secrets"] == [{"name": "PREFECT_API_KEY", "valueFrom": KEY_ARN}, own]


@pytest.mark.parametrize(
    "given",
    [
        {"environment": [{"name": "PREFECT_API_KEY", "value": "pnu_own"}]},
        {"secrets": [{"name": "PREFECT_API_KEY", "valueFrom": "arn:own"}]},
    ],
)
def test_a_key_that_the_user_gives_takes_the_place_of_the_agents(given: dict[str, Any]):
    assert container(
        agent=agent(secrets={"PREFECT_API_KEY": KEY_ARN}), external=Kwargs(container=given)
    ) == {"name": "prefect", "image": "default:1", **given}


@pytest.mark.parametrize(
    ("pool", "deployment", "family"),
    [
        ("my pool/é", "d-1", "prefect_my-pool-_d-1"),
        ("fargate", None, "prefect_fargate_b1d2f3a4-0000-4000-8000-000000000001"),
        ("p" * 300, "d-1", "prefect_" + "p" * 247),
    ],
)
def test_a_family_is_named_by_pool_and_deployment_in_letters_that_ecs_takes(
    pool: str, deployment: str | None, family: str
):
    run = flow_run(deployment_id=deployment)

    assert rendered(run=run, agent=agent(work_pool=pool)).definition["family"] == family


def test_a_family_that_the_job_names_is_kept():
    assert rendered({"task_definition": {"family": "etl"}}).definition["family"] == "etl"


def test_a_task_carries_prefects_labels():
    assert tags(run=flow_run(name="brave otter #1", deployment_name=None)) == {
        "prefect.io/flow-run-id": RUN_ID,
        "prefect.io/flow-run-name": "brave-otter-1",
        "prefect.io/version": "3.8.8",
        "prefect.io/work-pool-name": "fargate",
        "prefect.io/work-pool-id": "pool-1",
        "prefect.io/worker-name": "fargate-agent",
        "prefect.io/flow-id": "b1d2f3a4-0000-4000-8000-000000000001",
        "prefect.io/flow-name": "Load-orders",
        "prefect.io/deployment-id": "d1d2f3a4-0000-4000-8000-000000000002",
        "prefect.io/deployment-updated": "2026-02-01T00:00:00+00:00",
    }


@pytest.mark.parametrize("place", [0, 1])
def test_the_flow_runs_in_the_container_that_the_template_leaves_unnamed(place: int):
    containers = [{"name": "datadog-agent", "image": "datadog:7"}]
    containers.insert(place, {"image": "flows:1"})

    launch = rendered({"task_definition": {"containerDefinitions": containers}})

    assert launch.definition["containerDefinitions"][place] == {
        "image": "flows:1",
        "name": "prefect",
    }
    (override,) = launch.request["overrides"]["containerOverrides"]
    assert override["name"] == "prefect"


def test_variables_and_secrets_of_the_container_merge_by_name_through_all_layers():
    def container(*names: str, value: str) -> dict[str, Any]:
        return {"environment": [{"name": name, "value": value} for name in names]}

    launch = rendered(
        {"task_definition": {"containerDefinitions": [container("B", "C", value="pool")]}},
        agent=agent(kwargs=Kwargs(container=container("A", "B", "C", value="agent"))),
        external=Kwargs(container=container("C", value="s3")),
    )

    (flow,) = launch.definition["containerDefinitions"]
    found = {entry["name"]: entry["value"] for entry in flow["environment"]}
    assert found == {"A": "agent", "B": "pool", "C": "s3"}


def test_tags_of_the_template_are_kept():
    listed = [{"key": "team", "value": "data"}]

    launch = rendered({"task_definition": {"tags": listed}, "task_run_request": {"tags": listed}})

    assert launch.definition["tags"] == listed
    assert {"key": "team", "value": "data"} in launch.request["tags"]


def test_a_variable_of_the_template_that_is_null_is_left_out():
    container = {"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": None}]}

    launch = rendered({"task_definition": {"containerDefinitions": [container]}})

    (flow,) = launch.definition["containerDefinitions"]
    assert flow["environment"] == [{"name": "A", "value": "1"}]


def test_a_revision_is_reused_only_with_the_agents_key_and_for_the_same_deployment():
    terms = rendered(agent=agent(secrets={"PREFECT_API_KEY": KEY_ARN})).revision

    assert terms.credentials == {"PREFECT_API_KEY"}
    assert terms.owner == {"fargate-agent/deployment-id": "d1d2f3a4-0000-4000-8000-000000000002"}
