"""The job configuration of Prefect's ECS worker: a filled-in template, checked before any call.

Follows https://docs.prefect.io/integrations/prefect-aws/ecs-worker: the same fields, the same
rules. A null is a value left out, whatever the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.errors import PermanentError

_TRUE, _FALSE = {"1", "on", "t", "true", "y", "yes"}, {"0", "off", "f", "false", "n", "no", ""}

_BOTO3S_OWN = [("use_ssl", True), ("verify", True)]
"""Parameters of clients that say what boto3 does anyhow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchLogs:
    """Where the flow's container writes, where the job says so."""

    options: Mapping[str, str]
    prefix: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EcsJob:
    """What a run asks for, by the names of the ECS worker's job variables."""

    task_definition: Mapping[str, Any] = field(default_factory=dict)
    task_run_request: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    command: str | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    container_name: str | None = None
    cluster: str | None = None
    network_configuration: Mapping[str, Any] = field(default_factory=dict)
    vpc_id: str | None = None
    cloudwatch_logs: CloudWatchLogs | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable to secret ARN, of the two secrets that have a job variable."""
    auto_deregister_task_definition: bool = False
    aws_credentials: Mapping[str, Any] = field(default_factory=dict)
    """The fields of an AWS credentials block; empty for the agent's own credentials."""

    @property
    def task_definition_arn(self) -> str | None:
        """Return the task definition that the run names itself, by ARN or family and revision."""
        return self.task_run_request.get("taskDefinition") or None

    @classmethod
    def read(cls, configuration: Mapping[str, Any]) -> EcsJob:
        """Check a job configuration.

        Raises
        ------
        PermanentError
            A field has the wrong type, or two fields do not go together.
        """
        given = {key: value for key, value in configuration.items() if value is not None}
        request = _table(given, "task_run_request")
        definition = _table(given, "task_definition")
        if not definition and not request.get("taskDefinition"):
            raise PermanentError(
                "The work pool's template has no task_definition, and no task definition is named. "
                "Set the job variable 'task_definition_arn', or write a task_definition into the "
                "work pool's base job template."
            )
        _check_containers(definition)
        logs = _logs(given)
        network, vpc_id = _table(given, "network_configuration"), _text(given, "vpc_id")
        if network and not vpc_id:
            raise PermanentError(
                "The job variable 'network_configuration' is set and 'vpc_id' is not. Set 'vpc_id' "
                "to the VPC of the subnets."
            )
        secrets = {
            "PREFECT_API_KEY": _text(given, "prefect_api_key_secret_arn"),
            "PREFECT_API_AUTH_STRING": _text(given, "prefect_api_auth_string_secret_arn"),
        }
        return cls(
            task_definition=definition,
            task_run_request=request,
            name=_text(given, "name"),
            command=_text(given, "command"),
            env={
                str(name): None if value is None else str(value)
                for name, value in _table(given, "env").items()
            },
            labels=_texts(given, "labels"),
            container_name=_text(given, "container_name"),
            cluster=_text(given, "cluster"),
            network_configuration=network,
            vpc_id=vpc_id,
            cloudwatch_logs=logs,
            secrets={name: arn for name, arn in secrets.items() if arn},
            auto_deregister_task_definition=_flag(given, "auto_deregister_task_definition"),
            aws_credentials=_credentials(given),
        )


def _check_containers(definition: Mapping[str, Any]) -> None:
    containers = definition.get("containerDefinitions") or []
    if not isinstance(containers, list) or not all(isinstance(c, Mapping) for c in containers):
        raise PermanentError(
            "The task_definition's containerDefinitions must be a list of tables. Correct the work "
            "pool's base job template."
        )
    if containers and all(container.get("essential") is False for container in containers):
        raise PermanentError(
            "No container of the task_definition is essential, so ECS would not know when the run "
            "is over. Set 'essential' of the container that runs the flow, or leave it out."
        )


def _logs(given: Mapping[str, Any]) -> CloudWatchLogs | None:
    options = _texts(given, "cloudwatch_logs_options")
    if _flag(given, "configure_cloudwatch_logs"):
        return CloudWatchLogs(options=options, prefix=_text(given, "cloudwatch_logs_prefix"))
    if options:
        raise PermanentError(
            "The job variable 'cloudwatch_logs_options' is set and 'configure_cloudwatch_logs' is "
            "not. Set it too, or remove the options."
        )
    return None


def _credentials(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the block that say something: the server stores all that there are."""

    def said(table: Mapping[str, Any]) -> dict[str, Any]:
        inner = {k: said(v) if isinstance(v, Mapping) else v for k, v in table.items()}
        return {
            key: value
            for key, value in inner.items()
            if value not in (None, {}, "") and (key, value) not in _BOTO3S_OWN
        }

    return said(_table(given, "aws_credentials"))


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value or None


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise _wrong(name, value, "true or false")
    return word in _TRUE


def _table(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name, {})
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a table")
    return dict(value)


def _texts(given: Mapping[str, Any], name: str) -> dict[str, str]:
    table = _table(given, name)
    for key, value in table.items():
        if not isinstance(value, str):
            raise _wrong(f"{name}.{key}", value, "text")
    return table


def _wrong(name: str, value: Any, wanted: str) -> PermanentError:
    # The value may hold a secret beside a placeholder, so it is not repeated.
    return PermanentError(
        f"The job variable {name!r} must be {wanted}; it is a {type(value).__name__}. Correct it "
        "in the work pool, the deployment or the run."
    )
