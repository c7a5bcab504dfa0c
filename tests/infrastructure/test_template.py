"""What the template must say, whatever else CDK writes into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Match, Template

from infra.bundling import PYTHON_VERSION
from infra.fargate_agent import JOBS_LOG_GROUP
from infra.stack import AgentStack
from tests.support.stack_template import (
    SECRET,
    Deployed,
    config,
    default_template,
    of_type,
    synthesize,
    unbundled_app,
)

GIVEN = {
    "cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/shared",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    "containerDefinitions": [{"logConfiguration": {"logDriver": "awsfirelens"}}],
}


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.from_json(default_template())


def properties(resource: dict[str, Any]) -> dict[str, Any]:
    return dict(resource["Properties"])


def test_functions_are_small_arm64_and_on_the_newest_python(template: Template) -> None:
    template.resource_count_is("AWS::Lambda::Function", 3)
    template.all_resources_properties(
        "AWS::Lambda::Function",
        {"Architectures": ["arm64"], "MemorySize": 256, "Runtime": f"python{PYTHON_VERSION}"},
    )


def test_no_function_has_reserved_concurrency(template: Template) -> None:
    # A throttled tick would be hidden for the queue's whole visibility timeout.
    template.all_resources_properties(
        "AWS::Lambda::Function", {"ReservedConcurrentExecutions": Match.absent()}
    )


def test_every_function_has_a_log_group_with_retention(template: Template) -> None:
    template.resource_count_is("AWS::Logs::LogGroup", 4)  # and one for the tasks
    template.all_resources_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})
    template.all_resources_properties(
        "AWS::Lambda::Function", {"LoggingConfig": {"LogGroup": Match.any_value()}}
    )


def test_no_environment_comes_near_lambdas_limit() -> None:
    deployed = Deployed(default_template())
    for name in ("poll", "dispatch"):
        assert len(json.dumps(deployed.environment(name))) < 3000


def test_the_runs_queue_is_fifo_with_a_fifo_dead_letter_queue(template: Template) -> None:
    template.has_resource_properties(
        "AWS::SQS::Queue",
        {
            "FifoQueue": True,
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
            "ContentBasedDeduplication": False,
            "RedrivePolicy": {"maxReceiveCount": 200},
            "MessageRetentionPeriod": 14 * 24 * 3600,
        },
    )


@pytest.mark.parametrize("function", ["poll", "dispatch", "watch"])
def test_a_queue_hides_messages_longer_than_its_function_runs(function: str) -> None:
    template = default_template()
    id, resource = Deployed(template).function(function)
    (mapping,) = (
        m["Properties"]
        for m in of_type(template, "AWS::Lambda::EventSourceMapping").values()
        if m["Properties"]["FunctionName"] == {"Ref": id}
    )
    queue = template["Resources"][mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
    assert queue["VisibilityTimeout"] >= resource["Properties"]["Timeout"]
    # A tick comes alone, so it fails or succeeds as a whole.
    reports = mapping.get("FunctionResponseTypes", [])
    assert reports == ([] if function == "poll" else ["ReportBatchItemFailures"])


def test_every_queue_is_encrypted_and_takes_tls_only(template: Template) -> None:
    template.all_resources_properties("AWS::SQS::Queue", {"SqsManagedSseEnabled": True})
    policies = template.find_resources("AWS::SQS::QueuePolicy").values()
    for policy in policies:
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        assert {"aws:SecureTransport": "false"} in [
            s.get("Condition", {}).get("Bool") for s in statements
        ]
    assert len(policies) == len(template.find_resources("AWS::SQS::Queue"))


def test_the_kwargs_bucket_is_private_versioned_tls_only_and_kept(template: Template) -> None:
    template.has_resource(
        "AWS::S3::Bucket",
        {
            "DeletionPolicy": "Retain",
            "Properties": {
                "VersioningConfiguration": {"Status": "Enabled"},
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
            },
        },
    )
    (policy,) = template.find_resources("AWS::S3::BucketPolicy").values()
    conditions = [
        statement["Condition"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions


def test_the_schedule_fires_every_minute_and_failures_are_not_retried(template: Template) -> None:
    template.has_resource_properties(
        "AWS::Scheduler::Schedule",
        {
            "ScheduleExpression": "rate(1 minute)",
            "State": "ENABLED",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"RetryPolicy": {"MaximumRetryAttempts": 0}},
        },
    )


def test_a_disabled_agent_does_not_poll() -> None:
    template = Template.from_json(synthesize(config(agent={"enabled": False})))
    template.has_resource_properties("AWS::Scheduler::Schedule", {"State": "DISABLED"})


def test_an_interval_of_minutes_sets_the_schedule_and_needs_no_ticks() -> None:
    template = Template.from_json(synthesize(config(agent={"poll_interval_seconds": 300})))
    template.has_resource_properties(
        "AWS::Scheduler::Schedule", {"ScheduleExpression": "rate(5 minutes)"}
    )
    template.resource_count_is("AWS::Lambda::EventSourceMapping", 2)


def test_the_tasks_of_the_agents_cluster_reach_watch_but_those_of_services(
    template: Template,
) -> None:
    (cluster,) = template.find_resources("AWS::ECS::Cluster")
    template.has_resource_properties(
        "AWS::Events::Rule",
        {
            "EventPattern": {
                "source": ["aws.ecs"],
                "detail-type": ["ECS Task State Change"],
                "detail": {
                    "clusterArn": [{"Fn::GetAtt": [cluster, "Arn"]}],
                    "startedBy": [{"anything-but": {"prefix": "ecs-svc/"}}],
                    "lastStatus": Match.absent(),
                },
            }
        },
    )


def test_the_network_costs_nothing_when_idle_and_lets_nothing_in(template: Template) -> None:
    template.resource_count_is("AWS::EC2::NatGateway", 0)
    template.resource_count_is("AWS::EC2::VPCEndpoint", 0)
    template.resource_count_is("AWS::EC2::Subnet", 2)
    template.has_resource_properties(
        "AWS::EC2::SecurityGroup",
        {
            "SecurityGroupIngress": Match.absent(),
            "SecurityGroupEgress": [Match.object_like({"CidrIp": "0.0.0.0/0"})],
        },
    )
    template.resource_count_is("AWS::EC2::SecurityGroupIngress", 0)


def test_what_the_settings_name_is_not_made() -> None:
    template = Template.from_json(synthesize(config(ecs={"kwargs": GIVEN})))
    for kind in ("AWS::ECS::Cluster", "AWS::EC2::VPC", "AWS::EC2::SecurityGroup"):
        template.resource_count_is(kind, 0)
    template.resource_count_is("AWS::Logs::LogGroup", 3)
    template.resource_count_is("AWS::IAM::Role", 4)  # three functions, one schedule
    dispatch = Deployed(template.to_json()).environment("dispatch")
    assert json.loads(dispatch["STACK_KWARGS"]) == {}


def test_named_roles_and_clusters_are_what_dispatch_may_use() -> None:
    others = {
        "kwargs": GIVEN,
        "allowed_roles": ["arn:aws:iam::123456789012:role/etl"],
        "allowed_clusters": ["arn:aws:ecs:us-east-1:123456789012:cluster/gpu"],
    }
    deployed = Deployed(synthesize(config(ecs=others)))
    _, function = deployed.function("dispatch")
    (role, _) = function["Properties"]["Role"]["Fn::GetAtt"]
    by_action = {str(s["Action"]): s for s in deployed.role_statements(role)}
    assert by_action["iam:PassRole"]["Resource"] == [
        GIVEN["executionRoleArn"],
        GIVEN["taskRoleArn"],
        *others["allowed_roles"],
    ]
    assert by_action["ecs:RunTask"]["Condition"] == {
        "ArnEquals": {"ecs:cluster": [GIVEN["cluster"], *others["allowed_clusters"]]}
    }


def test_a_bucket_of_the_users_own_is_imported() -> None:
    settings = config(external_kwargs={"bucket": "team-kwargs", "prefix": "flows"})
    template = synthesize(settings)
    assert of_type(template, "AWS::S3::Bucket") == {}
    dispatch = Deployed(template).environment("dispatch")
    assert dispatch["KWARGS_BUCKET"] == "team-kwargs"


def test_the_execution_role_may_read_the_api_key_and_no_other_secret(template: Template) -> None:
    statements = [
        statement
        for id, policy in template.find_resources("AWS::IAM::Policy").items()
        if "ExecutionRole" in id
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "secretsmanager:GetSecretValue"
    ]
    assert [statement["Resource"] for statement in statements] == [SECRET]


def test_the_outputs_name_what_a_user_looks_for(template: Template) -> None:
    assert set(template.to_json()["Outputs"]) == {
        "Cluster",
        "DeadLetters",
        "DispatchFunction",
        "ExecutionRole",
        "KwargsBucket",
        "PollFunction",
        "RunsQueue",
        "TaskLogs",
        "TaskRole",
        "WatchFunction",
    }


@pytest.mark.parametrize("function", ["poll", "dispatch", "watch"])
def test_every_function_knows_the_clusters_that_tasks_may_be_run_in(function: str) -> None:
    gpu = "arn:aws:ecs:us-east-1:123456789012:cluster/gpu"
    others = {"kwargs": GIVEN, "allowed_clusters": [gpu]}
    deployed = Deployed(synthesize(config(ecs=others)))
    assert json.loads(deployed.environment(function)["CLUSTERS"]) == [GIVEN["cluster"], gpu]


def test_a_claim_is_named_by_the_account_the_region_and_the_agent() -> None:
    names = ("one", "two")
    claimants = [
        Deployed(synthesize(config(agent={"name": name}))).environment("poll")["CLAIMANT"]
        for name in names
    ]
    assert claimants == [f"123456789012/us-east-1/{name}/Agent" for name in names]


def test_watch_hides_what_it_failed_at_in_its_own_queue() -> None:
    deployed = Deployed(default_template())
    queue = deployed.environment("watch")["TASK_EVENTS_QUEUE_URL"].rpartition("/")[2]
    assert _statements(deployed, "watch")["sqs:ChangeMessageVisibility"]["Resource"].endswith(queue)


@pytest.mark.parametrize(
    ("function", "action"),
    [
        *(("poll", action) for action in ("ListTasks", "DescribeTasks", "StopTask")),
        *(("dispatch", action) for action in ("ListTasks", "DescribeTasks", "StopTask")),
        ("watch", "DescribeTasks"),
    ],
)
def test_tasks_are_read_and_stopped_in_the_agents_clusters_only(function: str, action: str) -> None:
    deployed = Deployed(synthesize(config(ecs={"kwargs": GIVEN})))
    statement = _statements(deployed, function)[f"ecs:{action}"]
    assert statement["Condition"] == {"ArnEquals": {"ecs:cluster": [GIVEN["cluster"]]}}


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({}, []),
        ({"awslogs-group": "/mine"}, ["arn:aws:logs:us-east-1:123456789012:log-group:/mine:*"]),
    ],
)
def test_watch_reads_no_log_groups_but_those_of_the_tasks(
    options: dict[str, str], groups: list[str]
) -> None:
    driver = "awslogs" if options else "awsfirelens"
    container = {"logConfiguration": {"logDriver": driver, "options": options}}
    kwargs = {**GIVEN, "containerDefinitions": [container]}
    deployed = Deployed(synthesize(config(ecs={"kwargs": kwargs})))
    granted = _statements(deployed, "watch")["logs:GetLogEvents"]["Resource"]
    found = [granted] if isinstance(granted, str) else granted
    of_jobs = f"arn:aws:logs:us-east-1:123456789012:log-group:{JOBS_LOG_GROUP}:*"
    assert found == [*groups, of_jobs]


def _statements(deployed: Deployed, function: str) -> dict[str, dict[str, Any]]:
    """Return the statements of a function's role by each of their actions."""
    _, resource = deployed.function(function)
    (role, _) = resource["Properties"]["Role"]["Fn::GetAtt"]
    return {
        action: statement
        for statement in deployed.role_statements(role)
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }


