"""The layers of kwargs of a Prefect 1 run: ``[ecs.kwargs]``, the run config, the file in S3."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, merged
from fargate_agent.profiles.prefect1_kwargs import RunConfig, read_run_config
from tests.support.aws import kwargs_model
from tests.support.prefect1_values import (
    KEY_SECRET,
    containers,
    details,
    flow_run_launch,
    variables,
)
from tests.support.rendering import override
from tests.support.values import flow_run

IDENTITY = {
    "PREFECT__CONTEXT__FLOW_RUN_ID": flow_run().id,
    "PREFECT__CONTEXT__FLOW_ID": flow_run().flow_id,
    "FARGATE_AGENT_CLAIM_ID": flow_run().claim_id,
}


def ecs_run(**fields: Any) -> dict[str, Any]:
    return details(run_config={"type": "ECSRun", **fields})


def environment(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def own_environment(launch: Any, name: str = "flow") -> dict[str, str]:
    """Return the variables of a container's override, without those of its identity."""
    found = override(launch, name).get("environment", {})
    return {name: value for name, value in found.items() if name not in IDENTITY}


def read(config: Any) -> RunConfig:
    return read_run_config(config, kwargs_model())


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, {}, {"type": "UniversalRun", "env": None}])
def test_a_run_config_may_ask_for_nothing(config: Any):
    assert read(config) == RunConfig()


@pytest.mark.parametrize("type", ["DockerRun", "KubernetesRun", "LocalRun", "UniversalRun"])
def test_of_another_run_config_only_the_environment_is_followed(type: str):
    config = {"type": type, "env": {"A": "1"}, "cpu": "512", "task_definition": {"cpuu": 1}}

    assert read(config) == RunConfig(env={"A": "1"})


def test_an_ecs_run_is_followed_in_all_it_says():
    assert read(
        {
            "type": "ECSRun",
            "task_definition": {
                "volumes": [{"name": "scratch"}],
                "containerDefinitions": [{"name": "flow", "cpu": 256}],
            },
            "run_task_kwargs": {"cluster": "etl", "overrides": {"cpu": "256"}},
            "cpu": 512,
            "memory": "1024",
            "task_role_arn": "task",
            "execution_role_arn": "execution",
            "env": {"A": "1"},
            "image": "etl:1",
            "labels": ["etl"],
        }
    ) == RunConfig(
        kwargs=Kwargs(
            definition={"volumes": [{"name": "scratch"}]},
            request={"cluster": "etl", "overrides": {"cpu": "256"}},
            container={"name": "flow", "cpu": 256},
        ),
        overrides={
            "cpu": "512",
            "memory": "1024",
            "taskRoleArn": "task",
            "executionRoleArn": "execution",
        },
        env={"A": "1"},
    )


def test_an_ecs_runs_nulls_say_nothing():
    nothing = ["task_definition", "run_task_kwargs", "cpu", "memory", "env", "task_role_arn"]
    nothing += ["execution_role_arn", "task_definition_arn", "task_definition_path", "image"]

    assert read({"type": "ECSRun", **dict.fromkeys(nothing)}) == RunConfig()


def test_an_ecs_run_may_name_a_definition_of_its_own():
    assert read({"type": "ECSRun", "task_definition_arn": "etl:7"}).definition_arn == "etl:7"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_definition_path": "/etl.yaml"}, "ECSRun: task_definition_path: the agent reads no"),
        ({"task_definition": {"cpuu": 1}}, "ECSRun: task_definition: cpuu: not a parameter"),
        ({"run_task_kwargs": {"clustr": 1}}, "ECSRun: run_task_kwargs: clustr: not a parameter"),
        ({"run_task_kwargs": {"count": 3}}, "ECSRun: run_task_kwargs: count: the agent sets this"),
    ],
)
def test_what_an_ecs_run_may_not_say_is_refused_with_its_place(fields: Any, message: str):
    with pytest.raises(PermanentError) as refusal:
        read({"type": "ECSRun", **fields})

    assert str(refusal.value).startswith(message)


def test_tags_of_the_task_are_not_tags_of_the_definition():
    task, definition = [{"key": "run", "value": "7"}], [{"key": "team", "value": "data"}]

    config = read(
        {
            "type": "ECSRun",
            "run_task_kwargs": {"tags": task},
            "task_definition": {"tags": definition},
        }
    )

    assert config.kwargs.definition == {"tags": definition}
    assert config.kwargs.request == {"tags": task}


# -- layers ----------------------------------------------------------------------------------------


