"""``agent.toml``: read, overridden from the command line, validated when the stack is synthesized.

A wrong key, type or combination stops ``cdk synth`` with the file, the key, the cause and the
remedy; so a deployed function never meets bad settings.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, KwargsModel, did_you_mean
from infra import flags
from infra.aws_names import ClusterArn, Region, RoleArn, SecretArn, TopicArn, partition_of
from infra.deployment import DeploymentSection, foreign_arns
from infra.environment import fallbacks


class ConfigError(Exception):
    """The settings are not usable. One line a problem, each with its file, key and remedy."""


def _multiple_of_a_minute_or_part_of_it(seconds: int) -> int:
    if seconds < 5 or (60 % seconds and seconds % 60) or seconds > 3600:
        raise ValueError("must divide 60 (5, 6, 10, 12, 15, 20, 30, 60) or be 120, 180, ... 3600")
    return seconds


def _url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]\S*", url):
        raise ValueError("must be the address of Prefect's API, such as https://host/api")
    return url.rstrip("/")


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class AgentSection(_Section):
    """``[agent]``"""

    name: str = Field("fargate-agent", pattern=r"^[A-Za-z]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?$")
    """The stack's name, and the worker's in Prefect's UI."""
    enabled: bool = True
    """`false` stops polling, and pokes; what is queued is still launched."""
    poll_interval_seconds: Annotated[int, AfterValidator(_multiple_of_a_minute_or_part_of_it)] = 10
    """5, 6, 10, 12, 15, 20, 30, 60, or whole minutes up to an hour."""
    labels: list[str] = []
    """Prefect 1: the labels of the runs that are served."""
    env: dict[str, str] = {}
    """Environment variables for every flow run."""
    send_logs: bool = True
    """`false`: flow runs send no logs to Prefect, and the agent only why a run crashed."""
    url: bool = False
    """`true`: a function URL with `/api/health` and `/api/poke`, where Lambda has such."""


ONLY_PREFECT_1 = ("agent_config_id", "backend", "extra_loggers", "logging_level", "tenant_id")
ONLY_WORK_POOLS = ("auth_string_secret", "work_pool", "work_queues")


