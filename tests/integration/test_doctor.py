"""``doctor`` names what is wrong: each thing is broken once, in an agent that is otherwise well."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from cli.doctor import functions, launch, prefect3
from fargate_agent import settings
from tests.support import aws
from tests.support.deployed_world import DeployedWorld, run
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

Lines = dict[str, dict[str, str]]


@pytest.fixture
def agent(world: World) -> DeployedWorld:
    """An agent that polled a moment ago."""
    world.poll()
    return DeployedWorld(world)


@pytest.fixture
def doctor(
    agent: DeployedWorld, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Lines]]:
    """Run the command; return its exit status and its lines by what they check."""
    given = ("-c", f"prefect.api_url={agent.settings().api_url}")
    given += ("-c", f"prefect.work_pool={agent.settings().work_pool}")

    def make(*arguments: str) -> tuple[int, Lines]:
        done = run(monkeypatch, agent, "doctor", "--json", *given, *arguments)
        return done.exit_code, {line["check"]: line for line in json.loads(done.stdout)}

    return make


def test_a_sound_agent_has_no_line_that_is_wrong(doctor: Any) -> None:
    status, lines = doctor()

    wrong = {n: line for n, line in lines.items() if line["level"] in ("warning", "failure")}
    assert (wrong, status) == ({}, 0)
    assert lines["Prefect's key"]["level"] == lines["last poll"]["level"] == "ok"


def _paused_pool(agent: DeployedWorld) -> None:
    agent.world.change_pool(is_paused=True)


def _no_slots(agent: DeployedWorld) -> None:
    agent.world.change_pool(concurrency_limit=0)


def _paused_queue(agent: DeployedWorld) -> None:
    path = f"/work_pools/{agent.world.pool}/queues/default"
    agent.world.prefect.send("PATCH", path, {"is_paused": True})


def _rolled_back(agent: DeployedWorld) -> None:
    agent.status = "ROLLBACK_COMPLETE"


def _no_cluster(agent: DeployedWorld) -> None:
    aws.moto("ecs").delete_cluster(cluster=agent.world.cluster)


def _wrong_subnet(agent: DeployedWorld) -> None:
    _change(agent, subnets=["subnet-0123456789abcdef0"])


def _no_public_address(agent: DeployedWorld) -> None:
    _change(agent, assignPublicIp="DISABLED")


def _no_security_group(agent: DeployedWorld) -> None:
    _change(agent, securityGroups=["sg-0123456789abcdef0"])


def _closed_security_group(agent: DeployedWorld) -> None:
    ec2 = aws.moto("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=agent.network["securityGroups"])[
        "SecurityGroups"
    ]
    ec2.revoke_security_group_egress(
        GroupId=group["GroupId"], IpPermissions=group["IpPermissionsEgress"]
    )


def _no_route(agent: DeployedWorld) -> None:
    aws.moto("ec2").delete_route(RouteTableId=agent.route_table, DestinationCidrBlock="0.0.0.0/0")


def _change(agent: DeployedWorld, **network: Any) -> None:
    """Write another network into ``[ecs.kwargs]``, as a deployment would."""
    written = json.loads(settings.SETTINGS_FILE.read_text())
    changed = {"awsvpcConfiguration": {**agent.network, **network}}
    written["ecs_kwargs"] = {"networkConfiguration": changed}
    settings.SETTINGS_FILE.write_text(json.dumps(written))


def _no_role(agent: DeployedWorld) -> None:
    aws.moto("iam").delete_role(RoleName=agent.role("TaskRole"))


def _untrusting_role(agent: DeployedWorld) -> None:
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "ec2.amazonaws.com"},
    }
    aws.moto("iam").update_assume_role_policy(
        RoleName=agent.role("TaskRole"),
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )


def _role_that_may_not_be_passed(agent: DeployedWorld) -> None:
    iam = aws.moto("iam")
    role = agent.lambdas.described["dispatch"]["Configuration"]["Role"].rpartition("/")[2]
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        iam.delete_role_policy(RoleName=role, PolicyName=policy)


def _execution_role_without_rights(agent: DeployedWorld) -> None:
    iam, role = aws.moto("iam"), agent.role("ExecutionRole")
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        iam.delete_role_policy(RoleName=role, PolicyName=policy)


def _no_log_group(agent: DeployedWorld) -> None:
    aws.moto("logs").delete_log_group(logGroupName=agent.outputs["TaskLogs"])


def _no_bucket(agent: DeployedWorld) -> None:
    aws.moto("s3").delete_bucket(Bucket=agent.outputs["KwargsBucket"])


def _switched_off_function(agent: DeployedWorld) -> None:
    agent.lambdas.described["dispatch"]["Concurrency"] = {"ReservedConcurrentExecutions": 0}


def _failed_update(agent: DeployedWorld) -> None:
    agent.lambdas.described["poll"]["Configuration"]["LastUpdateStatus"] = "Failed"


def _disabled_mapping(agent: DeployedWorld) -> None:
    agent.lambdas.mappings["watch"][0]["State"] = "Disabled"


def _disabled_schedule(agent: DeployedWorld) -> None:
    scheduler = aws.moto("scheduler")
    (schedule,) = scheduler.list_schedules()["Schedules"]
    held = scheduler.get_schedule(Name=schedule["Name"])
    fields = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    scheduler.update_schedule(**{name: held[name] for name in fields}, State="DISABLED")


def _disabled_rule(agent: DeployedWorld) -> None:
    (rule,) = aws.moto("events").list_rules()["Rules"]
    aws.moto("events").disable_rule(Name=rule["Name"])


@pytest.mark.parametrize(
    ("break_it", "line", "words"),
    [
        (_paused_pool, "work pool {pool}", "is paused"),
        (_no_slots, "work pool {pool}", "concurrency limit is 0"),
        (_paused_queue, "work queues", "paused"),
        (_rolled_back, "stack", "ROLLBACK_COMPLETE"),
        (_no_cluster, "cluster", "INACTIVE"),
        (_wrong_subnet, "subnets", "subnet-0123456789abcdef0"),
        (_no_public_address, "way out of {subnet}", "no public address"),
        (_no_route, "way out of {subnet}", "no default route"),
        (_no_security_group, "security groups", "sg-0123456789abcdef0"),
        (_closed_security_group, "security groups", "TCP 443"),
        (_no_role, "task role", "does not exist"),
        (_untrusting_role, "task role is trusted", "ecs-tasks.amazonaws.com"),
        (_role_that_may_not_be_passed, "task role is passed", "may not pass"),
        (_execution_role_without_rights, "execution role's rights", "logs:PutLogEvents"),
        (_no_log_group, "tasks' log group", "does not exist"),
        (_no_bucket, "kwargs bucket", "does not exist"),
        (_switched_off_function, "function dispatch", "reserved concurrency is 0"),
        (_failed_update, "function poll", "last update failed"),
        (_disabled_mapping, "queue of watch", "Disabled"),
        (_disabled_schedule, "schedule", "disabled"),
        (_disabled_rule, "rule for ECS's events", "disabled"),
    ],
)
def test_what_is_broken_is_named(
    agent: DeployedWorld, doctor: Any, break_it: Any, line: str, words: str
) -> None:
    break_it(agent)

    status, lines = doctor()

    found = lines[line.format(pool=agent.world.pool, subnet=agent.network["subnets"][0])]
    assert status == 1
    assert found["level"] == "failure"
    assert words in found["found"]
    assert found["remedy"]


def test_a_stack_that_was_never_deployed_in_full_is_all_there_is_to_tell(
    agent: DeployedWorld, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeployedWorld, "description", {"StackStatus": "ROLLBACK_COMPLETE"})
    for seen in ("outputs", "_functions"):
        agent.__dict__.pop(seen, None)

    status, lines = doctor("--launch")

    assert (status, [*lines]) == (1, ["AWS credentials", "stack"])
    assert "ROLLBACK_COMPLETE" in lines["stack"]["found"]


def test_without_credentials_nothing_is_looked_at(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise NoCredentialsError

    monkeypatch.setattr(DeployedWorld, "client", refuse)

    status, lines = doctor("--launch")

    assert (status, [*lines]) == (1, ["AWS credentials"])
    assert "There are no AWS credentials" in lines["AWS credentials"]["found"]


def test_a_server_out_of_reach_is_a_warning_for_the_agent_may_reach_it(
    agent: DeployedWorld, doctor: Any
) -> None:
    written = json.loads(settings.SETTINGS_FILE.read_text())
    out_of_reach = {**written, "api_url": "http://127.0.0.1:1/api"}
    settings.SETTINGS_FILE.write_text(json.dumps(out_of_reach))
    name = agent.outputs["PollFunction"]
    dimensions = [{"Name": "FunctionName", "Value": name}]
    counted, at = {"Invocations": 9, "Errors": 0}, datetime.now(UTC) - timedelta(minutes=1)
    aws.moto("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {"MetricName": metric, "Dimensions": dimensions, "Value": value, "Timestamp": at}
            for metric, value in counted.items()
        ],
    )

    status, lines = doctor()

    assert (status, lines["Prefect"]["level"]) == (0, "warning")
    assert "The agent reaches it: 9 polls went well" in lines["Prefect"]["found"]
    assert "9 in 15 minutes, none failed" in lines["polls by Lambda's count"]["found"]


def test_a_pool_of_another_type_is_refused_in_the_agents_own_words(
    agent: DeployedWorld, doctor: Any
) -> None:
    agent.world.prefect.send("DELETE", f"/work_pools/{agent.world.pool}")
    agent.world.prefect.post("/work_pools/", {"name": agent.world.pool, "type": "process"})

    _, lines = doctor()

    assert "is of type 'process'" in lines[f"work pool {agent.world.pool}"]["found"]


def test_a_pool_that_does_not_exist_is_named(agent: DeployedWorld, doctor: Any) -> None:
    agent.world.prefect.send("DELETE", f"/work_pools/{agent.world.pool}")

    _, lines = doctor()

    assert "does not exist" in lines[f"work pool {agent.world.pool}"]["found"]


def test_what_may_be_meant_is_a_warning_and_no_failure(agent: DeployedWorld, doctor: Any) -> None:
    path = f"/work_pools/{agent.world.pool}/workers/heartbeat"
    agent.world.prefect.send("POST", path, {"name": "ecs-worker"}, decode=str)
    aws.moto("sqs").send_message(
        QueueUrl=agent.outputs["DeadLetters"],
        MessageBody="{}",
        MessageGroupId="a",
        MessageDeduplicationId="a",
    )
    agent.write("poll", "no heartbeat", "ERROR", error="401: refused", at=datetime.now(UTC))

    status, lines = doctor("-c", "agent.send_logs=false", "-c", "ecs.kwargs.cpu=512")

    warned = {n: line["found"] for n, line in lines.items() if line["level"] == "warning"}
    assert status == 0
    assert "ecs-worker" in warned[f"work pool {agent.world.pool}"]
    assert "1 dead letters" in warned["queue of runs"]
    assert "401: refused" in warned["log of poll"]
    assert "send_logs (True deployed, False here)" in warned["settings"]
    assert "ecs_kwargs (cpu)" in warned["settings"]
    assert "512" not in warned["settings"]  # what a table holds may be secret


def test_a_check_that_breaks_off_costs_its_own_line_only(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(prefect3, "checks", broken)

    status, lines = doctor()

    assert (status, lines["Prefect"]["level"]) == (0, "not known")
    assert "ZeroDivisionError" in lines["Prefect"]["found"]
    assert lines["cluster"]["level"] == "ok"


@pytest.mark.parametrize(
    ("code", "words"),
    [("AccessDenied", "refused to whoever runs this"), ("InvalidAction", "is not available here")],
)
def test_what_aws_does_not_tell_is_not_known(
    agent: DeployedWorld, doctor: Any, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise aws.client_error(code, operation="DescribeRule")

    monkeypatch.setattr(functions, "_of_type", refuse)

    status, lines = doctor()

    assert (status, lines["schedule"]["level"]) == (0, "not known")
    assert words in lines["schedule"]["found"]


def test_launch_follows_a_tiny_task_to_its_end(
    agent: DeployedWorld, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "BETWEEN_LOOKS_SECONDS", 0)

    _, lines = doctor("--launch")

    (task,) = agent.world.tasks()
    assert task["startedBy"] == "validate-configuration"
    assert task["taskArn"] in lines["launch"]["found"]


def test_a_launch_that_is_refused_tells_why(agent: DeployedWorld, doctor: Any) -> None:
    written = json.loads(settings.SETTINGS_FILE.read_text())
    settings.SETTINGS_FILE.write_text(json.dumps({**written, "ecs_kwargs": {"memmory": 1}}))
    agent.world.cold_start()

    status, lines = doctor("--launch")

    assert (status, lines["launch"]["level"]) == (1, "failure")
    assert "Did you mean 'memory'?" in lines["launch"]["found"]