def test_a_key_of_a_stronger_layer_replaces_the_whole_value():
    weak = Kwargs(
        definition={"cpu": "256", "volumes": [{"name": "a"}]},
        request={"cluster": "weak", "group": "g"},
        container={"environment": environment(A="1", B="1"), "image": "weak:1"},
    )
    strong = Kwargs(
        definition={"volumes": []},
        request={"cluster": "strong"},
        container={"environment": environment(B="2")},
    )

    assert merged(weak, Kwargs(), strong) == Kwargs(
        definition={"cpu": "256", "volumes": []},
        request={"cluster": "strong", "group": "g"},
        container={"environment": environment(B="2"), "image": "weak:1"},
    )
    assert merged() == Kwargs()


def test_the_run_config_stands_above_the_agent_and_the_file_above_both():
    launch = flow_run_launch(
        ecs_run(
            task_definition={"cpu": "512", "memory": "1024", "ipcMode": "task"},
            run_task_kwargs={"cluster": "run", "group": "run"},
        ),
        agent={"cpu": "256", "memory": "512", "pidMode": "task", "cluster": "agent"},
        file={"cpu": "1024", "cluster": "file"},
    )

    assert launch.definition.items() >= {
        ("cpu", "1024"),
        ("memory", "1024"),
        ("ipcMode", "task"),
        ("pidMode", "task"),
    }
    assert launch.request.items() >= {("cluster", "file"), ("group", "run")}


# -- overrides -------------------------------------------------------------------------------------


def test_a_run_is_told_who_it_is_and_nothing_more():
    assert flow_run_launch().request["overrides"] == {
        "containerOverrides": [{"name": "flow", "environment": environment(**IDENTITY)}]
    }


@pytest.mark.parametrize("layer", ["agent", "run config", "run task kwargs", "file"])
@pytest.mark.parametrize("name", IDENTITY)
def test_nothing_replaces_who_the_run_is(name: str, layer: str):
    forged = {"containerOverrides": [{"name": "flow", "environment": environment(**{name: "x"})}]}
    fields = {
        "run config": {"env": {name: "x"}},
        "run task kwargs": {"run_task_kwargs": {"overrides": forged}},
    }.get(layer, {})

    launch = flow_run_launch(
        ecs_run(**fields),
        agent={"overrides": forged} if layer == "agent" else {},
        file={"overrides": forged} if layer == "file" else {},
    )

    assert override(launch, "flow")["environment"] == IDENTITY


def test_a_run_configs_sizes_roles_and_variables_are_for_this_run_alone():
    config = {"cpu": "512", "memory": "1024", "task_role_arn": "task", "env": {"A": "1", "B": None}}
    launch = flow_run_launch(ecs_run(**config))

    overrides = launch.request["overrides"]
    assert (overrides["cpu"], overrides["memory"], overrides["taskRoleArn"]) == (
        *("512", "1024"),
        "task",
    )
    assert own_environment(launch) == {"A": "1"}
    assert launch.definition == flow_run_launch().definition


@pytest.mark.parametrize("value", [1, 1.5, True])
def test_a_run_configs_variables_are_texts(value: Any):
    launch = flow_run_launch(details(run_config={"type": "LocalRun", "env": {"A": value}}))

    assert own_environment(launch) == {"A": str(value)}


def test_what_the_file_says_in_the_definition_beats_the_run_config():
    launch = flow_run_launch(
        ecs_run(cpu="512", memory="1024", task_role_arn="run", env={"A": "run", "B": "run"}),
        file={
            "cpu": "2048",
            "taskRoleArn": "file",
            "containerDefinitions": [{"environment": environment(A="file")}],
        },
    )

    overrides = launch.request["overrides"]
    assert overrides.keys() == {"memory", "containerOverrides"}
    assert own_environment(launch) == {"B": "run"}
    assert launch.definition["cpu"] == "2048"
    assert variables(containers(launch)[0])["A"] == "file"


@pytest.mark.parametrize("layer", ["agent", "run task kwargs"])
def test_what_the_file_says_in_the_definition_beats_any_weaker_override(layer: str):
    weaker = {
        "cpu": "256",
        "memory": "512",
        "containerOverrides": [
            {"name": "flow", "cpu": 1, "environment": environment(A="weak", B="weak")}
        ],
    }
    launch = flow_run_launch(
        ecs_run(run_task_kwargs={"overrides": weaker} if layer == "run task kwargs" else {}),
        agent={"overrides": weaker} if layer == "agent" else {},
        file={
            "cpu": "1024",
            "containerDefinitions": [{"cpu": 2, "environment": environment(A="file")}],
        },
    )

    assert "cpu" not in launch.request["overrides"]
    assert launch.request["overrides"]["memory"] == "512"
    assert "cpu" not in override(launch, "flow")
    assert own_environment(launch) == {"B": "weak"}