class PrefectSection(_Section):
    """``[prefect]``"""

    version: Literal[1, 2, 3] = 3
    """Or `2`, which is served alike; or `1`."""
    api_url: Annotated[str, AfterValidator(_url)]
    """As `PREFECT_API_URL`; in Prefect 1 as `PREFECT__CLOUD__API`."""
    api_key_secret: SecretArn | None = None
    """ARN of the secret with the Prefect Cloud API key, or Prefect 1's runner token."""
    auth_string_secret: SecretArn | None = None
    """ARN of the secret with a self-hosted server's `user:password`."""
    work_pool: str | None = Field(None, min_length=1, validate_default=True)
    """Of type `ecs`; made if missing. Required in Prefect 2 and 3."""
    work_queues: list[str] = []
    """All of the pool's queues if empty."""
    agent_config_id: str | None = None
    """Prefect 1: of the server's agent configuration, which stands above this file."""
    backend: Literal["cloud", "server"] | None = None
    """Prefect 1: `cloud` or `server`; by default the first where there is a key."""
    tenant_id: str | None = None
    """Prefect 1: of a key that several tenants share."""
    logging_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Prefect 1: of the flow runs."""
    extra_loggers: list[str] = []
    """Prefect 1: further loggers that the flow runs forward."""

    @field_validator("api_url")
    @classmethod
    def _is_prefects_api(cls, url: str, info: ValidationInfo) -> str:
        if info.data.get("version") != 1 and not re.fullmatch(r"https?://\S+/api(/\S*)?", url):
            raise ValueError(
                "must be Prefect's API address, as in PREFECT_API_URL: https://host/api, or "
                "https://api.prefect.cloud/api/accounts/.../workspaces/..."
            )
        return url

    @field_validator(*ONLY_PREFECT_1, *ONLY_WORK_POOLS, mode="before")
    @classmethod
    def _of_this_version(cls, value: Any, info: ValidationInfo) -> Any:
        version = info.data.get("version")
        if value is None:  # the default
            return value
        if version and info.field_name in (ONLY_WORK_POOLS if version == 1 else ONLY_PREFECT_1):
            other = "2 and 3" if version == 1 else "1"
            raise ValueError(
                f"belongs to Prefect {other}, and prefect.version is {version}: remove it"
            )
        return value

    @field_validator("work_pool")
    @classmethod
    def _names_a_pool(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None and info.data.get("version") in (2, 3):
            raise ValueError("must be set, in the file or with -c prefect.work_pool=VALUE")
        return name

    @model_validator(mode="after")
    def _one_secret(self) -> PrefectSection:
        if self.api_key_secret and self.auth_string_secret:
            raise ValueError(
                "api_key_secret and auth_string_secret are both set: keep the first for Prefect "
                "Cloud, the second for a self-hosted server"
            )
        return self


class EcsSection(_Section):
    """``[ecs]``"""

    launch_type: Literal["FARGATE", "FARGATE_SPOT", "EC2", "EXTERNAL", ""] = "FARGATE"
    """Or `FARGATE_SPOT`, `EC2`, `EXTERNAL`: of runs that name none (the `ecs` template of Prefect
    names FARGATE: change it there); in Prefect 1 of all, and `""` leaves it to the cluster."""
    enable_task_revisions: bool = False
    """Prefect 1: one family for all versions of a flow."""
    on_drift: Literal["revise", "reuse", "fail"] = "revise"
    """What to do where a family's latest revision differs: `revise`; `reuse` it as it is; `fail`
    with each difference named."""
    relaunch_attempts: int = Field(2, ge=0, le=10)
    """So often is a run launched again whose task failed to start for what may pass, or was
    interrupted on Spot: [which](docs/reliability.md#the-protocol); 0 to 10."""
    kwargs: dict[str, Any] = {}
    """Defaults for every run: any parameter of
    [`register_task_definition`](https://docs.aws.amazon.com/boto3/latest/reference/services/ecs/client/register_task_definition.html)
    or
    [`run_task`](https://docs.aws.amazon.com/boto3/latest/reference/services/ecs/client/run_task.html);
    one entry in `containerDefinitions`."""
    allowed_roles: list[RoleArn] = []
    """Further roles that deployments and kwargs files may name."""
    allowed_clusters: list[ClusterArn] = []
    """Further clusters, likewise."""


class AwsSection(_Section):
    """``[aws]``"""

    credentials_secret: SecretArn | None = None
    """ARN of a secret with `aws_access_key_id` and `aws_secret_access_key` as JSON, in place of the
    function's own role."""
    role_arn: RoleArn | None = None
    """The role by which tasks are run, [in another
    account](docs/deployment.md#tasks-in-another-account); by default the function's own."""
    region: Region | None = None
    """Where tasks are run; by default the stack's region."""
    botocore: dict[str, Any] = {}
    """Options of `botocore.config.Config` for the ECS client."""
    assumable_roles: list[RoleArn] = []
    """Roles that AWS credentials blocks of jobs may have the agent assume."""

    @property
    def elsewhere(self) -> bool:
        """Whether tasks run in another account or region than the stack's."""
        return bool(self.credentials_secret or self.role_arn or self.region)

    @model_validator(mode="after")
    def _botocore_options(self) -> AwsSection:
        try:
            Config(**self.botocore)
        except (TypeError, ValueError, BotoCoreError) as error:
            raise ValueError(f"botocore: not an option of botocore's Config: {error}") from error
        return self


class ExternalKwargsSection(_Section):
    """``[external_kwargs]``"""

    enabled: bool = True
    """`false`: no bucket, no look into S3."""
    bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    """Your own bucket; the stack makes one if none is named."""
    prefix: str = Field("kwargs", pattern=r"^[A-Za-z0-9!_.*'()/-]*$")
    """What the keys of all files begin with."""
    allow: list[str] | None = None
    """What a file may set, by path: `["cpu", "memory", "containerDefinitions.environment"]`;
    everything if it is not there."""

    @property
    def folder(self) -> str:
        """What the keys of all files begin with."""
        prefix = self.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    @field_validator("allow")
    @classmethod
    def _names_parameters(cls, paths: list[str] | None) -> list[str] | None:
        for path in paths or []:
            if not kwargs_model().knows(path):
                raise ValueError(
                    f"{path!r} is no parameter of register_task_definition or run_task, nor the "
                    "path of one, such as containerDefinitions.environment"
                )
        return paths


class MonitoringSection(_Section):
    """``[monitoring]``"""

    metrics: bool = True
    """`false`: the functions write no metrics, and nothing looks at them."""
    dashboard: bool = True
    """`false`: no dashboard."""
    alarms: bool = True
    """`false`: no alarms."""
    alarms_topic: TopicArn | None = None
    """ARN of an SNS topic that hears of every alarm, and when all is well again; not a FIFO topic.
    An encrypted one must let `cloudwatch.amazonaws.com` use its key."""

    @field_validator("alarms_topic")
    @classmethod
    def _has_alarms(cls, topic: str | None, info: ValidationInfo) -> str | None:
        if topic and info.data.get("alarms") is False:
            raise ValueError("is of no use while monitoring.alarms is false: remove one of them")
        return topic


class AgentConfig(_Section):
    """A whole ``agent.toml``."""

    prefect: PrefectSection
    agent: AgentSection = AgentSection()
    aws: AwsSection = AwsSection()
    ecs: EcsSection = EcsSection()
    external_kwargs: ExternalKwargsSection = ExternalKwargsSection()
    monitoring: MonitoringSection = MonitoringSection()
    deployment: DeploymentSection = DeploymentSection()

    @field_validator("agent")
    @classmethod
    def _labels_are_prefect_1s(cls, agent: AgentSection, info: ValidationInfo) -> AgentSection:
        if agent.labels and _version(info) in (2, 3):
            raise ValueError("labels: belongs to Prefect 1; since then a work pool chooses")
        return agent

    @field_validator("ecs")
    @classmethod
    def _launches_work_pools(cls, ecs: EcsSection, info: ValidationInfo) -> EcsSection:
        if _version(info) in (2, 3) and ecs.enable_task_revisions:
            raise ValueError("enable_task_revisions: belongs to Prefect 1: remove it")
        if _version(info) in (2, 3) and not ecs.launch_type:
            raise ValueError("launch_type: may be empty with Prefect 1 only: name one")
        return ecs

    @field_validator("deployment")
    @classmethod
    def _alarms_ring_in_their_region(
        cls, deployment: DeploymentSection, info: ValidationInfo
    ) -> DeploymentSection:
        monitoring = info.data.get("monitoring")
        topic = monitoring.alarms_topic if monitoring else None
        if topic and deployment.region and topic.split(":")[3] != deployment.region:
            raise ValueError(
                f"region: is {deployment.region!r}, and monitoring.alarms_topic is in "
                f"{topic.split(':')[3]!r}: CloudWatch takes only topics of the alarm's own region"
            )
        return deployment


def _version(info: ValidationInfo) -> int | None:
    prefect = info.data.get("prefect")
    return prefect.version if prefect else None


def load(
    path: Path, context: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> AgentConfig:
    """Read the settings.

    Parameters
    ----------
    path
        The TOML file.
    context
        The CDK context; what looks like ``section.key`` overrides that key of the file.
    environ
        With Prefect 1 the environment stands in for what ``[ecs.kwargs]`` does not name, as it
        did for the legacy agent (:mod:`infra.environment`).

    Raises
    ------
    ConfigError
        The file is missing or not TOML, or a key or value in it is not accepted.
    """
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; name one with -c agent=FILE") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    model = kwargs_model()
    given = flags.settings_among(context)
    for key, value in given.items():
        section, _, name = key.rpartition(".")
        in_kwargs = section == "ecs.kwargs"
        as_text = model.is_text(name) if in_kwargs else flags.wants_text(AgentConfig, key)
        try:
            read = flags.read(value, as_text=as_text)
            flags.apply(raw, key, read)
            if in_kwargs:
                model.split({name: read}, "-c ecs.kwargs")
        except (ValueError, PermanentError) as error:
            raise ConfigError(f"-c {key}: {error}") from error
    try:
        config = AgentConfig.model_validate(raw)
        if config.prefect.version == 1:
            config = with_environment(config, model, environ, str(path))
        given_kwargs = split_kwargs(config, str(path))
        check_placement(config, given_kwargs, str(path))
        check_partition(config, str(path))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, str(path), list(given)))) from error
    except PermanentError as error:
        raise ConfigError(str(error)) from error
    return config


