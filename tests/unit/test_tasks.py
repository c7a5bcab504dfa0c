from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError

from fargate_agent.errors import PermanentError
from fargate_agent.tasks import (
    PERMANENT_CODES,
    InactiveDefinition,
    Task,
    TaskNotStarted,
    classify,
    run_task,
)
from tests.support.aws import client, client_error, stubbed
from tests.support.values import CLUSTER_ARN, TASK_ARN

DEFINITION_ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/etl:7"
STARTED = Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN)
ASKED = {
    "cluster": "flows",
    "taskDefinition": DEFINITION_ARN,
    "clientToken": "claim-1",
    "startedBy": "run-1",
}


def run(ecs: Any) -> Task:
    return run_task(
        ecs,
        {"cluster": "flows"},
        definition_arn=DEFINITION_ARN,
        claim_id="claim-1",
        flow_run_id="run-1",
    )


def answered(*failures: dict[str, str], tasks: Any = ()) -> Task:
    with stubbed("ecs") as (ecs, script):
        script.add_response("run_task", {"tasks": list(tasks), "failures": list(failures)}, ASKED)
        return run(ecs)


def refused(code: str, message: str = "no", **fields: Any) -> Task:
    with stubbed("ecs") as (ecs, script):
        script.add_client_error("run_task", code, message, modeled_fields=fields or None)
        return run(ecs)


def test_a_task_is_started_under_its_claim_and_named_by_its_run():
    assert answered(tasks=[{"taskArn": TASK_ARN}]) == STARTED


def test_a_task_is_reported_as_prefects_worker_does():
    assert STARTED.infrastructure_id == f"{CLUSTER_ARN}::{TASK_ARN}"


def test_a_claim_that_started_a_task_before_is_a_success():
    assert refused("ConflictException", resourceIds=[TASK_ARN]) == STARTED


@pytest.mark.parametrize("reason", ["RESOURCE:FARGATE", "Capacity is unavailable at this time."])
def test_a_task_not_started_for_want_of_capacity_is_worth_another_try(reason: str):
    with pytest.raises(TaskNotStarted) as failure:
        answered({"reason": reason, "detail": "later"})

    assert str(failure.value) == f"ECS could not start the task: {reason} later"
    assert classify(failure.value) is failure.value


def test_every_failure_is_told():
    with pytest.raises(TaskNotStarted) as failure:
        answered({"reason": "AGENT"}, {"arn": "arn:aws:ecs:eu-west-1:1:x"})

    assert str(failure.value) == "ECS could not start the task: AGENT; unknown"


def test_what_is_missing_stays_missing():
    with pytest.raises(PermanentError) as failure:
        answered({"reason": "MISSING", "detail": "cluster flows"})

    assert str(failure.value) == (
        "ECS could not start the task: MISSING cluster flows. Create what is missing."
    )


@pytest.mark.parametrize(
    "message", ["TaskDefinition is inactive", "TaskDefinition is INACTIVE: etl:7"]
)
def test_a_deregistered_revision_is_told_apart(message: str):
    with pytest.raises(InactiveDefinition, match="task-definition/etl:7"):
        refused("ClientException", message)


def test_any_other_refusal_is_passed_on():
    with pytest.raises(ClientError, match="ThrottlingException") as refusal:
        refused("ThrottlingException", "Rate exceeded")

    assert classify(refusal.value) is refusal.value


@pytest.mark.parametrize("code", sorted(PERMANENT_CODES))
def test_an_error_that_stays_is_permanent_and_comes_with_its_remedy(code: str):
    verdict = classify(client_error(code, "It is wrong."))

    assert isinstance(verdict, PermanentError)
    assert str(verdict) == f"RunTask: {code}: It is wrong. {PERMANENT_CODES[code]}"


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "BlockedException",
        "ClientException",
        "ClusterNotFoundException",
        "InvalidParameterException",
        "PlatformTaskDefinitionIncompatibilityException",
        "PlatformUnknownException",
        "UnsupportedFeatureException",
    ],
)
def test_ecss_own_errors_of_the_caller_are_among_those_that_stay(code: str):
    assert code in PERMANENT_CODES


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException", "Rate exceeded"),
        client_error("ServerException", "Service Unavailable"),
        client_error("ServiceUnavailable"),
        client_error("RequestLimitExceeded"),
        client_error("SomethingNew"),
        ReadTimeoutError(endpoint_url="https://ecs"),
        ConnectionResetError("reset by peer"),
        TaskNotStarted("RESOURCE:FARGATE"),
        RuntimeError("anything"),
    ],
    ids=repr,
)
def test_all_else_is_worth_another_try(error: Exception):
    assert classify(error) is error


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ClientException", "Too many concurrent attempts to create a new revision of the family."),
        ("InvalidParameterException", "You've reached the limit on the number of tasks."),
        ("ClientException", "Capacity is unavailable at this time."),
        ("AccessDeniedException", "Rate exceeded"),
    ],
)
def test_what_passes_is_known_by_its_words_where_its_code_says_otherwise(code: str, message: str):
    error = client_error(code, message)

    assert classify(error) is error


def test_a_permanent_error_stays_one():
    error = PermanentError("no such key")

    assert classify(error) is error


def test_a_request_that_botocore_refuses_is_permanent_and_names_the_value():
    with pytest.raises(ParamValidationError) as refusal:
        client("ecs").run_task(taskDefinition="etl", tags=[{"key": "team", "valeu": "data"}])

    verdict = classify(refusal.value)

    assert isinstance(verdict, PermanentError)
    assert str(verdict).startswith("ECS would refuse the request: ")
    assert 'Unknown parameter in tags[0]: "valeu"' in str(verdict)
    assert str(verdict).endswith("Correct what is named.")


def test_a_deleted_cluster_is_not_an_inactive_definition():
    with pytest.raises(ClientError) as refusal:
        refused("ClusterNotFoundException", "The referenced cluster was inactive.")

    assert "create the cluster" in str(classify(refusal.value))


def test_a_value_that_botocore_refuses_is_not_repeated():
    with pytest.raises(ParamValidationError) as refusal:
        client("ecs").run_task(taskDefinition="etl", tags=[{"key": "team", "value": ["canary"]}])

    verdict = str(classify(refusal.value))
    assert "tags[0].value" in verdict
    assert "canary" not in verdict


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidParameterException", "TaskDefinition is inactive"),
        ("ClientException", "TaskDefinition not found."),
        ("ClientException", "Unable to describe task definition."),
    ],
)
def test_a_revision_that_is_gone_is_told_apart_in_every_form_of_the_refusal(
    code: str, message: str
):
    with pytest.raises(InactiveDefinition):
        refused(code, message)


def test_a_refusal_of_another_service_is_not_told_as_ecss():
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetSecretValue")

    assert classify(error) is error
