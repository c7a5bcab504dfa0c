"""The task of a Prefect 1 ``FargateTaskEnvironment``: its own containers, one the flow's."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.task_environment import COMMAND, is_task_environment
from tests.support import values
from tests.support.prefect1_values import (
    IMAGE,
    KEY_SECRET,
    containers,
    details,
    docker,
    names,
    task_environment_launch,
    variables,
)
from tests.support.rendering import override

RUN = values.flow_run()
VARIABLES = {
    "PREFECT__CLOUD__GRAPHQL": "https://prefect.example.com/graphql",
    "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
    "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
    "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudTaskRunner",
    "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "true",
    "PREFECT__LOGGING__EXTRA_LOGGERS": "[]",
}
TOKEN = "PREFECT__CLOUD__AUTH_TOKEN"


def environment(**metadata: Any) -> dict[str, Any]:
    return {"type": "FargateTaskEnvironment", "metadata": metadata}


def entries(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


# -- which runs are of one -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("described", "families", "found"),
    [
        pytest.param(details(environment=environment()), ["etl", None], True, id="file"),
        pytest.param(details(environment=environment()), [None, "etl"], True, id="agent"),
        pytest.param(details(environment=environment()), [None, None], False, id="no family"),
        pytest.param(details(environment=environment()), ["", ""], False, id="empty family"),
        pytest.param(details(environment={"type": "LocalEnvironment"}), ["etl"], False, id="other"),
        pytest.param(details(environment=None), ["etl"], False, id="none"),
        pytest.param(
            details(environment=environment(), run_config={"type": "ECSRun"}),
            ["etl"],
            False,
            id="a run config stands above",
        ),
    ],
)
def test_a_run_is_of_a_task_environment_whose_family_is_named(
    described: Any, families: Any, found: bool
):
    file, agent = [*families, None][:2]
    values = {"family": file} if file else {}
    kwargs = Kwargs(definition={"family": agent} if agent else {})
    assert is_task_environment(described, kwargs, values) is found


def test_several_containers_without_a_family_are_told_what_is_missing():
    values = {"containerDefinitions": [{}, {"name": "side"}]}
    with pytest.raises(PermanentError, match=r"2 containers .* no family"):
        is_task_environment(details(environment=environment()), Kwargs(), values)


# -- the definition --------------------------------------------------------------------------------


def test_the_shortest_definition_is_the_flows_container():
    assert task_environment_launch().definition == {
        "family": "etl",
        "containerDefinitions": [
            {
                "name": "flow-container",
                "image": IMAGE,
                "command": COMMAND,
                "environment": entries(**VARIABLES),
            }
        ],
    }


def test_the_command_loads_and_runs_the_flow():
    assert COMMAND[:2] == ["/bin/sh", "-c"]
    assert COMMAND[2] == (
        "python -c 'import prefect; prefect.environments.execution.load_and_run_flow()'"
    )


def test_the_first_container_becomes_the_flows_and_keeps_all_else():
    mine = {
        "name": "mine",
        "image": "mine:1",
        "command": ["x"],
        "entryPoint": ["sh"],
        "cpu": 256,
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
        "environment": entries(A="1"),
    }

    launch = task_environment_launch(file={"containerDefinitions": [mine]})

    assert containers(launch) == [
        {
            **mine,
            "name": "flow-container",
            "image": IMAGE,
            "command": COMMAND,
            "environment": entries(A="1", **VARIABLES),
        }
    ]


def test_other_containers_get_the_environment_and_are_otherwise_untouched():
    others = [
        {"name": "router", "image": "router:1", "essential": False, "command": ["run"]},
        {"name": "proxy", "image": "proxy:1", "environment": entries(A="1")},
    ]

    launch = task_environment_launch(file={"containerDefinitions": [{}, *others]})

    assert containers(launch)[1:] == [
        {**others[0], "environment": entries(**VARIABLES)},
        {**others[1], "environment": entries(A="1", **VARIABLES)},
    ]


def test_the_environment_is_added_once_however_often_a_run_is_set_up():
    file = {"containerDefinitions": [{"environment": entries(A="1")}, {"name": "router"}]}

    first, second = task_environment_launch(file=file), task_environment_launch(file=file)

    assert first == second
    assert file == {"containerDefinitions": [{"environment": entries(A="1")}, {"name": "router"}]}


def test_the_settings_are_told_to_the_containers():
    launch = task_environment_launch(
        api_url="https://api.prefect.io", extra_loggers=("boto3", "etl")
    )

    told = variables(containers(launch)[0])
    assert told["PREFECT__CLOUD__GRAPHQL"] == "https://api.prefect.io/graphql"
    assert told["PREFECT__LOGGING__EXTRA_LOGGERS"] == "['boto3', 'etl']"


def test_the_agents_container_is_laid_under_the_first_alone():
    launch = task_environment_launch(
        agent={"containerDefinitions": [{"cpu": 256, "environment": entries(A="agent")}]},
        file={"containerDefinitions": [{"environment": entries(B="file")}, {"name": "router"}]},
    )

    flow, router = containers(launch)
    assert flow["cpu"] == 256
    assert names(flow) == ["B", *VARIABLES]
    assert "cpu" not in router


@pytest.mark.parametrize(
    ("described", "found"),
    [
        (details(environment=environment(image="m:1")), "m:1"),
        (details(environment=environment()), IMAGE),
        (details(storage={"type": "Local"}, environment=environment(image="m:1")), "m:1"),
        (details(storage=docker(image_tag="v2"), environment=environment()), IMAGE[:-1] + "2"),
    ],
)
def test_the_image_is_the_metadatas_or_the_storages(described: Any, found: str):
    launch = task_environment_launch(described)

    assert containers(launch)[0]["image"] == found
    assert override(launch, "flow-container")["environment"]["PREFECT__CONTEXT__IMAGE"] == found


def test_an_environment_without_an_image_cannot_run():
    with pytest.raises(PermanentError, match="names no image"):
        task_environment_launch(details(storage={"type": "Local"}, environment=environment()))


def test_the_files_definition_stands_above_the_agents():
    launch = task_environment_launch(
        agent={"cpu": "256", "memory": "512", "cluster": "agent", "family": "agent"},
        file={"cpu": "1024", "networkMode": "awsvpc", "cluster": "file"},
    )

    assert launch.definition.items() >= {
        ("family", "etl"),
        ("cpu", "1024"),
        ("memory", "512"),
        ("networkMode", "awsvpc"),
    }
    assert launch.request["cluster"] == "file"


# -- credentials -----------------------------------------------------------------------------------


def test_a_key_travels_by_reference_to_the_flows_container_alone():
    launch = task_environment_launch(
        file={"containerDefinitions": [{}, {"name": "router"}]}, api_key_secret=KEY_SECRET
    )

    flow, router = containers(launch)
    assert flow["secrets"] == [{"name": TOKEN, "valueFrom": KEY_SECRET}]
    assert "secrets" not in router
    assert launch.revision.credentials == {TOKEN}


def test_a_key_that_a_user_wrote_in_plain_is_left_out():
    launch = task_environment_launch(
        file={"containerDefinitions": [{"environment": entries(**{TOKEN: "tk_1", "A": "1"})}]},
        api_key_secret=KEY_SECRET,
    )

    assert "tk_1" not in str(launch)
    assert names(containers(launch)[0]) == ["A", *VARIABLES]


def test_a_users_secrets_are_kept():
    secret = {"name": "DB", "valueFrom": "arn"}

    launch = task_environment_launch(file={"containerDefinitions": [{"secrets": [secret]}]})

    assert containers(launch)[0]["secrets"] == [secret]


# -- the request -----------------------------------------------------------------------------------


def test_the_task_is_told_which_run_it_is_of_and_its_image():
    launch = task_environment_launch()

    assert launch.request == {
        "launchType": "FARGATE",
        "overrides": {
            "containerOverrides": [
                {
                    "name": "flow-container",
                    "environment": entries(
                        PREFECT__CONTEXT__FLOW_RUN_ID=RUN.id,
                        PREFECT__CONTEXT__IMAGE=IMAGE,
                        FARGATE_AGENT_CLAIM_ID=RUN.claim_id,
                    ),
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("launch_type", "asked"),
    [
        ("FARGATE", {"launchType": "FARGATE"}),
        ("EC2", {"launchType": "EC2"}),
        (
            "FARGATE_SPOT",
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]},
        ),
        ("", {}),
    ],
)
def test_the_launch_type_is_asked_for_and_the_definition_left_to_the_user(
    launch_type: str, asked: Any
):
    launch = task_environment_launch(launch_type=launch_type)

    assert {k: v for k, v in launch.request.items() if k != "overrides"} == asked
    assert launch.definition == task_environment_launch().definition


def test_a_users_overrides_are_kept_and_replace_nothing_of_the_runs():
    mine = {
        "cpu": "512",
        "containerOverrides": [
            {
                "name": "flow-container",
                "environment": entries(A="1", PREFECT__CONTEXT__FLOW_RUN_ID="x"),
            },
            {"name": "router", "cpu": 64},
        ],
    }

    launch = task_environment_launch(
        file={"overrides": mine, "containerDefinitions": [{}, {"name": "router"}]}
    )

    assert launch.request["overrides"]["cpu"] == "512"
    told = override(launch, "flow-container")["environment"]
    assert (told["A"], told["PREFECT__CONTEXT__FLOW_RUN_ID"]) == ("1", RUN.id)
    assert override(launch, "router") == {"cpu": 64}