@cache
def kwargs_model() -> KwargsModel:
    """Return botocore's model of the kwargs; no call is made, so any region does."""
    return KwargsModel(boto3.client("ecs", region_name="us-east-1"))


def split_kwargs(config: AgentConfig, path: str = "agent.toml") -> Kwargs:
    """Split ``[ecs.kwargs]`` as the dispatch function will.

    Raises
    ------
    PermanentError
        A key or value is not one of ECS's, by botocore's model of it.
    """
    kwargs = kwargs_model().split(config.ecs.kwargs, f"{path}: ecs.kwargs")
    for key in ("executionRoleArn", "taskRoleArn"):
        for given in (kwargs.definition, kwargs.request.get("overrides", {})):
            if not given.get(key, "arn:").startswith("arn:"):
                raise PermanentError(
                    f"{path}: ecs.kwargs: {key}: must be the role's ARN, for the agent is allowed "
                    f"to pass that one role; it is {given[key]!r}"
                )
    return kwargs


def with_environment(
    config: AgentConfig, model: KwargsModel, environ: Mapping[str, str], path: str
) -> AgentConfig:
    """Return the settings with the environment's kwargs where ``[ecs.kwargs]`` names none.

    What it takes it names on the standard error: ``group`` may mean something else to this shell.
    """
    kwargs = model.parsed(config.ecs.kwargs)
    found = fallbacks(kwargs, model, environ)
    if found:
        names = ", ".join(sorted(found))
        print(f"{path}: ecs.kwargs: {names}: taken from the environment", file=sys.stderr)
    ecs = config.ecs.model_copy(update={"kwargs": {**kwargs, **found}})
    return config.model_copy(update={"ecs": ecs})


