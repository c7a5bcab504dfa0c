"""The ``watch`` function: what became of a task, told to its run.

A flow that ends by itself has already reported its state. One whose container died has not, and
would be Running in Prefect for ever.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import process_partial_response

from fargate_agent import clients, settings
from fargate_agent.batches import MessageGroups
from fargate_agent.deregistration import deregister, told
from fargate_agent.diagnosis import diagnose
from fargate_agent.observability import logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import CLAIM_ENV, TASK_ENVIRONMENT_CONTAINER

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_ecs import ECSClient


def conclude(
    prefect: Orchestrator,
    detail: dict[str, Any],
    running_tasks: Callable[[str, str], list[str]] | None = None,
) -> None:
    """Crash, or finish cancelling, the run of a stopped task, unless it has an end of its own.

    Parameters
    ----------
    detail
        The ``detail`` of an ECS Task State Change event whose ``lastStatus`` is STOPPED.
    running_tasks
        Returns the ARNs of the tasks of a run that run in a cluster now; for an orchestrator whose
        runs outlive their containers.
    """
    run_id = _flow_run_id(detail)
    state = prefect.run_states([run_id]).get(run_id) if run_id else None
    if run_id is None or state is None or not _concerns(state, detail):
        return
    if state.type == "RUNNING" and prefect.runs_outlive_containers:
        if _ended_well(detail):
            return
        others = running_tasks(run_id, detail["clusterArn"]) if running_tasks else []
        if set(others) - {detail["taskArn"]}:
            return
    if state.hands_over and _ended_well(detail) and not _ran_the_environment(detail):
        return
    task_arn = detail["taskArn"]
    if state.type == "CANCELLING":
        prefect.cancelled(run_id, f"The ECS task {task_arn} has stopped.")
        logger.info("cancelled", flow_run_id=run_id, task_arn=task_arn)
    else:
        verdict = diagnose(detail)
        prefect.crash(run_id, verdict)
        logger.warning("crashed", flow_run_id=run_id, task_arn=task_arn, verdict=verdict)


def _concerns(state: RunState, detail: dict[str, Any]) -> bool:
    """Tell whether the run still waits for this very task, and not for a later launch's."""
    claim, reported = told(detail, CLAIM_ENV), state.infrastructure_id
    if state.type == "PENDING" and claim:
        return state.claim_id == claim
    if state.type == "PENDING":
        return reported is not None and reported.endswith(detail["taskArn"])
    return state.type in ("RUNNING", "CANCELLING") and (
        reported is None or reported.endswith(detail["taskArn"])
    )


def _ended_well(detail: dict[str, Any]) -> bool:
    codes = [container.get("exitCode") for container in detail.get("containers", [])]
    return bool(codes) and all(code == 0 for code in codes)


def _ran_the_environment(detail: dict[str, Any]) -> bool:
    """Tell a task environment's own task from one that only starts it."""
    return any(c["name"] == TASK_ENVIRONMENT_CONTAINER for c in detail.get("containers", []))


def _flow_run_id(detail: dict[str, Any]) -> str | None:
    try:
        return str(uuid.UUID(detail.get("startedBy", "")))
    except ValueError:
        return None


@cache
def _prefect() -> Orchestrator:
    return clients.orchestrator(settings.load())


@cache
def _ecs() -> ECSClient:
    return clients.ecs(settings.load())


def _running_tasks(flow_run_id: str, cluster: str) -> list[str]:
    answer = _ecs().list_tasks(cluster=cluster, startedBy=flow_run_id, desiredStatus="RUNNING")
    return answer["taskArns"]


def _receive(record: SQSRecord) -> None:
    detail = json.loads(record.body)["detail"]
    conclude(_prefect(), detail, _running_tasks)
    deregister(_ecs, detail)


def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Receive a batch from ``task-events``; return the messages that must come back."""
    return process_partial_response(
        event=event, record_handler=_receive, processor=MessageGroups(), context=context
    )


clients.made_at_start(_prefect)
