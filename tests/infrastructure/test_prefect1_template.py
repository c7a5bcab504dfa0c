"""What the template says with Prefect 1's settings, a function URL, and tasks elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infrastructure.test_template import GIVEN
from tests.support.stack_template import SECRET, Deployed, config, of_type, synthesize

PREFECT = {"version": 1, "api_url": "https://prefect.example.com", "api_key_secret": SECRET}
ROLE = "arn:aws:iam::210987654321:role/tasks"
KEYS = "arn:aws:secretsmanager:us-east-1:123456789012:secret:keys-AbCdEf"


def deployed(**sections: Any) -> Deployed:
    return Deployed(synthesize(config(prefect=PREFECT, **sections)))


def grants(stack: Deployed, function: str) -> dict[str, dict[str, Any]]:
    """Return a function's statements by each of their actions."""
    _, resource = stack.function(function)
    (role, _) = resource["Properties"]["Role"]["Fn::GetAtt"]
    return {
        action: statement
        for statement in stack.role_statements(role)
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }


def test_a_url_is_open_to_all_and_its_secret_known_to_poll_alone() -> None:
    stack = deployed(agent={"url": True})
    (url,) = of_type(stack.template, "AWS::Lambda::Url").values()
    poll, _ = stack.function("poll")
    assert url["Properties"] == {
        "AuthType": "NONE",
        "TargetFunctionArn": {"Fn::GetAtt": [poll, "Arn"]},
    }
    allowed = [r["Properties"] for r in of_type(stack.template, "AWS::Lambda::Permission").values()]
    public = [p for p in allowed if p["Principal"] == "*"]
    assert {p["Action"] for p in public} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert all(p.get("FunctionUrlAuthType") or p.get("InvokedViaFunctionUrl") for p in public)
    secret = stack.environment("poll")["URL_SECRET"]
    assert secret in grants(stack, "poll")["secretsmanager:GetSecretValue"]["Resource"]
    assert secret not in str(grants(stack, "dispatch"))
    assert {"Url", "UrlSecret"} <= stack.template["Outputs"].keys()


def test_without_the_setting_there_is_no_url() -> None:
    assert of_type(deployed().template, "AWS::Lambda::Url") == {}


def test_the_secret_of_the_url_is_made_up_by_secrets_manager() -> None:
    stack = deployed(agent={"url": True})
    (secret,) = of_type(stack.template, "AWS::SecretsManager::Secret").values()
    assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] == 40


def test_watch_may_list_the_tasks_of_the_agents_cluster() -> None:
    listing = grants(deployed(ecs={"kwargs": GIVEN}), "watch")["ecs:ListTasks"]
    assert listing["Condition"] == {"ArnEquals": {"ecs:cluster": [GIVEN["cluster"]]}}


def test_with_prefect_3_watch_lists_no_tasks_for_events_name_them() -> None:
    assert "ecs:ListTasks" not in grants(Deployed(synthesize(config())), "watch")


def test_of_prefect_1_only_the_ends_of_tasks_reach_watch() -> None:
    (rule,) = of_type(deployed(ecs={"kwargs": GIVEN}).template, "AWS::Events::Rule").values()
    assert rule["Properties"]["EventPattern"]["detail"] == {
        "clusterArn": [GIVEN["cluster"]],
        "startedBy": [{"anything-but": {"prefix": "ecs-svc/"}}],
        "lastStatus": ["STOPPED"],
    }


def test_agents_of_one_cluster_claim_by_one_name() -> None:
    one, two = (
        deployed(agent={"name": name}, ecs={"kwargs": GIVEN}).environment("poll")["CLAIMANT"]
        for name in ("one", "two")
    )
    assert one == two == GIVEN["cluster"]


@pytest.mark.parametrize("function", ["poll", "dispatch", "watch"])
def test_another_accounts_role_is_assumed_and_nothing_done_as_oneself(function: str) -> None:
    stack = deployed(aws={"role_arn": ROLE}, ecs={"kwargs": GIVEN})
    found = grants(stack, function)
    assert found["sts:AssumeRole"]["Resource"] == ROLE
    assert not any(action.startswith(("ecs:", "iam:", "tag:")) for action in found)


