"""Starts the one task of a run, and tells which failures another try can mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    ClientError,
    DataNotFoundError,
    EndpointProviderError,
    InvalidConfigError,
    InvalidProxiesConfigError,
    ParamValidationError,
    UnknownSignatureVersionError,
    UnsupportedSignatureVersionError,
)

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import without_values

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

_CREDENTIALS = "Correct the parameters of the role that the AWS credentials block assumes."

PERMANENT_CODES = {
    "AccessDeniedException": (
        "Let the agent have the role or cluster: name it in ecs.allowed_roles or "
        "ecs.allowed_clusters and deploy again. Where the job names AWS credentials, allow it to "
        "those."
    ),
    "AccessDenied": (
        "Let the agent's dispatch function make this call; a role that AWS credentials of a job "
        "assume must be in aws.assumable_roles."
    ),
    "BlockedException": "The AWS account is blocked; contact AWS Support.",
    "ClientException": "Correct the values named, in the deployment or the S3 kwargs file.",
    "ClusterNotFoundException": "Correct the cluster's name, or create the cluster.",
    "InvalidParameterException": "Correct the value, in the deployment or the S3 kwargs file.",
    "MalformedPolicyDocument": _CREDENTIALS,
    "OptInRequired": "Let the AWS account use the service in this region.",
    "PackedPolicyTooLarge": _CREDENTIALS,
    "PlatformTaskDefinitionIncompatibilityException": "Choose another platformVersion.",
    "PlatformUnknownException": "Choose another platformVersion.",
    "RegionDisabledException": "Let the AWS account use this region, or choose another.",
    "SerializationException": "Correct the number that is too large for ECS.",
    "UnauthorizedOperation": (
        "Let the agent's dispatch function make this call, or write the subnets into the job "
        "variable 'network_configuration'."
    ),
    "UnsupportedFeatureException": "The feature does not exist in this region: leave it out.",
    "ValidationError": _CREDENTIALS,
    "ValidationException": "Correct the values named, in the deployment or the S3 kwargs file.",
}
"""ECS errors that stay, with the remedy. All others are worth another try (throttling, 5xx)."""

_PASSING = (
    "Too many concurrent attempts",
    "reached the limit",
    "limit exceeded",
    "Capacity is unavailable",
    "Rate exceeded",
    "service linked role",
)
"""In a permanent code's message these words tell of something that passes."""

_GONE = ("inactive", "not found", "unable to describe")
"""In a refusal that speaks of a task definition these words tell that it is there no more."""

_MISCONFIGURED = (
    DataNotFoundError,
    EndpointProviderError,
    InvalidConfigError,
    InvalidProxiesConfigError,
    UnknownSignatureVersionError,
    UnsupportedSignatureVersionError,
)

_OPERATIONS = frozenset(
    {
        *("AssumeRole", "DescribeSubnets", "DescribeTaskDefinition", "DescribeVpcs"),
        *("RegisterTaskDefinition", "RunTask"),
    }
)


class TaskNotStarted(Exception):
    """ECS took the request and started nothing, for want of capacity: try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A started ECS task."""

    arn: str
    cluster_arn: str

    @property
    def infrastructure_id(self) -> str:
        """``cluster::task_arn``, as Prefect's ECS worker writes it."""
        return f"{self.cluster_arn}::{self.arn}"


class InactiveDefinition(Exception):
    """The revision was deregistered since it was found."""


def run_task(
    ecs: ECSClient,
    request: Mapping[str, Any],
    *,
    definition_arn: str,
    claim_id: str,
    flow_run_id: str,
) -> Task:
    """Start the run's task, or return the one that an earlier call with the same claim started.

    ``clientToken`` makes the call idempotent for 24 hours
    (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html): with equal
    parameters ECS returns the first task, with others it raises ``ConflictException``, whose
    ``resourceIds`` name that task.

    Raises
    ------
    InactiveDefinition
        The revision is no longer active: find or register it again.
    TaskNotStarted
        There is no capacity now.
    botocore.exceptions.ClientError
        ECS refused; see :func:`classify`.
    """
    asked = run_task_request(
        request, definition_arn=definition_arn, claim_id=claim_id, flow_run_id=flow_run_id
    )
    try:
        answer = ecs.run_task(**asked)
    except ClientError as error:
        detail = error.response["Error"]
        if detail["Code"] == "ConflictException":
            return _task(error.response["resourceIds"][0])  # type: ignore[typeddict-item]
        if _definition_is_gone(detail["Code"], detail.get("Message", "").lower()):
            raise InactiveDefinition(
                f"The task definition {definition_arn} is inactive."
            ) from error
        raise
    if answer["tasks"]:
        return _task(answer["tasks"][0]["taskArn"])
    reasons = "; ".join(
        f"{failure.get('reason', 'unknown')} {failure.get('detail', '')}".strip()
        for failure in answer["failures"]
    )
    if "MISSING" in reasons:
        raise PermanentError(f"ECS could not start the task: {reasons}. Create what is missing.")
    raise TaskNotStarted(f"ECS could not start the task: {reasons}")


def run_task_request(
    request: Mapping[str, Any], *, definition_arn: str, claim_id: str, flow_run_id: str
) -> dict[str, Any]:
    """Return the keyword arguments of ``run_task``: a rendered request, made idempotent."""
    return {
        **request,
        "taskDefinition": definition_arn,
        "clientToken": claim_id,
        "startedBy": flow_run_id,
    }


def _definition_is_gone(code: str, message: str) -> bool:
    named = "taskdefinition" in message or "task definition" in message
    refused = code in ("ClientException", "InvalidParameterException")
    return refused and named and any(words in message for words in _GONE)


def _task(arn: str) -> Task:
    prefix, _, path = arn.partition(":task/")
    return Task(arn=arn, cluster_arn=f"{prefix}:cluster/{path.partition('/')[0]}")


def classify(error: Exception) -> Exception:
    """Return the error as a :class:`PermanentError` where another try cannot help."""
    if isinstance(error, ParamValidationError):
        problems = without_values(str(error))
        return PermanentError(f"ECS would refuse the request: {problems}. Correct what is named.")
    if isinstance(error, _MISCONFIGURED):
        return PermanentError(
            f"AWS cannot be called ({type(error).__name__}). Correct the AWS credentials block "
            "that the job names (aws_credentials), or [aws.botocore]."
        )
    if not isinstance(error, ClientError):
        return error
    detail = error.response["Error"]
    remedy = PERMANENT_CODES.get(detail["Code"])
    message = detail.get("Message", "")
    passes = any(words in message for words in _PASSING)
    if remedy is None or passes or error.operation_name not in _OPERATIONS:
        return error
    return PermanentError(f"{error.operation_name}: {detail['Code']}: {message} {remedy}")
