"""``auto_deregister_task_definition``: a definition that goes with its task."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from fargate_agent.deregistration import DEREGISTER_ENV, TAG, deregister, with_deregistration
from fargate_agent.task_details import told
from tests.support.aws import stubbed
from tests.support.rendering import rendered
from tests.support.revisions import ARN
from tests.support.values import stopped_task

ETL = ARN + "etl:7"


class Nobody:
    """An ECS that is not asked for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"ECS is asked for {name}")


NOBODY: Any = Nobody()


def event(request: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the event of a task whose request was this."""
    asked = with_deregistration(rendered().request, ETL) if request is None else request
    return stopped_task(taskDefinitionArn=ETL, overrides=asked["overrides"], **changes)


def test_a_request_tells_what_is_to_be_deregistered_and_keeps_all_else():
    request = rendered({"task_run_request": {"cluster": "etl"}, "labels": {"a": "b"}}).request
    before = repr(request)

    told_request = with_deregistration(request, ETL)

    assert told_request["tags"] == [*request["tags"], TAG]
    (flow,) = told_request["overrides"]["containerOverrides"]
    (was,) = request["overrides"]["containerOverrides"]
    assert flow == {
        **was,
        "environment": [*was["environment"], {"name": DEREGISTER_ENV, "value": ETL}],
    }
    assert told_request.keys() == request.keys()
    assert repr(request) == before


def test_the_tag_is_spelt_as_prefects_observer_reads_it():
    assert TAG == {"key": "prefect.io/degregister-task-definition", "value": "true"}


def test_with_as_many_tags_as_ecs_takes_there_are_no_more():
    request = rendered({"labels": {f"label-{number}": "x" for number in range(60)}}).request

    found = with_deregistration(request, ETL)["tags"]

    assert len(found) == 50
    assert TAG in found


def test_a_stopped_tasks_definition_is_deregistered():
    with stubbed("ecs") as (ecs, script):
        script.add_response("deregister_task_definition", {}, {"taskDefinition": ETL})

        deregister(ecs, event())


@pytest.mark.parametrize("code", ["ClientException", "AccessDeniedException"])
def test_one_that_is_deregistered_already_or_may_not_be_is_no_failure(code: str):
    with stubbed("ecs") as (ecs, script):
        script.add_client_error("deregister_task_definition", code)

        deregister(ecs, event())


@pytest.mark.parametrize("code", ["ThrottlingException", "ServerException"])
def test_any_other_failure_brings_the_event_back(code: str):
    with stubbed("ecs") as (ecs, script):
        script.add_client_error("deregister_task_definition", code)

        with pytest.raises(ClientError, match=code):
            deregister(ecs, event())


def test_a_task_that_says_nothing_leaves_its_definition():
    deregister(NOBODY, event(rendered().request))
    deregister(NOBODY, stopped_task(taskDefinitionArn=ETL))


def test_a_task_of_another_definition_leaves_it():
    detail = event()

    deregister(NOBODY, {**detail, "taskDefinitionArn": ARN + "etl:8"})
    del detail["taskDefinitionArn"]
    deregister(NOBODY, detail)


def test_a_variable_of_the_job_deregisters_nothing():
    request = rendered({"env": {DEREGISTER_ENV: ETL}}).request

    deregister(NOBODY, event(request))


def test_a_job_says_whether_it_is_to_be_deregistered():
    assert rendered({"auto_deregister_task_definition": True}).deregisters
    assert not rendered().deregisters


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"overrides": {}},
        {"overrides": {"containerOverrides": []}},
        {"overrides": {"containerOverrides": [{"name": "a"}, {"environment": []}]}},
    ],
)
def test_what_a_task_was_not_told_is_none(detail: Any):
    assert told(detail, "A") is None


def test_what_the_flow_was_told_is_found_among_the_containers():
    containers = [{"name": "a"}, told_container("b", FARGATE_AGENT_CLAIM_ID="c", A="1")]

    assert told({"overrides": {"containerOverrides": containers}}, "A") == "1"


def test_a_sidecar_deregisters_nothing():
    sidecar = told_container("proxy", FARGATE_AGENT_DEREGISTERS=ETL)
    flow = told_container("flow", FARGATE_AGENT_CLAIM_ID="c")
    overrides = {"containerOverrides": [sidecar, flow]}

    deregister(NOBODY, {"overrides": overrides, "taskDefinitionArn": ETL})


def told_container(name: str, **environment: str) -> dict[str, Any]:
    entries = [{"name": variable, "value": text} for variable, text in environment.items()]
    return {"name": name, "environment": entries}