def test_keys_of_another_account_are_read_by_those_who_use_them() -> None:
    stack = deployed(aws={"credentials_secret": KEYS}, ecs={"kwargs": GIVEN})
    for function in ("poll", "dispatch", "watch"):
        found = grants(stack, function)
        assert KEYS in found["secretsmanager:GetSecretValue"]["Resource"]
        assert not any(action.startswith(("ecs:", "iam:", "tag:")) for action in found)


def test_in_another_account_nothing_is_made_for_tasks() -> None:
    kwargs = {key: value for key, value in GIVEN.items() if key != "containerDefinitions"}
    stack = deployed(aws={"role_arn": ROLE}, ecs={"kwargs": kwargs})
    for kind in ("AWS::ECS::Cluster", "AWS::EC2::VPC"):
        assert of_type(stack.template, kind) == {}
    assert stack.environment("dispatch")["STACK_KWARGS"] == "{}"
    assert len(of_type(stack.template, "AWS::Logs::LogGroup")) == 3  # the functions' own


def test_a_named_bucket_is_read_as_tasks_are_run_and_the_stacks_own_as_oneself() -> None:
    elsewhere: dict[str, Any] = {"aws": {"role_arn": ROLE}, "ecs": {"kwargs": GIVEN}}
    named = deployed(**elsewhere, external_kwargs={"bucket": "team-kwargs"})
    assert "s3:GetObject" not in grants(named, "dispatch")
    assert "s3:GetObject" in grants(deployed(**elsewhere), "dispatch")


def test_in_another_region_the_grants_are_for_that_region() -> None:
    kwargs = {**GIVEN, "cluster": "shared"}
    found = grants(deployed(aws={"region": "eu-west-1"}, ecs={"kwargs": kwargs}), "dispatch")
    assert ":eu-west-1:" in found["ecs:RunTask"]["Resource"]
    (cluster,) = _listed(found["ecs:RunTask"]["Condition"]["ArnEquals"]["ecs:cluster"])
    assert cluster.endswith(":ecs:eu-west-1:123456789012:cluster/shared")


def test_for_tasks_on_the_hosts_network_no_vpc_is_made() -> None:
    kwargs = {"cluster": GIVEN["cluster"], "networkMode": "bridge"}
    stack = deployed(ecs={"launch_type": "EC2", "kwargs": kwargs})
    assert of_type(stack.template, "AWS::EC2::VPC") == {}
    assert "networkConfiguration" not in stack.environment("dispatch")["STACK_KWARGS"]


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_in_another_region_the_stacks_roles_are_for_that_region() -> None:
    kwargs = {
        "cluster": "shared",
        "networkConfiguration": GIVEN["networkConfiguration"],
        "containerDefinitions": [{"secrets": [{"name": "A", "valueFrom": "/a"}]}],
    }
    stack = deployed(aws={"region": "eu-west-1"}, ecs={"kwargs": kwargs})
    roles = of_type(stack.template, "AWS::IAM::Role")
    (execution,) = [id for id in roles if "ExecutionRole" in id]
    trust = str(stack.resolve(roles[execution]["Properties"]["AssumeRolePolicyDocument"]))
    assert ":ecs:eu-west-1:123456789012:*" in trust
    granted = str(stack.role_statements(execution))
    assert ":ecr:eu-west-1:" in granted
    assert ":ssm:eu-west-1:" in granted


def test_a_clusters_name_is_of_the_account_whose_role_runs_the_tasks() -> None:
    stack = deployed(aws={"role_arn": ROLE}, ecs={"kwargs": {**GIVEN, "cluster": "shared"}})
    (rule,) = of_type(stack.template, "AWS::Events::Rule").values()
    (cluster,) = stack.resolve(rule["Properties"]["EventPattern"]["detail"]["clusterArn"])
    assert cluster.endswith(":210987654321:cluster/shared")


def test_the_stacks_cluster_runs_on_fargate_what_names_no_launch_type() -> None:
    (cluster,) = of_type(deployed().template, "AWS::ECS::Cluster").values()
    assert cluster["Properties"]["DefaultCapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Weight": 1}
    ]
