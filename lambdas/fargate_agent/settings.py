"""What a function knows of its deployment: read once per cold start, never validated again.

``agent.toml`` is validated when the stack is synthesized (``infra/config.py``), which writes the
plain values as ``settings.json`` into the bundle: Lambda limits environment variables to 4 KB.
What CloudFormation alone can name (queues, bucket, cluster, roles) comes by environment variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fargate_agent.errors import PermanentError

SETTINGS_FILE = Path(__file__).with_name("settings.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The deployed agent's settings. Field by field they follow ``agent.toml``."""

    agent_name: str
    agent_labels: tuple[str, ...]
    agent_env: Mapping[str, str]
    enabled: bool
    """Where false, the schedule is off and pokes are refused."""
    poll_interval_seconds: int
    send_logs: bool
    prefect_version: int
    api_url: str
    api_key_secret: str | None
    auth_string_secret: str | None
    work_pool: str
    work_queues: tuple[str, ...]
    agent_config_id: str | None
    backend: str
    tenant_id: str | None
    logging_level: str
    extra_loggers: tuple[str, ...]
    aws_credentials_secret: str | None
    aws_role_arn: str | None
    aws_region: str | None
    aws_botocore: Mapping[str, Any]
    launch_type: str
    """Empty: the cluster's own default capacity provider strategy decides."""
    enable_task_revisions: bool
    on_drift: str
    """"revise", "reuse" or "fail"."""
    relaunch_attempts: int
    """So often is a run launched again whose task was lost by no fault of its flow."""
    ecs_kwargs: Mapping[str, Any]
    """The user's ``[ecs.kwargs]``, any key of ``register_task_definition`` or ``run_task``."""
    stack_kwargs: Mapping[str, Any]
    """The same for what the stack made because the user named none: cluster, roles, network."""
    kwargs_bucket: str | None
    """None where external kwargs are switched off."""
    kwargs_bucket_is_given: bool
    """The user named the bucket: it is read with the ``[aws]`` credentials, as tasks are run."""
    kwargs_prefix: str
    kwargs_allow: tuple[str, ...] | None
    """The parameters that a kwargs file may set, by their paths; None for all."""
    runs_queue_url: str
    ticks_queue_url: str | None
    task_events_queue_url: str
    url_secret: str
    """The ARN of the secret that callers of the function URL must know; empty without a URL."""
    clusters: tuple[str, ...]
    """The ARNs of the clusters that tasks may be run in."""
    claimant: str
    """See :func:`runs.claim_id`."""
    metrics: bool
    """Whether metrics are written (``monitoring.metrics``)."""
    max_receives: int
    """On this receive of a message the run is told, for the next stop is the dead-letter queue."""

    def with_agent_config(self, config: Mapping[str, Any]) -> Settings:
        """Return these settings with an agent configuration of Prefect 1's API above them.

        It holds the legacy agent's constructor arguments; what is none of those that follow is
        one of the ECS parameters, and is validated as such. A null is no value.

        Raises
        ------
        PermanentError
            A value is of another type than the argument's.
        """
        config = {key: value for key, value in config.items() if value is not None}
        rest = {k: v for k, v in config.items() if k not in {*_ARGUMENTS, *_OF_THE_DEPLOYMENT}}
        given = {}
        for key in config.keys() & _ARGUMENTS.keys():
            name, kind = _ARGUMENTS[key]
            if not isinstance(config[key], kind):
                raise PermanentError(
                    f"The agent configuration {self.agent_config_id} (prefect.agent_config_id): "
                    f"{key}: must be a {kind.__name__}; it is a {type(config[key]).__name__}."
                )
            given[name] = config[key]
        if "agent_labels" in given:
            given["agent_labels"] = tuple(map(str, given["agent_labels"]))
        if "agent_env" in given:
            given["agent_env"] = {name: str(text) for name, text in given["agent_env"].items()}
        if "send_logs" in given:
            given["send_logs"] = not given["send_logs"]
        return replace(self, **given, ecs_kwargs={**self.ecs_kwargs, **rest})


_ARGUMENTS = {
    "name": ("agent_name", str),
    "labels": ("agent_labels", list),
    "env_vars": ("agent_env", dict),
    "no_cloud_logs": ("send_logs", bool),
    "launch_type": ("launch_type", str),
    "enable_task_revisions": ("enable_task_revisions", bool),
}
"""The legacy agent's constructor arguments, by the settings that follow them."""


_OF_THE_DEPLOYMENT = frozenset(
    {
        *("agent_address", "agent_config_id", "botocore_config", "max_polls", "region_name"),
        *("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
        *("use_external_kwargs", "external_kwargs_s3_bucket", "external_kwargs_s3_key"),
    }
)
"""Others of its arguments, which ``agent.toml`` alone settles, when the agent is deployed."""


@cache
def load() -> Settings:
    """Read the settings of this function.

    Raises
    ------
    FileNotFoundError
        The bundle was not built by ``infra/bundling.py``.
    """
    return read(SETTINGS_FILE.read_text(), os.environ)


def read(text: str, environ: Mapping[str, str]) -> Settings:
    """Read the settings of a function.

    Parameters
    ----------
    text
        Its bundle's ``settings.json``.
    environ
        Its environment variables.
    """
    return Settings(
        **_tuples(json.loads(text)),
        stack_kwargs=json.loads(environ.get("STACK_KWARGS", "{}")),
        kwargs_bucket=environ.get("KWARGS_BUCKET"),
        runs_queue_url=environ.get("RUNS_QUEUE_URL", ""),
        ticks_queue_url=environ.get("TICKS_QUEUE_URL"),
        task_events_queue_url=environ.get("TASK_EVENTS_QUEUE_URL", ""),
        url_secret=environ.get("URL_SECRET", ""),
        clusters=tuple(json.loads(environ.get("CLUSTERS", "[]"))),
        claimant=environ.get("CLAIMANT", ""),
        max_receives=int(environ.get("MAX_RECEIVES", "1")),
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return {**values, **lists}