def test_the_files_own_overrides_stand_above_all():
    launch = flow_run_launch(
        ecs_run(cpu="512", env={"A": "run", "B": "run"}),
        agent={"overrides": {"cpu": "256", "memory": "512"}},
        file={
            "overrides": {
                "cpu": "4096",
                "containerOverrides": [{"name": "flow", "environment": environment(A="file")}],
            }
        },
    )

    assert launch.request["overrides"]["cpu"] == "4096"
    assert launch.request["overrides"]["memory"] == "512"
    assert own_environment(launch) == {"A": "file", "B": "run"}


def test_overrides_of_other_containers_are_kept_as_they_are():
    other = {"name": "router", "cpu": 64, "environment": environment(A="1")}

    launch = flow_run_launch(agent={"overrides": {"containerOverrides": [other]}})

    assert override(launch, "router") == {"cpu": 64, "environment": {"A": "1"}}
    assert override(launch, "flow")["environment"] == IDENTITY


@pytest.mark.parametrize("layer", ["agent", "run config", "file"])
def test_the_name_of_a_secret_is_never_plain(layer: str):
    name = "PREFECT__CLOUD__AUTH_TOKEN"
    forged = {
        "containerOverrides": [{"name": "flow", "environment": environment(**{name: "tk_1"})}]
    }
    launch = flow_run_launch(
        ecs_run(env={name: "tk_1"} if layer == "run config" else None),
        agent={"overrides": forged} if layer == "agent" else {},
        file={"overrides": forged} if layer == "file" else {},
        api_key_secret=KEY_SECRET,
    )

    assert "tk_1" not in str(launch)
    assert override(launch, "flow")["environment"] == IDENTITY


def test_the_users_own_secrets_are_never_plain_either():
    secret = {"name": "DB", "valueFrom": "arn"}

    launch = flow_run_launch(
        ecs_run(env={"DB": "plain", "A": "1"}),
        file={"containerDefinitions": [{"secrets": [secret]}]},
    )

    assert own_environment(launch) == {"A": "1"}
    assert containers(launch)[0]["secrets"] == [secret]


def test_overrides_go_to_the_flows_container_by_the_name_it_has():
    launch = flow_run_launch(
        ecs_run(env={"A": "1"}), file={"containerDefinitions": [{"name": "mine"}]}
    )

    assert containers(launch)[0]["name"] == "mine"
    assert own_environment(launch, "mine") == {"A": "1"}
    assert len(launch.request["overrides"]["containerOverrides"]) == 1


# -- found by a reviewer ---------------------------------------------------------------------------


def test_sidecars_of_an_ecs_run_stand_beside_the_flows_container():
    asked = ecs_run(
        task_definition={
            "containerDefinitions": [
                {"name": "proxy", "image": "proxy:1"},
                {"name": "flow", "memory": 512},
            ]
        }
    )

    flow, proxy = containers(flow_run_launch(asked))

    assert (flow["name"], flow["memory"]) == ("flow", 512)
    assert proxy == {"name": "proxy", "image": "proxy:1"}


def test_no_run_config_hides_a_flows_server():
    given = environment(PREFECT__CLOUD__API="http://elsewhere", MINE="1")
    asked = ecs_run(
        env={"PREFECT__CLOUD__API": "http://elsewhere"},
        run_task_kwargs={
            "overrides": {"containerOverrides": [{"name": "flow", "environment": given}]}
        },
    )

    assert own_environment(flow_run_launch(asked)) == {"MINE": "1"}


def test_a_file_sizes_a_definition_that_the_run_names_by_overrides():
    asked = details(
        run_config={"type": "ECSRun", "task_definition_arn": "etl:7", "cpu": "1024"},
        storage={"type": "S3"},
    )

    launch = flow_run_launch(asked, file={"cpu": 4096, "memory": 8192})

    told = launch.request["overrides"]
    assert (told["cpu"], told["memory"]) == ("4096", "8192")


def test_a_flow_that_is_an_image_runs_it_whatever_definition_its_run_names():
    assert flow_run_launch(ecs_run(task_definition_arn="etl:7")).definition_arn is None
