"""The deployed loop: a real Prefect, the stock CDK command line, the stack's own schedule.

The server wants an auth string and CSRF tokens, so that the secret's way is tested too: from
Secrets Manager to the functions, and by ECS into the containers. IAM is in force all the while.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fargate_agent.runs import parse_time
from local.loop import Loop, Row
from tests.support.probe import ALLOWED, Probe, probe, role_of

pytestmark = pytest.mark.xdist_group("loop")  # one worker shares what is slow to start

PATIENCE_SECONDS = 180
KWARGS = {
    "cpu": 2048,
    "memory": 8192,
    "containerDefinitions": [{"environment": [{"name": "GREETING", "value": "from S3"}]}],
}


@pytest.fixture(scope="module")
def runs(loop: Loop) -> dict[str, Row]:
    """Run every flow once, one of them ahead of time; return how each ended."""
    deployments = loop.deploy_flows("hello", "needs_more", "fails_on_purpose", "is_killed")
    loop.drop_kwargs("needs-more", deployments["needs-more"]["flow_id"], KWARGS)
    now = datetime.now(UTC)
    ids = {
        name: loop.schedule(deployments[name], now)
        for name in ("needs-more", "fails-on-purpose", "is-killed")
    }
    ids["hello"] = loop.schedule(deployments["hello"], now + timedelta(seconds=15))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = loop.rows(ids.values())
        if all(row.ended for row in rows) or time.monotonic() > deadline:
            return dict(zip(ids, rows, strict=True))
        time.sleep(1)


def test_every_run_ends_as_its_flow_does(runs: dict[str, Row]) -> None:
    assert {name: row.state for name, row in runs.items()} == {
        "hello": "COMPLETED",
        "needs-more": "COMPLETED",
        "fails-on-purpose": "FAILED",
        "is-killed": "CRASHED",
    }


def test_a_run_scheduled_ahead_never_starts_early(runs: dict[str, Row]) -> None:
    delay = runs["hello"].delay
    assert delay is not None
    assert delay >= 0


def test_every_run_has_one_task(loop: Loop, runs: dict[str, Row]) -> None:
    started = [task["startedBy"] for task in loop.tasks()]
    assert sorted(started) == sorted(row.id for row in runs.values())


def test_a_kwargs_file_sizes_the_task_and_sets_its_environment(
    loop: Loop, runs: dict[str, Row]
) -> None:
    row = runs["needs-more"]
    assert row.size == "2048 / 8192"
    assert any("GREETING=from S3" in line for line in loop.logs(row.id))


def test_a_killed_container_is_told_with_its_exit_code(loop: Loop, runs: dict[str, Row]) -> None:
    state = loop.api.get(f"/flow_runs/{runs['is-killed'].id}")["state"]
    assert "container 'prefect' exited with code 137" in state["message"]


def test_the_pool_is_ready_with_the_agent_online(loop: Loop, runs: dict[str, Row]) -> None:
    assert loop.api.get("/work_pools/fargate")["status"] == "READY"
    (worker,) = loop.api.post("/work_pools/fargate/workers/filter", {})
    assert (worker["name"], worker["status"]) == ("fargate-agent", "ONLINE")


def test_the_stacks_own_schedule_goes_on_polling(loop: Loop, runs: dict[str, Row]) -> None:
    """The poll that was asked for sent ticks for 50 seconds; a later one is the schedule's."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    beat = loop.first_poll
    while beat - loop.first_poll < timedelta(seconds=58) and time.monotonic() < deadline:
        (worker,) = loop.api.post("/work_pools/fargate/workers/filter", {})
        beat = parse_time(worker["last_heartbeat_time"])
        time.sleep(1)
    assert beat - loop.first_poll >= timedelta(seconds=58)


def test_the_containers_output_is_in_the_stacks_log_group(loop: Loop, runs: dict[str, Row]) -> None:
    logs = loop.cloud.client("logs")
    events = logs.filter_log_events(logGroupName=loop.outputs["TaskLogs"])["events"]
    assert any("GREETING=from S3" in event["message"] for event in events)


def test_the_secret_is_in_no_message_log_or_task(loop: Loop, runs: dict[str, Row]) -> None:
    logs = loop.cloud.client("logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    written = [
        event["message"]
        for group in groups
        for event in logs.filter_log_events(logGroupName=group)["events"]
    ]
    assert written
    ecs = loop.cloud.client("ecs")
    definitions = [
        ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])
        for task in loop.tasks()
    ]
    assert "canary-password" not in str([written, definitions, loop.tasks()])


