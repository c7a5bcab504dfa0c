"""What one run tells its task beyond the definition."""

from typing import Any

import pytest

from fargate_agent.kwargs import Kwargs
from tests.support.rendering import override, rendered
from tests.support.values import RUN_ID, agent, flow_run

ESSENTIAL = ["PREFECT__FLOW_RUN_ID", "FARGATE_AGENT_CLAIM_ID"]
PREFECTS = {
    "PREFECT_API_URL": "https://prefect.example.com/api",
    "PREFECT__FLOW_RUN_ID": RUN_ID,
    "PREFECT__WORKER_NAME": "fargate-agent",
    "PREFECT__FLOW_ID": "b1d2f3a4-0000-4000-8000-000000000001",
    "PREFECT__FLOW_NAME": "Load orders",
    "PREFECT__DEPLOYMENT_ID": "d1d2f3a4-0000-4000-8000-000000000002",
    "PREFECT__DEPLOYMENT_NAME": "nightly",
    "FARGATE_AGENT_CLAIM_ID": flow_run().claim_id,
}


def environment(job: Any = None, **layers: Any) -> dict[str, str]:
    return override(rendered(job, **layers))["environment"]


def variable(name: str, value: str) -> dict[str, list[dict[str, str]]]:
    return {"environment": [{"name": name, "value": value}]}


def overriding(name: str | None = None, **changes: Any) -> Kwargs:
    named = {"name": name} if name else {}
    return Kwargs(request={"overrides": {"containerOverrides": [{**named, **changes}]}})


def test_a_run_is_told_what_it_is_and_how_to_execute():
    assert override(rendered()) == {
        "command": ["prefect", "flow-run", "execute"],
        "environment": PREFECTS,
    }


def test_a_run_without_a_deployment_is_told_of_none():
    told = environment(run=flow_run(deployment_id=None, deployment_name=None))

    assert set(PREFECTS) - set(told) == {"PREFECT__DEPLOYMENT_ID", "PREFECT__DEPLOYMENT_NAME"}


def test_the_jobs_variables_stand_above_the_agents_and_those_above_prefects():
    told = environment(
        {"env": {"A": "job", "PREFECT_API_URL": "http://job"}},
        agent=agent(env={"A": "agent", "B": "agent", "PREFECT__WORKER_NAME": "agent"}),
    )

    assert told == {
        **PREFECTS,
        "A": "job",
        "B": "agent",
        "PREFECT_API_URL": "http://job",
        "PREFECT__WORKER_NAME": "agent",
    }


def test_a_variable_set_to_null_is_removed():
    told = environment({"env": {"A": None, "PREFECT_API_URL": None}}, agent=agent(env={"A": "1"}))

    assert set(PREFECTS) - set(told) == {"PREFECT_API_URL"}
    assert "A" not in told


def test_a_variable_of_another_type_becomes_text():
    told = environment({"env": {"A": 5, "B": True, "C": ""}})

    assert [told["A"], told["B"], told["C"]] == ["5", "True", ""]


@pytest.mark.parametrize("name", ESSENTIAL)
@pytest.mark.parametrize("value", ["another run", None])
def test_no_job_variable_changes_which_run_it_is(name: str, value: str | None):
    assert environment({"env": {name: value}}) == PREFECTS


@pytest.mark.parametrize("name", ESSENTIAL)
def test_no_variable_in_s3_changes_which_run_it_is(name: str):
    in_definition = Kwargs(container=variable(name, "another run"))
    in_overrides = overriding(**variable(name, "another run"))

    assert environment(external=in_definition) == PREFECTS
    assert environment(external=in_overrides) == PREFECTS


def test_a_command_is_split_into_its_words():
    command = override(rendered({"command": "python -m flow 'a b'"}))["command"]

    assert command == ["python", "-m", "flow", "a b"]


def test_the_strongest_layers_command_is_run():
    mine = agent(kwargs=Kwargs(container={"command": ["agent"]}))
    s3 = Kwargs(container={"command": ["s3"]})

    assert override(rendered(agent=mine))["command"] == ["agent"]
    assert override(rendered({"command": "job"}, agent=mine))["command"] == ["job"]
    assert override(rendered({"command": "job"}, agent=mine, external=s3))["command"] == ["s3"]


def test_a_size_that_the_job_asks_for_overrides_the_task_in_text_and_the_container_in_numbers():
    size = {"cpu": "512", "memory": "1024"}
    asked = {"cpu": 512, "memory": 1024, "containerOverrides": [size]}

    launch = rendered({"task_run_request": {"overrides": asked}})

    overrides = launch.request["overrides"]
    assert (overrides["cpu"], overrides["memory"]) == ("512", "1024")
    assert (override(launch)["cpu"], override(launch)["memory"]) == (512, 1024)


def test_a_size_in_s3_is_not_overridden_by_the_jobs():
    asked = {"cpu": 512, "memory": 1024, "containerOverrides": [{"cpu": 512, "memory": 1024}]}

    launch = rendered(
        {"task_run_request": {"overrides": asked}}, external=Kwargs(definition={"cpu": "4096"})
    )

    assert launch.definition["cpu"] == "4096"
    assert "cpu" not in launch.request["overrides"]
    assert "cpu" not in override(launch)
    assert launch.request["overrides"]["memory"] == "1024"
    assert override(launch)["memory"] == 1024


def test_a_variable_in_s3_is_not_overridden_by_the_jobs():
    told = environment(
        {"env": {"A": "job", "B": "job"}}, external=Kwargs(container=variable("A", "s3"))
    )

    assert "A" not in told
    assert told["B"] == "job"


