"""The task of the agent's own container, as the legacy ``FargateAgent`` made it."""

from typing import Any

import pytest

from fargate_agent.placement import CPU, MEMORY
from tests.support import values
from tests.support.prefect1_values import (
    IMAGE,
    KEY_SECRET,
    containers,
    details,
    docker,
    flow_run_launch,
    names,
    variables,
)
from tests.support.rendering import override

RUN = values.flow_run()
STATIC = {
    "PREFECT__BACKEND": "server",
    "PREFECT__CLOUD__API": "https://prefect.example.com",
    "PREFECT__CLOUD__AGENT__LABELS": "[]",
    "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
    "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "true",
    "PREFECT__LOGGING__LEVEL": "INFO",
    "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
    "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudTaskRunner",
    "PREFECT__LOGGING__LOG_TO_CLOUD": "true",
}
TOKEN, KEY, TENANT = (
    "PREFECT__CLOUD__AUTH_TOKEN",
    "PREFECT__CLOUD__API_KEY",
    "PREFECT__CLOUD__TENANT_ID",
)


def flow(launch: Any) -> dict[str, Any]:
    (container,) = containers(launch)
    return container


def with_container(**fields: Any) -> dict[str, Any]:
    return {"containerDefinitions": [fields]}


def entries(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def test_a_whole_definition_is_the_legacy_agents():
    assert flow_run_launch().definition == {
        "family": "prefect-task-b1d2f3a4",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": CPU,
        "memory": MEMORY,
        "containerDefinitions": [
            {
                "name": "flow",
                "image": IMAGE,
                "command": ["/bin/sh", "-c", "prefect execute flow-run"],
                "essential": True,
                "environment": entries(**STATIC),
            }
        ],
    }


def test_a_request_says_where_and_who():
    launch = flow_run_launch()

    assert launch.request.keys() == {"launchType", "overrides"}
    assert launch.request["launchType"] == "FARGATE"
    assert launch.definition_arn is None


def test_the_command_is_that_of_the_flows_prefect():
    launch = flow_run_launch(details(core_version="0.12.6"))

    assert flow(launch)["command"] == ["/bin/sh", "-c", "prefect execute cloud-flow"]


# -- the image -------------------------------------------------------------------------------------

LOCAL = {"type": "Local"}


@pytest.mark.parametrize(
    ("run_config", "agent", "file", "found"),
    [
        pytest.param(None, {}, {}, "prefecthq/prefect:0.14.22", id="Prefect's own"),
        pytest.param(None, with_container(image="a:1"), {}, "a:1", id="the agent's"),
        pytest.param({"type": "ECSRun", "image": "r:1"}, with_container(image="a:1"), {}, "r:1"),
        pytest.param(
            {"type": "ECSRun", "task_definition": with_container(image="d:1")},
            with_container(image="a:1"),
            {},
            "d:1",
            id="the run config's definition's",
        ),
        pytest.param(
            {"type": "ECSRun", "image": "r:1"}, {}, with_container(image="f:1"), "f:1", id="file"
        ),
    ],
)
def test_the_image_is_the_strongest_layers(run_config: Any, agent: Any, file: Any, found: str):
    launch = flow_run_launch(details(storage=LOCAL, run_config=run_config), agent=agent, file=file)

    assert flow(launch)["image"] == found


def test_a_flow_that_is_an_image_runs_in_no_other_but_the_files():
    asked = details(run_config={"type": "ECSRun", "image": "r:1"})

    launch = flow_run_launch(asked, agent=with_container(image="a:1"))
    assert flow(launch)["image"] == IMAGE
    launch = flow_run_launch(asked, file=with_container(image="f:1"))
    assert flow(launch)["image"] == "f:1"


# -- the environment -------------------------------------------------------------------------------


def test_the_agents_settings_are_told_to_the_flow():
    launch = flow_run_launch(
        backend="cloud",
        api_url="https://api.prefect.io",
        agent_labels=("etl", "a'b"),
        send_logs=False,
        logging_level="DEBUG",
    )

    assert variables(flow(launch)) == {
        **STATIC,
        "PREFECT__BACKEND": "cloud",
        "PREFECT__CLOUD__API": "https://api.prefect.io",
        "PREFECT__CLOUD__AGENT__LABELS": """['etl', "a'b"]""",
        "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "false",
        "PREFECT__LOGGING__LEVEL": "DEBUG",
        "PREFECT__LOGGING__LOG_TO_CLOUD": "false",
    }


def test_the_agents_variables_come_first_then_its_env_then_the_users():
    launch = flow_run_launch(
        agent_env={"TZ": "UTC", "A": "agent"}, agent=with_container(environment=entries(B="1"))
    )

    assert names(flow(launch)) == [*STATIC, "TZ", "A", "B"]


def test_a_variable_of_the_agents_env_is_added_to_its_own_of_the_same_name():
    launch = flow_run_launch(agent_env={"PREFECT__LOGGING__LEVEL": "DEBUG"})

    assert names(flow(launch)) == [*STATIC, "PREFECT__LOGGING__LEVEL"]
    assert flow(launch)["environment"][-1]["value"] == "DEBUG"


@pytest.mark.parametrize("name", [*STATIC, "TZ"])
@pytest.mark.parametrize("layer", ["agent", "file"])
def test_a_users_variable_replaces_none_of_the_agents(name: str, layer: str):
    given = with_container(environment=entries(**{name: "x", "B": "1"}))

    launch = flow_run_launch(agent_env={"TZ": "UTC"}, **{layer: given})

    assert variables(flow(launch)) == {**STATIC, "TZ": "UTC", "B": "1"}


def test_the_files_environment_replaces_that_of_the_layers_below():
    launch = flow_run_launch(
        agent=with_container(environment=entries(A="1")),
        file=with_container(environment=entries(B="2")),
    )

    assert names(flow(launch)) == [*STATIC, "B"]


# -- credentials -----------------------------------------------------------------------------------


def test_a_server_without_keys_needs_no_secret():
    launch = flow_run_launch()

    assert "secrets" not in flow(launch)
    assert launch.revision.credentials == frozenset()


def test_a_token_travels_by_reference():
    launch = flow_run_launch(api_key_secret=KEY_SECRET)

    assert flow(launch)["secrets"] == [{"name": TOKEN, "valueFrom": KEY_SECRET}]
    assert names(flow(launch)) == [*STATIC]
    assert launch.revision.credentials == {TOKEN}


def test_a_key_of_a_tenant_has_another_name_too_and_the_tenant_beside_it():
    launch = flow_run_launch(api_key_secret=KEY_SECRET, tenant="tenant-1")

    assert {entry["name"]: entry["valueFrom"] for entry in flow(launch)["secrets"]} == {
        TOKEN: KEY_SECRET,
        KEY: KEY_SECRET,
    }
    assert names(flow(launch)) == [*STATIC, TENANT]
    assert variables(flow(launch))[TENANT] == "tenant-1"
    assert launch.revision.credentials == {TOKEN, KEY}


def test_the_users_secrets_stand_before_the_key_and_may_be_the_key():
    mine = [{"name": TOKEN, "valueFrom": "mine"}, {"name": "DB", "valueFrom": "db"}]

    launch = flow_run_launch(api_key_secret=KEY_SECRET, file=with_container(secrets=mine))
    assert flow(launch)["secrets"] == mine
    launch = flow_run_launch(api_key_secret=KEY_SECRET, file=with_container(secrets=mine[1:]))
    assert names(flow(launch), "secrets") == ["DB", TOKEN]


@pytest.mark.parametrize("name", ["PREFECT__LOGGING__LEVEL", "TZ", "A"])
def test_a_secret_takes_the_place_of_a_plain_variable(name: str):
    launch = flow_run_launch(
        agent_env={"TZ": "UTC"},
        file=with_container(
            environment=entries(A="1"), secrets=[{"name": name, "valueFrom": "arn"}]
        ),
    )

    assert name not in names(flow(launch))
    assert names(flow(launch), "secrets") == [name]


def test_a_key_that_stands_in_the_agents_env_is_left_out():
    launch = flow_run_launch(api_key_secret=KEY_SECRET, agent_env={TOKEN: "tk_1", "TZ": "UTC"})

    assert "tk_1" not in str(launch)
    assert names(flow(launch)) == [*STATIC, "TZ"]


# -- fields of the container and of the task -------------------------------------------------------

FIELDS: dict[str, Any] = {
    "cpu": 256,
    "memoryReservation": 512,
    "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
    "logConfiguration": {"logDriver": "awslogs"},
    "repositoryCredentials": {"credentialsParameter": "arn"},
    "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
    "dockerLabels": {"team": "data"},
    "stopTimeout": 120,
    "command": ["my-flow"],
    "entryPoint": ["sh"],
    "essential": False,
    "readonlyRootFilesystem": False,
}


@pytest.mark.parametrize("layer", ["agent", "file"])
@pytest.mark.parametrize("field", FIELDS)
def test_any_field_of_the_container_may_be_set(field: str, layer: str):
    launch = flow_run_launch(**{layer: with_container(**{field: FIELDS[field]})})

    assert flow(launch) == {**flow(flow_run_launch()), field: FIELDS[field]}


def test_an_empty_field_leaves_the_agents_own():
    launch = flow_run_launch(file=with_container(command=[], mountPoints=[], environment=[]))

    assert launch.definition == flow_run_launch().definition


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"family": "mine"}, "definition"),
        ({"ephemeralStorage": {"sizeInGiB": 50}}, "definition"),
        ({"runtimePlatform": {"cpuArchitecture": "ARM64"}}, "definition"),
        ({"networkMode": "bridge"}, "definition"),
        ({"enableExecuteCommand": True}, "request"),
        ({"platformVersion": "1.4.0"}, "request"),
        ({"propagateTags": "TASK_DEFINITION"}, "request"),
    ],
)
def test_any_parameter_of_ecs_may_be_set(given: dict[str, Any], where: str):
    launch = flow_run_launch(file=given)

    assert getattr(launch, where).items() >= given.items()


