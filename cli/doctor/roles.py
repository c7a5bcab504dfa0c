"""The tasks' two roles: they exist, ECS may assume them, ``dispatch`` may pass them, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from cli.doctor.examination import not_answered
from cli.doctor.findings import Finding, failure, ok, unknown, warning
from cli.doctor.permissions import PASSED_TO, allowed, as_list, role_name
from cli.doctor.subject import Subject

TASKS = "ecs-tasks.amazonaws.com"
ROLES = {"executionRoleArn": "execution role", "taskRoleArn": "task role"}


def checks(subject: Subject) -> Iterator[Finding]:
    """Check both roles."""
    for key, name in ROLES.items():
        arn = subject.role(key)
        if arn is None:
            yield unknown(name, f"{key} is not named: work pools or flows must name theirs")
            continue
        try:
            yield from _role(subject, name, arn)
        except ClientError as error:
            yield not_answered(name, error)


def _role(subject: Subject, name: str, arn: str) -> Iterator[Finding]:
    iam = subject.task_client("iam")
    try:
        role = iam.get_role(RoleName=role_name(arn))["Role"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        yield failure(name, f"{arn} does not exist", "Correct it in [ecs.kwargs], and deploy.")
        return
    wrong = [*_trust(name, arn, role)]
    if not _may_pass(subject, iam, arn):
        wrong.append(
            failure(
                f"{name} is passed",
                f"the role that starts tasks may not pass {arn}",
                "Deploy again, or allow iam:PassRole on it; a role of a job's own belongs into "
                "ecs.allowed_roles.",
            )
        )
    yield from wrong
    if name == ROLES["executionRoleArn"]:
        wrong = [*wrong, *(lacking := [*_lacking(subject, iam, arn)])]
        yield from lacking
    if not wrong:
        yield ok(name, f"{arn}: ECS may assume it, and the agent pass it")


def _trust(name: str, arn: str, role: Mapping[str, Any]) -> Iterator[Finding]:
    account = arn.split(":")[4]
    statements = as_list(role["AssumeRolePolicyDocument"]["Statement"])
    trusting = [s for s in statements if _trusts_tasks(s)]
    if not trusting:
        yield failure(
            f"{name} is trusted",
            f"{arn} does not trust {TASKS}: ECS cannot assume it",
            f"Allow sts:AssumeRole to the service {TASKS} in its trust policy.",
        )
    elif all(_other_account(s, account) for s in trusting):
        yield failure(
            f"{name} is trusted",
            f"{arn} trusts ECS for another account only (aws:SourceAccount)",
            f"Name {account} in its trust policy.",
        )


def _trusts_tasks(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = principal if principal == "*" else as_list(principal.get("Service", []))
    return statement["Effect"] == "Allow" and (services == "*" or TASKS in services)


def _other_account(statement: Mapping[str, Any], account: str) -> bool:
    accounts = statement.get("Condition", {}).get("StringEquals", {}).get("aws:SourceAccount")
    return accounts is not None and account not in as_list(accounts)


def _may_pass(subject: Subject, iam: Any, arn: str) -> bool:
    if subject.settings.aws_credentials_secret and not subject.settings.aws_role_arn:
        return True  # whose keys those are, no call tells
    dispatch = subject.agent.function("dispatch")["Configuration"]["Role"]
    starter = subject.settings.aws_role_arn or dispatch
    return allowed(iam, starter, "iam:PassRole", arn, {PASSED_TO: TASKS})


def _lacking(subject: Subject, iam: Any, arn: str) -> Iterator[Finding]:
    """Tell what the execution role may not do that a task's start asks of it."""
    log = subject.kwargs.container.get("logConfiguration", {}).get("options", {})
    account, region = arn.split(":")[4], subject.task_client("ecs").meta.region_name
    partition = arn.split(":")[1]
    logs = f"arn:{partition}:logs:{region}:{account}:log-group"
    needed = []
    if "awslogs-group" in log:
        stream = f"{logs}:{log['awslogs-group']}:log-stream:flow-run/flow/0"
        needed.append(("logs:PutLogEvents", stream))
    entries = subject.kwargs.container.get("secrets", [])
    references = [entry["valueFrom"] for entry in entries]
    keys = (subject.settings.api_key_secret, subject.settings.auth_string_secret)
    references += [key for key in keys if key]
    for reference in references:
        if ":secretsmanager:" in reference:
            secret = ":".join(reference.split(":")[:7])
            needed.append(("secretsmanager:GetSecretValue", secret))
    if not allowed(iam, arn, "ecr:GetAuthorizationToken", "*"):
        yield warning(
            "execution role's rights",
            f"{arn} may not call ecr:GetAuthorizationToken: no image of ECR is pulled",
            "Allow that to it, unless all images are of other registries.",
        )
    for action, resource in needed:
        if not allowed(iam, arn, action, resource):
            yield failure(
                "execution role's rights",
                f"{arn} may not call {action} on {resource}: tasks do not start",
                f"Allow {action} to it.",
            )