def check_placement(
    config: AgentConfig,
    kwargs: Kwargs,
    path: str = "agent.toml",
    *,
    handed_over: Set[str] = frozenset(),
) -> None:
    """Refuse to run tasks where the stack can make no cluster or network for them.

    Parameters
    ----------
    handed_over
        The parameters that another CDK app brings constructs for.

    Raises
    ------
    PermanentError
        A parameter must be named in ``[ecs.kwargs]``, and is not.
    """
    wanted: list[str] = []
    if config.aws.elsewhere or config.ecs.launch_type in ("EC2", "EXTERNAL"):
        wanted = ["cluster"]
        on_instances = config.prefect.version != 1 and config.ecs.launch_type in ("EC2", "EXTERNAL")
        if kwargs.definition.get("networkMode", "" if on_instances else "awsvpc") == "awsvpc":
            wanted += ["networkConfiguration"]
    if config.aws.role_arn or config.aws.credentials_secret:
        wanted += ["executionRoleArn", "taskRoleArn"]
    for key in wanted:
        if key not in {*kwargs.definition, *kwargs.request, *handed_over}:
            raise PermanentError(
                f"{path}: ecs.kwargs: {key}: must be named, for the tasks run on what this stack "
                "does not make: another account, another region, or instances "
                f"(ecs.launch_type = {config.ecs.launch_type!r})."
            )