@pytest.mark.parametrize(
    ("launch_type", "compatibilities", "asked"),
    [
        ("FARGATE", ["FARGATE"], {"launchType": "FARGATE"}),
        (
            "FARGATE_SPOT",
            ["FARGATE"],
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]},
        ),
        ("EC2", ["EC2"], {"launchType": "EC2"}),
        ("EXTERNAL", ["EXTERNAL"], {"launchType": "EXTERNAL"}),
        ("", None, {}),
    ],
)
def test_the_launch_type_is_the_settings(launch_type: str, compatibilities: Any, asked: Any):
    launch = flow_run_launch(launch_type=launch_type)

    assert launch.definition.get("requiresCompatibilities") == compatibilities
    assert {k: v for k, v in launch.request.items() if k != "overrides"} == asked
    sized = launch_type == "" or compatibilities == ["FARGATE"]
    assert ("cpu" in launch.definition) == sized


# -- families and tags -----------------------------------------------------------------------------


def tags(launch: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in launch.definition.get("tags", [])}


def test_a_family_is_the_flows_and_two_flows_that_begin_alike_are_told_apart():
    launch = flow_run_launch()

    assert launch.definition["family"] == "prefect-task-b1d2f3a4"
    assert launch.revision.owner == {"fargate-agent/flow-id": RUN.flow_id}
    assert "tags" not in launch.definition