def test_a_sidecars_override_is_kept_where_s3_changes_the_flows_container():
    asked = {"containerOverrides": [{"name": "proxy", "cpu": 64}, {"name": "prefect", "cpu": 128}]}

    launch = rendered(
        {"task_run_request": {"overrides": asked}}, external=Kwargs(container={"cpu": 256})
    )

    assert override(launch, "proxy") == {"cpu": 64}
    assert "cpu" not in override(launch)


def test_overrides_in_s3_stand_above_all_and_leave_the_rest():
    launch = rendered(
        {"env": {"A": "job", "B": "job"}, "command": "job"},
        external=overriding(command=["s3"], memory=512, **variable("A", "s3")),
    )

    assert override(launch) == {
        "command": ["s3"],
        "memory": 512,
        "environment": {**PREFECTS, "A": "s3", "B": "job"},
    }


def test_overrides_of_the_agent_stand_below_all():
    mine = overriding(command=["agent"], memory=512, **variable("A", "agent"))

    launch = rendered({"env": {"A": "job"}}, agent=agent(kwargs=mine))

    assert override(launch) == {
        "command": ["prefect", "flow-run", "execute"],
        "memory": 512,
        "environment": {**PREFECTS, "A": "job"},
    }


def test_overrides_of_the_task_replace_one_another_key_by_key():
    def layer(**overrides: Any) -> Kwargs:
        return Kwargs(request={"overrides": overrides})

    overrides = rendered(
        {"task_run_request": {"overrides": {"cpu": 2, "memory": 2}}},
        agent=agent(kwargs=layer(cpu="1", memory="1", taskRoleArn="agent")),
        external=layer(memory="3"),
    ).request["overrides"]

    assert {k: v for k, v in overrides.items() if k != "containerOverrides"} == {
        "cpu": "2",
        "memory": "3",
        "taskRoleArn": "agent",
    }


def test_an_override_without_a_name_is_the_flows_containers():
    named = {"task_definition": {"containerDefinitions": [{"name": "flow"}]}}
    launch = rendered(named, external=overriding(memory=512))

    assert override(launch, "flow")["memory"] == 512
    assert len(launch.request["overrides"]["containerOverrides"]) == 1


@pytest.mark.parametrize("name", ESSENTIAL)
def test_no_variable_of_the_agents_own_overrides_changes_which_run_it_is(name: str):
    mine = overriding(**variable(name, "another"))

    assert environment(agent=agent(kwargs=mine))[name] == PREFECTS[name]


def test_a_sidecar_keeps_the_environment_and_command_of_its_override():
    sidecar = {"name": "proxy", "command": ["listen"], **variable("PORT", "1")}
    overrides = {"containerOverrides": [{"name": "prefect"}, sidecar]}

    launch = rendered({"task_run_request": {"overrides": overrides}})

    assert override(launch, "proxy") == {"command": ["listen"], "environment": {"PORT": "1"}}


def test_a_variable_that_is_a_secret_of_the_container_is_no_override():
    secrets = [{"name": "TOKEN", "valueFrom": "arn:aws:secretsmanager:::secret:token"}]
    job = {"task_definition": {"containerDefinitions": [{"secrets": secrets}]}}

    assert "TOKEN" not in environment({**job, "env": {"TOKEN": "canary"}})


def test_a_key_of_the_runs_own_takes_the_place_of_the_agents_secret():
    launch = rendered(
        {"env": {"PREFECT_API_KEY": "pnu_own"}},
        agent=agent(secrets={"PREFECT_API_KEY": "arn:aws:secretsmanager:::secret:key"}),
    )

    assert override(launch)["environment"]["PREFECT_API_KEY"] == "pnu_own"
    assert "secrets" not in launch.definition["containerDefinitions"][0]


def test_s3_stands_above_the_agents_own_overrides():
    mine = Kwargs(
        request={
            "overrides": {
                "cpu": "512",
                "containerOverrides": [{"name": "prefect", **variable("A", "agent")}],
            }
        }
    )
    file = Kwargs(definition={"cpu": "2048"}, container=variable("A", "file"))

    launch = rendered(agent=agent(kwargs=mine), external=file)

    assert "cpu" not in launch.request["overrides"]
    assert "A" not in override(launch)["environment"]


def test_a_container_that_s3_renames_takes_its_override_along():
    job = {
        "container_name": "prefect",
        "task_definition": {"containerDefinitions": [{"name": "prefect"}]},
        "task_run_request": {
            "overrides": {
                "containerOverrides": [{"name": "prefect", "cpu": "5", "environment": {"A": "b"}}]
            }
        },
    }

    launch = rendered(job, external=Kwargs(container={"name": "etl"}))

    assert override(launch, "etl")["cpu"] == 5
    assert [c["name"] for c in launch.request["overrides"]["containerOverrides"]] == ["etl"]


def test_a_sidecars_override_is_put_into_ecss_form():
    sidecar = {"name": "proxy", "command": "listen -p 1", "environment": {"PORT": 1, "X": None}}

    launch = rendered({"task_run_request": {"overrides": {"containerOverrides": [sidecar]}}})

    assert override(launch, "proxy") == {
        "command": ["listen", "-p", "1"],
        "environment": {"PORT": "1"},
    }


def test_variables_that_only_the_templates_override_has_are_kept_below_the_jobs():
    written = [{"name": "A", "value": "template"}, {"name": "B", "value": "template"}]
    overrides = {"containerOverrides": [{"name": "prefect", "environment": written}]}

    told = environment({"env": {"B": "job"}, "task_run_request": {"overrides": overrides}})

    assert (told["A"], told["B"]) == ("template", "job")