def test_two_agents_stand_side_by_side() -> None:
    names = [
        synthesize(config(agent={"name": name}))["Resources"].keys() for name in ("one", "two")
    ]
    assert names[0] == names[1]  # nothing is named by hand, so the stacks do not collide
    assert "FunctionName" not in json.dumps(
        [properties(f) for f in of_type(default_template(), "AWS::Lambda::Function").values()]
    )


def test_the_stacks_execution_role_serves_the_log_group_and_secrets_that_the_settings_name() -> (
    None
):
    container = {
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/mine"}},
        "secrets": [
            {"name": "A", "valueFrom": f"{SECRET}:field::"},
            {"name": "B", "valueFrom": "/team/token"},
        ],
    }
    deployed = Deployed(synthesize(config(ecs={"kwargs": {"containerDefinitions": [container]}})))
    (role,) = (id for id in of_type(deployed.template, "AWS::IAM::Role") if "ExecutionRole" in id)
    granted = {str(s["Action"]): s["Resource"] for s in deployed.role_statements(role)}
    assert granted["secretsmanager:GetSecretValue"] == SECRET
    assert granted["ssm:GetParameters"] == (
        "arn:aws:ssm:us-east-1:123456789012:parameter/team/token"
    )
    logs = granted["['logs:CreateLogStream', 'logs:PutLogEvents']"]
    assert logs == "arn:aws:logs:us-east-1:123456789012:log-group:/mine:*"