@pytest.mark.parametrize(
    ("flow_name", "family"),
    [
        ("Load orders", "load-orders"),
        ("Überweisung & Söhne", "uberweisung-sohne"),
        ("!!!", "prefect-task-b1d2f3a4"),
        ("x" * 300, "x" * 255),
    ],
)
def test_with_revisions_the_family_is_the_flows_name(flow_name: str, family: str):
    launch = flow_run_launch(run={"flow_name": flow_name}, enable_task_revisions=True)

    assert launch.definition["family"] == family


def test_with_revisions_a_definition_is_tagged_with_its_flow_and_version():
    launch = flow_run_launch(details(version=7), enable_task_revisions=True)

    assert tags(launch) == {"PrefectFlowId": "b1d2f3a4", "PrefectFlowVersion": "7"}
    assert launch.revision.owner == {
        "fargate-agent/flow-id": RUN.flow_id,
        "PrefectFlowId": "b1d2f3a4",
    }
    assert "tags" not in launch.request


def test_the_users_tags_go_to_both_and_those_of_revisions_are_the_agents_in_the_definition():
    users = [
        {"key": "PrefectFlowVersion", "value": "99"},
        {"key": "team", "value": "data"},
        {"key": "PrefectFlowId", "value": "x"},
    ]

    launch = flow_run_launch(agent={"tags": users}, enable_task_revisions=True)

    assert launch.definition["tags"] == [
        {"key": "PrefectFlowVersion", "value": "3"},
        {"key": "team", "value": "data"},
        {"key": "PrefectFlowId", "value": "b1d2f3a4"},
    ]
    assert launch.request["tags"] == users


def test_without_revisions_the_users_tags_are_left_alone():
    users = [{"key": "PrefectFlowVersion", "value": "99"}]

    launch = flow_run_launch(file={"tags": users})

    assert (launch.definition["tags"], launch.request["tags"]) == (users, users)


def test_a_users_family_stands_above_both():
    for revisions in (True, False):
        launch = flow_run_launch(file={"family": "mine"}, enable_task_revisions=revisions)

        assert launch.definition["family"] == "mine"


# -- a definition of the run's own -----------------------------------------------------------------


def test_a_definition_that_the_run_names_is_run_and_told_what_the_agents_own_would_say():
    asked = details(
        run_config={"type": "ECSRun", "task_definition_arn": "etl:7", "env": {"A": "1"}},
        storage={"type": "S3"},
    )

    launch = flow_run_launch(asked, agent_labels=("etl",))

    assert launch.definition_arn == "etl:7"
    assert launch.request["overrides"]["containerOverrides"][0]["command"][-1] == (
        "prefect execute flow-run"
    )
    told = override(launch, "flow")["environment"]
    assert told["PREFECT__CLOUD__API"] == STATIC["PREFECT__CLOUD__API"]
    assert told["PREFECT__CLOUD__AGENT__LABELS"] == "['etl']"
    assert told["PREFECT__CONTEXT__FLOW_RUN_ID"] == RUN.id
    assert told["A"] == "1"


def test_rendering_changes_nothing_of_what_is_given():
    asked, agent = details(storage=docker()), with_container(environment=entries(A="1"))

    flow_run_launch(asked, agent=agent, enable_task_revisions=True)

    assert asked == details(storage=docker())
    assert agent == with_container(environment=entries(A="1"))
