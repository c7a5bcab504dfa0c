"""``doctor``: finds out in one command why something does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.deployed_agent import DeployedAgent
from cli.doctor import functions, identity, network, prefect1, prefect3, queues, roles, stack, tasks
from cli.doctor.examination import Check, examine, not_answered
from cli.doctor.findings import Finding, drawn, failed, failure, warning
from cli.doctor.launch import launch_one
from cli.doctor.subject import Subject
from cli.errors import EXPECTED, CommandError, told
from cli.output import AsJson, console, show
from fargate_agent.settings import Settings
from infra.config import AgentConfig, ConfigError, load

CHECKS: dict[str, Check] = {
    "stack": stack.status,
    "settings": stack.settings,
    "stack's drift": stack.drift,
    "Prefect": lambda subject: _prefect(subject.settings).checks(subject),
    "clocks": identity.clocks,
    "functions": functions.states,
    "queues' consumers": functions.mappings,
    "schedule": functions.schedule,
    "rule for ECS's events": functions.rule,
    "functions' errors": functions.errors,
    "polls by Lambda's count": functions.invocations,
    "queues": queues.depths,
    "age of the oldest message": queues.oldest,
    "cluster": tasks.cluster,
    "network": network.checks,
    "roles": roles.checks,
    "tasks' log group": tasks.log_group,
    "kwargs bucket": tasks.kwargs_bucket,
    "Fargate quota": tasks.quotas,
}


def _prefect(settings: Settings) -> ModuleType:
    return prefect1 if settings.prefect_version == 1 else prefect3


def doctor(
    context: typer.Context,
    *,
    options: Annotated[
        list[str] | None, typer.Option("-c", metavar="KEY=VALUE", help="As with 'cdk deploy'.")
    ] = None,
    drift: Annotated[
        bool, typer.Option(help="Let CloudFormation look for changed resources: some minutes.")
    ] = False,
    launch: Annotated[
        bool, typer.Option(help="Run one tiny task to its end, as the agent runs flows.")
    ] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for that task.", min=1)] = 300,
    as_json: AsJson = False,
) -> None:
    """Check everything that a run needs; exit with 1 where something is wrong."""
    agent: DeployedAgent = context.obj
    findings: list[Finding] = []
    file, given = agent.toml, _context(options or [])
    subject = _subject(findings, agent, file, given, drift=drift)
    if subject:
        findings += examine(subject, CHECKS)
        if launch:
            say = _quiet if as_json else console.print
            findings.append(launch_one(agent, patience, say=say))
    show([asdict(finding) for finding in findings], drawn(findings), as_json=as_json)
    if failed(findings):
        raise typer.Exit(1)


def _quiet(_: str) -> None:
    pass


def _context(options: list[str]) -> dict[str, str]:
    """Read ``-c key=value`` as the CDK does.

    Raises
    ------
    CommandError
        There is no ``=`` in it.
    """
    pairs = [option.partition("=") for option in options]
    for key, sign, _ in pairs:
        if not sign:
            raise CommandError(f"-c {key}: must be KEY=VALUE, as with 'cdk deploy'")
    return {key: value for key, _, value in pairs}


def _subject(
    findings: list[Finding],
    agent: DeployedAgent,
    file: Path,
    context: Mapping[str, Any],
    *,
    drift: bool,
) -> Subject | None:
    """Find what is to be examined; None where there is nothing, which a line tells then."""
    try:
        findings.append(identity.credentials(agent))
    except (BotoCoreError, ClientError) as error:
        findings.append(failure("AWS credentials", told(error), identity.remedy(error)))
        return None
    try:
        return Subject(agent, agent.settings(), _config(findings, file, context), drift=drift)
    except ClientError as error:
        findings.append(not_answered("stack", error))
    except EXPECTED as error:
        findings.append(failure("stack", told(error), "Deploy it, or name another stack."))
    return None


def _config(findings: list[Finding], file: Path, context: Mapping[str, Any]) -> AgentConfig | None:
    try:
        return load(file, context)
    except ConfigError as error:
        findings.append(warning("settings' file", str(error), "Correct it, or name it: --agent."))
        return None