@pytest.fixture(scope="module")
def ended_by_others(loop: Loop, runs: dict[str, Row]) -> dict[str, str]:
    """Interrupt one run's task, and cancel another run before its flow starts; return their ids."""
    deployment = loop.deploy_flows("waits_once")["waits-once"]
    ids = {
        name: loop.schedule(deployment, datetime.now(UTC)) for name in ("interrupted", "cancelled")
    }
    _wait_until(loop, ids["cancelled"], lambda row: row.launched is not None)
    state = {"type": "CANCELLING", "name": "Cancelling"}
    loop.api.post(f"/flow_runs/{ids['cancelled']}/set_state", {"state": state})
    loop.cloud.invoke(loop.outputs["PollFunction"], {})  # as the schedule does, within the minute
    _wait_until(loop, ids["interrupted"], lambda row: row.state == "RUNNING")
    (task,) = [task for task in loop.tasks() if task["startedBy"] == ids["interrupted"]]
    # With these words ECS tells of an interruption.
    reason = "Your Spot Task was interrupted."
    loop.cloud.client("ecs").stop_task(
        cluster=loop.outputs["Cluster"], task=task["taskArn"], reason=reason
    )
    for id in ids.values():
        _wait_until(loop, id, lambda row: row.ended)
    return ids


def _wait_until(loop: Loop, id: str, holds: Callable[[Row], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(loop.rows([id])[0]):
        assert time.monotonic() < deadline, loop.rows([id])
        time.sleep(0.2)


def test_an_interrupted_run_is_launched_again_and_completes(
    loop: Loop, ended_by_others: dict[str, str]
) -> None:
    run = ended_by_others["interrupted"]
    states = loop.api.get(f"/flow_run_states/?flow_run_id={run}")
    assert [state["name"] for state in states] == [
        *("Scheduled", "Pending", "Running"),
        *("AwaitingRelaunch", "Pending", "Running", "Completed"),
    ]
    assert len([task for task in loop.tasks() if task["startedBy"] == run]) == 2


def test_a_run_cancelled_before_its_flow_starts_has_its_task_stopped(
    loop: Loop, ended_by_others: dict[str, str]
) -> None:
    run = ended_by_others["cancelled"]
    states = loop.api.get(f"/flow_run_states/?flow_run_id={run}")
    names = [state["name"] for state in states]
    assert names == ["Scheduled", "Pending", "Cancelling", "Cancelled"]
    (task,) = [task for task in loop.tasks() if task["startedBy"] == run]
    assert task["stoppedReason"] == "The flow run was cancelled in Prefect."


def test_every_change_of_a_task_is_an_event_of_prefects(loop: Loop, runs: dict[str, Row]) -> None:
    related = {"id": [f"prefect.flow-run.{runs['hello'].id}"]}
    asked = {"filter": {"event": {"prefix": ["prefect.ecs.task."]}, "related": related}}
    wanted = {"provisioning", "running", "stopped"}
    deadline, seen = time.monotonic() + PATIENCE_SECONDS, set[str]()
    while not seen >= wanted and time.monotonic() < deadline:
        found = loop.api.post("/events/filter", asked)["events"]
        seen = {event["event"].rpartition(".")[2] for event in found}
        time.sleep(0.5)
    assert seen >= wanted


# -- IAM, which was in force until here


def test_everybody_had_the_rights_of_its_own_role_and_was_refused_nothing(
    loop: Loop, ended_by_others: dict[str, str]
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:  # the schedule fires once a minute
        made = loop.cloud.judgements()
        fired = any(judgement.action == "lambda:InvokeFunction" for judgement in made)
        if fired or time.monotonic() > deadline:
            break
        time.sleep(1)
    used: dict[str, set[str]] = {}
    for judgement in made:
        used.setdefault(judgement.role or judgement.principal, set()).add(judgement.action)
    functions = {name: used[role_of(loop.cloud, name)] for name in ("poll", "dispatch", "watch")}

    assert [judgement for judgement in made if not judgement.allowed] == []
    assert {"sqs:SendMessage", "ecs:ListTasks", "ecs:StopTask"} <= functions["poll"]
    assert {"sqs:ReceiveMessage", "s3:GetObject"} <= functions["dispatch"]
    assert {"ecs:RunTask", "iam:PassRole", "ecs:TagResource"} <= functions["dispatch"]
    assert {"sqs:ReceiveMessage", "ecs:DescribeTasks"} <= functions["watch"]
    for actions in functions.values():
        assert {"logs:PutLogEvents", "secretsmanager:GetSecretValue"} <= actions
    assert used["events.amazonaws.com"] == {"sqs:SendMessage"}
    assert {"lambda:InvokeFunction"} in used.values()  # the schedule
    execution = {"logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue"}
    assert execution in used.values()


@pytest.fixture(scope="module")
def as_dispatch(loop: Loop, ended_by_others: dict[str, str]) -> Probe:
    return probe(loop.cloud, "dispatch")


def test_dispatch_may_read_below_its_prefix_only(loop: Loop, as_dispatch: Probe) -> None:
    bucket = loop.outputs["KwargsBucket"]
    s3 = loop.cloud.client("s3")
    for key in ("kwargs/x.json", "elsewhere/x.json"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")

    assert as_dispatch.call("s3", "get_object", Bucket=bucket, Key="kwargs/x.json") == ALLOWED
    answer = as_dispatch.call("s3", "get_object", Bucket=bucket, Key="elsewhere/x.json")
    assert answer.startswith("AccessDenied: ")
    listing = as_dispatch.call("s3", "list_objects_v2", Bucket=bucket, Prefix="elsewhere/")
    assert listing.startswith("AccessDenied: ")


def test_dispatch_may_launch_in_its_cluster_and_with_its_roles_only(
    loop: Loop, as_dispatch: Probe
) -> None:
    launch = {"taskDefinition": loop.tasks()[0]["taskDefinitionArn"]}
    admin = "arn:aws:iam::000000000000:role/admin"

    elsewhere = as_dispatch.call("ecs", "run_task", **launch, cluster="elsewhere")
    assert_refused(elsewhere, "ecs:RunTask")
    as_admin = {"cluster": loop.outputs["Cluster"], "overrides": {"taskRoleArn": admin}}
    assert_refused(as_dispatch.call("ecs", "run_task", **launch, **as_admin), "iam:PassRole")


def test_poll_and_watch_may_not_launch(loop: Loop, ended_by_others: dict[str, str]) -> None:
    task = loop.tasks()[0]
    launch = {"taskDefinition": task["taskDefinitionArn"], "cluster": task["clusterArn"]}
    for module in ("poll", "watch"):
        assert_refused(probe(loop.cloud, module).call("ecs", "run_task", **launch), "ecs:RunTask")


def test_a_permissions_boundary_limits_a_role(loop: Loop, as_dispatch: Probe) -> None:
    iam, role = loop.cloud.client("iam"), role_of(loop.cloud, "dispatch")
    only_s3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": only_s3})
    boundary = iam.create_policy(PolicyName="only-s3", PolicyDocument=document)["Policy"]["Arn"]
    definition = {"taskDefinition": loop.tasks()[0]["taskDefinitionArn"]}
    assert as_dispatch.call("ecs", "describe_task_definition", **definition) == ALLOWED

    iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=boundary)
    limited = as_dispatch.call("ecs", "describe_task_definition", **definition)
    iam.delete_role_permissions_boundary(RoleName=role)

    assert_refused(limited, "ecs:DescribeTaskDefinition")


def assert_refused(answer: str, action: str) -> None:
    assert answer.startswith("AccessDeniedException: ")
    assert f"not authorized to perform: {action} on resource:" in answer


@contextmanager
def without(loop: Loop, role: str, action: str) -> Iterator[None]:
    """Take a right from a role inside the block."""
    iam = loop.cloud.client("iam")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    named = {"RoleName": role, "PolicyName": policy}
    document = iam.get_role_policy(**named)["PolicyDocument"]
    left = [s for s in document["Statement"] if action not in _actions(s)]
    assert len(left) == len(document["Statement"]) - 1
    iam.put_role_policy(**named, PolicyDocument=json.dumps({**document, "Statement": left}))
    yield
    iam.put_role_policy(**named, PolicyDocument=json.dumps(document))


def _actions(statement: Mapping[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else list(action)


def test_a_right_that_is_taken_away_is_missed_and_the_run_is_told(
    loop: Loop, ended_by_others: dict[str, str]
) -> None:
    deployment = loop.deploy_flows("hello")["hello"]
    with without(loop, role_of(loop.cloud, "dispatch"), "ecs:RunTask"):
        run = loop.schedule(deployment, datetime.now(UTC))
        loop.cloud.invoke(loop.outputs["PollFunction"], {})
        _wait_until(loop, run, lambda row: row.ended)

    state = loop.api.get(f"/flow_runs/{run}")["state"]
    assert state["type"] == "CRASHED"
    assert "ecs:RunTask" in state["message"]