def test_roles_of_the_settings_overrides_may_be_passed() -> None:
    role = "arn:aws:iam::123456789012:role/override"
    settings = config(ecs={"kwargs": {"overrides": {"taskRoleArn": role}}})
    deployed = Deployed(synthesize(settings))
    _, function = deployed.function("dispatch")
    statements = deployed.role_statements(function["Properties"]["Role"]["Fn::GetAtt"][0])
    (pass_role,) = (s for s in statements if s["Action"] == "iam:PassRole")
    assert role in pass_role["Resource"]


def test_another_construct_may_be_let_write_kwargs_files() -> None:
    stack = AgentStack(unbundled_app(), config())
    stack.agent.grant_write_kwargs(iam.Role(stack, "Writer", assumed_by=iam.AnyPrincipal()))
    deployed = Deployed(Template.from_stack(stack).to_json())
    (role,) = (id for id in of_type(deployed.template, "AWS::IAM::Role") if "Writer" in id)
    (statement,) = deployed.role_statements(role)
    assert "s3:PutObject" in statement["Action"]
    assert statement["Resource"].endswith("/kwargs/*")


def test_without_external_kwargs_there_is_nothing_to_write_to() -> None:
    stack = AgentStack(unbundled_app(), config(external_kwargs={"enabled": False}))
    role = iam.Role(stack, "Writer", assumed_by=iam.AnyPrincipal())
    with pytest.raises(ValueError, match=r"external_kwargs\.enabled is false"):
        stack.agent.grant_write_kwargs(role)
