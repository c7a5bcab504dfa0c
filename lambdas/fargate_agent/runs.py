"""The values that travel: from the orchestrator to the queue, and from the queue to ECS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

CLAIM_ENV = "FARGATE_AGENT_CLAIM_ID"
"""Names the claim a task was started for, in the container and in ECS's events of it."""

DEREGISTER_ENV = "FARGATE_AGENT_DEREGISTERS"
"""Names the task definition that is to be deregistered with a task, in ECS's events of it."""

MAX_TAGS = 50
"""ECS takes at most this many tags on a resource."""

TASK_ENVIRONMENT_CONTAINER = "flow-container"
"""The container that runs the flow in the task of a Prefect 1 ``FargateTaskEnvironment``."""

_CLAIMS = uuid.UUID("5f0c3a52-98c7-4a0e-9c4e-2b9d5f6f7c11")


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time as Prefect writes it, as an aware UTC datetime."""
    return datetime.fromisoformat(text).astimezone(UTC)


def is_current(held: str | None, wanted: str | None) -> bool:
    """Tell whether what was last changed at ``held`` is of the version ``wanted``, or later."""
    return bool(held and wanted) and parse_time(str(held)) >= parse_time(str(wanted))


def claim_id(flow_run_id: str, scheduled_time: datetime, claimant: str = "") -> str:
    """Name one scheduling of one run: the same for every poll that sees it, and for no other.

    A retry or a reschedule has another time and so another claim; going Late has not.

    Parameters
    ----------
    claimant
        The agent that claims, or the cluster it runs tasks in: two agents of one name would each
        take the other's claim for its own.
    """
    time = scheduled_time.astimezone(UTC).isoformat()
    return str(uuid.uuid5(_CLAIMS, "/".join(filter(None, [flow_run_id, time, claimant]))))


def relaunch_id(claim: str) -> str:
    """Name the scheduling that follows a claim whose task was lost: the same however often told."""
    return str(uuid.uuid5(_CLAIMS, f"relaunch/{claim}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun:
    """One scheduling of one flow run, as ``poll`` found it and ``dispatch`` receives it.

    It holds names and ids only: variables may hold secrets, and secrets travel in no message.
    ``deployment_updated`` and ``work_pool_updated`` tell ``dispatch`` which version of each the
    poll saw, so that a warm function reads them again only when they changed. What only Prefect 3
    knows has a default.
    """

    id: str
    name: str
    scheduled_time: datetime
    claim_id: str
    flow_id: str
    flow_name: str
    deployment_id: str | None = None
    deployment_name: str | None = None
    deployment_updated: str | None = None
    work_pool_updated: str = ""
    work_queue_id: str = ""
    has_job_variables: bool = False
    references: Mapping[str, str] = field(default_factory=dict)
    """When each block and variable that the run's template refers to was last changed."""
    launched_before: bool = False
    """An earlier scheduling of the run was launched; that task may live still."""
    worker_id: str | None = None
    """Where the server tells under which id it knows this agent."""

    def to_message(self) -> str:
        """Encode as the body of a queue message."""
        return json.dumps({**asdict(self), "scheduled_time": self.scheduled_time.isoformat()})

    @classmethod
    def from_message(cls, body: str) -> FlowRun:
        """Decode the body of a queue message of this version, an earlier or a later one.

        Raises
        ------
        ValueError
            The body is not one that :meth:`to_message` wrote.
        """
        try:
            sent = json.loads(body)
            known = {name.name: sent[name.name] for name in fields(cls) if name.name in sent}
            return cls(**{**known, "scheduled_time": parse_time(sent["scheduled_time"])})
        except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"not a flow run message: {error}: {body[:200]!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionTerms:
    """What a revision must meet before it is run in place of the definition it differs from.

    ``owner`` are tags that tell whose it is, where flows may share a family: a revision that
    carries others of these is another's. ``credentials`` are the names of secrets that the flow
    cannot do without: a revision of the legacy agent has none, for it told them to each task.
    """

    owner: Mapping[str, str] = field(default_factory=dict)
    credentials: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What one run asks of ECS: pure boto3 keyword arguments.

    ``definition`` is for ``register_task_definition``; ``request`` is for ``run_task`` and lacks
    only the definition's ARN and what makes the call idempotent.
    """

    definition: Mapping[str, Any]
    request: Mapping[str, Any]
    definition_arn: str | None = None
    """A revision that the run names itself: it is run as it is, and ``definition`` is not used."""
    revision: RevisionTerms = field(default_factory=RevisionTerms)
    deregisters: bool = False
    """A revision that the agent registered is deregistered when the run's task has stopped."""
    aws_credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The fields of an AWS credentials block to run it as; empty for the agent's own."""
    name: str | None = None
    """What the job calls it, for the run's log."""
