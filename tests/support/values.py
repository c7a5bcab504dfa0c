"""Values for tests: each a sensible whole, of which a test changes what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.runs import FlowRun, claim_id
from fargate_agent.settings import Settings

RUN_ID = "8f3a1c52-0d4e-4b7a-9c61-2f5d7e8a9b01"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLUSTER_ARN = "arn:aws:ecs:eu-west-1:123456789012:cluster/flows"
TASK_ARN = "arn:aws:ecs:eu-west-1:123456789012:task/flows/0123456789abcdef"


def flow_run(**changes: Any) -> FlowRun:
    """Return a run due at noon; its claim follows from what is changed."""
    fields: dict[str, Any] = {
        "id": RUN_ID,
        "name": "brave-otter",
        "scheduled_time": NOON,
        "flow_id": "b1d2f3a4-0000-4000-8000-000000000001",
        "flow_name": "Load orders",
        "deployment_id": "d1d2f3a4-0000-4000-8000-000000000002",
        "deployment_name": "nightly",
        "deployment_updated": "2026-02-01T00:00:00Z",
        "work_pool_updated": "2026-02-02T00:00:00Z",
        "work_queue_id": "queue-1",
        "has_job_variables": False,
        **changes,
    }
    return FlowRun(**{"claim_id": claim_id(fields["id"], fields["scheduled_time"]), **fields})


def settings(**changes: Any) -> Settings:
    """Return the settings of an agent that polls every 10 seconds."""
    fields: dict[str, Any] = {
        "agent_name": "fargate-agent",
        "agent_labels": (),
        "agent_env": {},
        "enabled": True,
        "poll_interval_seconds": 10,
        "send_logs": True,
        "prefect_version": 3,
        "api_url": "https://prefect.example.com/api",
        "api_key_secret": None,
        "auth_string_secret": None,
        "work_pool": "fargate",
        "work_queues": (),
        "agent_config_id": None,
        "backend": "server",
        "tenant_id": None,
        "logging_level": "INFO",
        "extra_loggers": (),
        "aws_credentials_secret": None,
        "aws_role_arn": None,
        "aws_region": None,
        "aws_botocore": {},
        "launch_type": "FARGATE",
        "enable_task_revisions": False,
        "on_drift": "revise",
        "relaunch_attempts": 2,
        "ecs_kwargs": {},
        "stack_kwargs": {},
        "kwargs_bucket": None,
        "kwargs_bucket_is_given": False,
        "kwargs_prefix": "kwargs",
        "kwargs_allow": None,
        "runs_queue_url": "https://sqs/runs.fifo",
        "ticks_queue_url": "https://sqs/ticks",
        "task_events_queue_url": "https://sqs/task-events",
        "clusters": (CLUSTER_ARN,),
        "claimant": "",
        "url_secret": "",
        "max_receives": 5,
        "metrics": True,
    }
    return Settings(**{**fields, **changes})


def agent(**changes: Any) -> Agent:
    """Return an agent that brings nothing of its own to a launch but its name and address."""
    fields = {
        "name": "fargate-agent",
        "work_pool": "fargate",
        "api_url": "https://prefect.example.com/api",
    }
    return Agent(**{**fields, **changes})


def sqs_record(
    body: str,
    *,
    id: str = "m1",
    group: str | None = RUN_ID,
    receives: int = 1,
    sent: datetime,
    received: datetime | None = None,
) -> dict[str, Any]:
    """Return one message as Lambda hands it over, first received when it was sent or later."""
    attributes = {
        "ApproximateReceiveCount": str(receives),
        "SentTimestamp": str(int(sent.timestamp() * 1000)),
        "ApproximateFirstReceiveTimestamp": str(int((received or sent).timestamp() * 1000)),
    }
    if group is not None:
        attributes["MessageGroupId"] = group
    return {
        "messageId": id,
        "receiptHandle": f"receipt-{id}",
        "body": body,
        "attributes": attributes,
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def run_message(run: FlowRun, **changes: Any) -> SQSRecord:
    """Return a run's message, sent ten seconds before the run is due."""
    sent = datetime.fromtimestamp(run.scheduled_time.timestamp() - 10, UTC)
    return SQSRecord(sqs_record(run.to_message(), **{"group": run.id, "sent": sent, **changes}))


def stopped_task(**changes: Any) -> dict[str, Any]:
    """Return the detail of an ECS event: the run's task stopped, container killed."""
    return {
        "taskArn": TASK_ARN,
        "startedBy": RUN_ID,
        "lastStatus": "STOPPED",
        "stoppedReason": "Essential container in task exited",
        "containers": [{"name": "prefect", "exitCode": 1}],
        **changes,
    }


def claimed_overrides(claim: str) -> Mapping[str, Any]:
    """Return a task's overrides as ECS shows them, naming the claim it was started for."""
    entries = [
        {"name": "PREFECT__FLOW_RUN_ID", "value": RUN_ID},
        {"name": "FARGATE_AGENT_CLAIM_ID", "value": claim},
    ]
    return {"containerOverrides": [{"name": "prefect", "environment": entries}]}
