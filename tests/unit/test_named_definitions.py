"""A task definition that a run names itself: run as it is, but for overrides."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from fargate_agent.profiles.work_pool.named_definition import check_external
from tests.support.rendering import FakeAccount, override, rendered
from tests.support.values import RUN_ID, agent

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/etl:7"
KEY_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"
FLOW = {"name": "flow", "image": "etl:1"}
SIDECAR = {"name": "proxy", "image": "proxy:1"}
NAMED = {"task_definition": None, "task_run_request": {"taskDefinition": "etl:7"}}


def account(*containers: Any, **definition: Any) -> FakeAccount:
    found = {
        "taskDefinitionArn": ARN,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [*containers] or [FLOW],
        **definition,
    }
    return FakeAccount({None: ["subnet-default"]}, {"etl:7": found})


def launched(job: Any = None, *, where: Any = None, **layers: Any) -> Any:
    return rendered({**NAMED, **(job or {})}, account=where or account(), **layers)


def refusal(job: Any = None, **layers: Any) -> str:
    with pytest.raises(PermanentError) as error:
        launched(job, **layers)
    return str(error.value)


def test_it_is_run_by_its_name_and_none_is_registered():
    launch = launched()

    # Its ARN, for a family's latest may be another by then.
    assert (launch.definition_arn, launch.definition) == (ARN, {})
    assert "taskDefinition" not in launch.request
    assert override(launch, "flow")["environment"]["PREFECT__FLOW_RUN_ID"] == RUN_ID
    assert launch.request["launchType"] == "FARGATE"


def test_it_is_never_deregistered():
    assert not launched({"auto_deregister_task_definition": True}).deregisters


def test_a_definition_of_the_template_beside_it_is_not_used():
    template = {"family": "other", "containerDefinitions": [{"name": "other", "image": "o:1"}]}

    assert launched({"task_definition": template}) == launched()


# -- its container ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("containers", "asked", "found"),
    [
        ([FLOW, SIDECAR], None, "flow"),
        ([SIDECAR, FLOW], "flow", "flow"),
        ([SIDECAR, {"name": "prefect"}], None, "prefect"),
    ],
)
def test_the_flow_runs_in_the_named_container_or_prefect_or_the_first(
    containers: Any, asked: str | None, found: str
):
    launch = launched({"container_name": asked}, where=account(*containers))

    assert "PREFECT__FLOW_RUN_ID" in override(launch, found)["environment"]


def test_a_container_that_it_lacks_is_refused_with_those_it_has():
    found = refusal({"container_name": "x"}, where=account(FLOW, SIDECAR))

    assert found.startswith(
        "The task definition etl:7 has no container 'x' (container_name); it has 'flow', 'proxy'."
    )


# -- its secrets -----------------------------------------------------------------------------------


def test_one_that_does_not_give_the_agents_key_is_refused_with_the_remedy():
    found = refusal(agent=agent(secrets={"PREFECT_API_KEY": KEY_ARN}))

    assert f'{{"name": "PREFECT_API_KEY", "valueFrom": "{KEY_ARN}"}}' in found


@pytest.mark.parametrize(
    "given",
    [
        {"secrets": [{"name": "PREFECT_API_KEY", "valueFrom": "arn:other"}]},
        {"environment": [{"name": "PREFECT_API_KEY", "value": "pnu_own"}]},
    ],
)
def test_one_that_gives_a_key_is_run(given: Any):
    mine = agent(secrets={"PREFECT_API_KEY": KEY_ARN})

    launch = launched(where=account({**FLOW, **given}), agent=mine)

    assert "PREFECT_API_KEY" not in str(launch.request)


def test_so_is_one_whose_run_brings_a_key():
    mine = agent(secrets={"PREFECT_API_KEY": KEY_ARN})

    launch = launched({"env": {"PREFECT_API_KEY": "pnu_own"}}, agent=mine)

    assert override(launch, "flow")["environment"]["PREFECT_API_KEY"] == "pnu_own"


def test_its_secrets_are_not_overridden():
    secrets = [{"name": "TOKEN", "valueFrom": "arn:token"}]

    launch = launched({"env": {"TOKEN": "canary"}}, where=account({**FLOW, "secrets": secrets}))

    assert "canary" not in str(launch.request)


# -- where it runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bridge", "host", None])
def test_one_without_a_network_of_its_own_gets_none(mode: str | None):
    where = account(networkMode=mode, requiresCompatibilities=["EC2"])
    mine = agent(kwargs=Kwargs(request={"networkConfiguration": {"awsvpcConfiguration": {}}}))

    request = launched(where=where, agent=mine).request

    assert "networkConfiguration" not in request
    assert "launchType" not in request


def test_one_for_instances_is_not_run_on_fargate():
    found = refusal(
        {"task_run_request": {"taskDefinition": "etl:7", "launchType": "FARGATE"}},
        where=account(requiresCompatibilities=["EC2"]),
    )

    assert "requiresCompatibilities are EC2, and the launch type is FARGATE" in found


def test_a_logging_job_needs_its_execution_role():
    assert "no execution role" in refusal({"configure_cloudwatch_logs": True})
    launched({"configure_cloudwatch_logs": True}, where=account(executionRoleArn="arn:role"))


# -- S3 --------------------------------------------------------------------------------------------


def test_what_s3_says_of_the_task_becomes_an_override():
    file = Kwargs(
        definition={"cpu": "2048", "memory": "8192", "taskRoleArn": "arn:etl"},
        request={"cluster": "etl"},
        container={"cpu": 1024, "environment": [{"name": "A", "value": "s3"}]},
    )

    launch = launched({"env": {"A": "job", "B": "job"}}, external=file)

    assert launch.request["cluster"] == "etl"
    assert launch.request["overrides"].items() >= {
        ("cpu", "2048"),
        ("memory", "8192"),
        ("taskRoleArn", "arn:etl"),
    }
    flow = override(launch, "flow")
    assert flow["cpu"] == 1024
    assert (flow["environment"]["A"], flow["environment"]["B"]) == ("s3", "job")


def test_overrides_in_s3_stand_above_what_it_says_of_the_task():
    file = Kwargs(
        definition={"cpu": "2048"},
        request={
            "overrides": {
                "cpu": "4096",
                "containerOverrides": [
                    {"name": "flow", "memory": 512},
                    {"name": "proxy", "cpu": 1},
                ],
            }
        },
        container={"cpu": 1024, "memory": 256},
    )

    launch = launched(external=file, where=account(FLOW, SIDECAR))

    assert launch.request["overrides"]["cpu"] == "4096"
    assert (override(launch, "flow")["cpu"], override(launch, "flow")["memory"]) == (1024, 512)
    assert override(launch, "proxy") == {"cpu": 1}


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (Kwargs(container={"image": "etl:2"}), "image"),
        (Kwargs(container={"secrets": []}), "secrets"),
        (Kwargs(container={"name": "other"}), "name"),
        (Kwargs(definition={"volumes": []}), "volumes"),
        (Kwargs(definition={"family": "other"}), "family"),
    ],
)
def test_what_cannot_be_overridden_is_refused_by_its_file_and_key(file: Kwargs, key: str):
    with pytest.raises(PermanentError, match=f"^s3://b/etl.json: {key}: cannot be changed in"):
        check_external(file, "etl:7", "s3://b/etl.json")


def test_tags_in_s3_are_the_tasks():
    tags = [{"key": "team", "value": "s3"}]

    launch = launched(external=Kwargs(definition={"tags": tags}, request={"tags": tags}))

    assert tags[0] in launch.request["tags"]