def check_partition(config: AgentConfig, path: str = "agent.toml") -> None:
    """Refuse ARNs of another partition than that of the region that is deployed to.

    Raises
    ------
    PermanentError
        For example an ARN of ``aws`` where ``deployment.region`` is in China.
    """
    region = config.deployment.region
    if region is None:
        return
    partition = partition_of(region)
    for key, arn in foreign_arns(config.model_dump(), partition):
        raise PermanentError(
            f"{path}: {key}: is of the partition {arn.split(':')[1]!r}, and deployment.region "
            f"{region!r} of {partition!r}: name one of there; it is {arn!r}"
        )


def runtime_settings(config: AgentConfig) -> dict[str, Any]:
    """Return what the functions read as :class:`fargate_agent.settings.Settings`."""
    return {
        "agent_name": config.agent.name,
        "agent_labels": config.agent.labels,
        "agent_env": config.agent.env,
        "enabled": config.agent.enabled,
        "poll_interval_seconds": config.agent.poll_interval_seconds,
        "send_logs": config.agent.send_logs,
        "prefect_version": config.prefect.version,
        "api_url": config.prefect.api_url,
        "api_key_secret": config.prefect.api_key_secret,
        "auth_string_secret": config.prefect.auth_string_secret,
        "work_pool": config.prefect.work_pool or "",
        "work_queues": config.prefect.work_queues,
        "agent_config_id": config.prefect.agent_config_id,
        "backend": config.prefect.backend or _backend(config),
        "tenant_id": config.prefect.tenant_id,
        "logging_level": config.prefect.logging_level,
        "extra_loggers": config.prefect.extra_loggers,
        "aws_credentials_secret": config.aws.credentials_secret,
        "aws_role_arn": config.aws.role_arn,
        "aws_region": config.aws.region,
        "aws_botocore": config.aws.botocore,
        "launch_type": config.ecs.launch_type,
        "enable_task_revisions": config.ecs.enable_task_revisions,
        "on_drift": config.ecs.on_drift,
        "relaunch_attempts": config.ecs.relaunch_attempts,
        "ecs_kwargs": config.ecs.kwargs,
        "kwargs_bucket_is_given": config.external_kwargs.bucket is not None,
        "kwargs_prefix": config.external_kwargs.prefix,
        "kwargs_allow": config.external_kwargs.allow,
        "metrics": config.monitoring.metrics,
    }


def _backend(config: AgentConfig) -> str:
    """Tell Prefect Cloud from the open-source server of Prefect 1, which knows no keys."""
    return "cloud" if config.prefect.api_key_secret else "server"


_KEY = re.compile(r"([a-z_]+): ")


def _explain(error: ValidationError, path: str, given: list[str]) -> Iterator[str]:
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        named = _KEY.match(message)
        if named and len(place) == 1:  # said of one key by a check of the whole table
            place, message = [*place, named[1]], message[named.end() :]
        key = ".".join(place)
        flag = next((g for g in given if g == key or g.startswith(f"{key}.")), None)
        unknown = problem["type"] == "extra_forbidden"
        where = f"-c {flag}" if flag == key or (flag and unknown) else f"{path}: {key}"
        if unknown:
            yield f"{where}: no such setting. {did_you_mean(place[-1], _siblings(place))}"
        elif problem["type"] == "missing" and len(place) == 1:
            yield f"{path}: the table [{key}] is missing. Add it; the shipped agent.toml shows it."
        elif problem["type"] == "missing":
            yield f"{where}: must be set, in the file or with -c {key}=VALUE"
        else:
            yield f"{where}: {message}{_shown(place, problem['input'])}"


def _shown(place: list[str], value: Any) -> str:
    """Repeat a bad value, but neither whole tables nor what may be a secret."""
    if value is None or isinstance(value, dict) or place[-1].endswith("_secret") or "env" in place:
        return ""
    return f"; it is {value!r}"


def _siblings(place: list[str]) -> list[str]:
    fields: Any = AgentConfig.model_fields
    for part in place[:-1]:
        fields = fields[part].annotation.model_fields
    return list(fields)
