"""``doctor --launch``: one tiny task, started by ``dispatch`` and followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from cli.deployed_agent import DeployedAgent
from cli.doctor.examination import not_answered
from cli.doctor.findings import Finding, failure, ok
from cli.errors import EXPECTED, told
from cli.invocation import FunctionFailed, invoke
from fargate_agent import clients
from fargate_agent.diagnosis import Cause, diagnose
from fargate_agent.sessions import task_client
from fargate_agent.task_details import Detail, ended_well

CHECK = "launch"
BETWEEN_LOOKS_SECONDS = 1.0


def launch_one(agent: DeployedAgent, patience: float, *, say: Callable[[str], object]) -> Finding:
    """Start the task that :mod:`fargate_agent.rehearsal` describes, and tell what became of it.

    Parameters
    ----------
    patience
        Seconds to wait for its end; after that it is stopped. So it is at Ctrl-C.
    """
    try:
        return _launched(agent, patience, say)
    except FunctionFailed as error:
        return failure(CHECK, str(error), "Mend what it names; runs of flows fail alike.")
    except ClientError as error:
        return not_answered(CHECK, error)
    except EXPECTED as error:
        return failure(CHECK, told(error), "Mend that, and run doctor again.")


def _launched(agent: DeployedAgent, patience: float, say: Callable[[str], object]) -> Finding:
    arn = invoke(agent, "dispatch", {"validate_configuration": True})["task"]
    say(f"Started {arn}")
    ecs = task_client(agent.settings(), clients.secrets_manager)("ecs")
    cluster = arn.rpartition(":")[2].split("/")[1]
    try:
        detail = _followed(ecs, cluster, arn, patience, say)
    except KeyboardInterrupt:
        ecs.stop_task(cluster=cluster, task=arn, reason="doctor --launch was interrupted")
        say(f"Stopped {arn}")
        raise
    if detail["lastStatus"] != "STOPPED":
        ecs.stop_task(cluster=cluster, task=arn, reason="doctor --launch lost its patience")
        return failure(
            CHECK,
            f"after {patience:g} s {arn} is still {detail['lastStatus']}, and is stopped",
            "Read its events in ECS's console: PROVISIONING waits for a network or capacity.",
        )
    return _judged(detail)


def _followed(
    ecs: Any, cluster: str, arn: str, patience: float, say: Callable[[str], object]
) -> Detail:
    """Describe the task until it has stopped or the patience is gone."""
    deadline, last = time.monotonic() + patience, ""
    while True:
        found = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
        detail: Mapping[str, Any] = found[0] if found else {"lastStatus": "not known"}
        if detail["lastStatus"] != last:
            last = detail["lastStatus"]
            say(f"  {last}")
        if last == "STOPPED" or time.monotonic() > deadline:
            return detail
        time.sleep(BETWEEN_LOOKS_SECONDS)


def _judged(detail: Detail) -> Finding:
    if ended_well(detail):
        return ok(CHECK, f"{detail['taskArn']} ran to its end, exit code 0{_took(detail)}")
    verdict = diagnose(detail)
    remedy = "So would a flow's task: mend that first."
    if verdict.cause is Cause.IMAGE:
        remedy = (
            "Its image, busybox, is of Docker Hub. So would a flow's task of that registry; where "
            "flows' images are of ECR, and only that is reached, they start all the same."
        )
    return failure(CHECK, f"{verdict.cause.value}. {verdict.text}", remedy)


def _took(detail: Detail) -> str:
    created, started = detail.get("createdAt"), detail.get("startedAt")
    if not created or not started:
        return ""
    return f", {(started - created).total_seconds():.0f} s after it was asked for"
