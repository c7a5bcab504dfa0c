"""A case's options and environment as the user who moves to this agent writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slugify import slugify

from tests.parity.cases import FLOW_ID, Case

SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prefect/token-AbCdEf"
AWS_KEYS_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:aws/keys-AbCdEf"

STACK_BUCKET = "made-by-the-stack"
"""The bucket of an agent for which the user names none."""

ENVIRONMENT_BUCKET, ENVIRONMENT_PREFIX = "environments", "kwargs"
"""Where the parameters of task environments are put, which Prefect's server never knew."""

NAMED = {
    "cluster": "default",
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-user"]}},
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
}
"""What a user writes who must name what the stack cannot make."""


@dataclass(frozen=True)
class Migration:
    """One agent of ours: its file, the environment of its synthesis, and what lies in S3.

    ``bucket`` is None where external kwargs are off. ``objects`` are by bucket and key.
    """

    toml: str
    environ: Mapping[str, str]
    bucket: str | None
    objects: Mapping[tuple[str, str], bytes]


def migrate(case: Case) -> Migration:
    """Translate a case.

    The agent's cases get ``ecs.on_drift = "reuse"`` and those of a task environment ``"fail"``: so
    a user keeps what either did.
    """
    options, config = case.options, case.config
    own = dict(_objects(case))
    ecs: dict[str, Any] = {"on_drift": "reuse", "kwargs": {**_kwargs(case), **must_name(case)}}
    agent: dict[str, Any] = {
        "name": _agent_name(options.get("name") or config.name),
        "labels": options.get("labels") or config.labels,
        "env": options.get("env_vars") or config.env_vars,
        "send_logs": _negated(options.get("no_cloud_logs"), config.send_logs),
        "url": bool(options.get("agent_address")),
    }
    prefect: dict[str, Any] = {
        "version": 1,
        "api_url": config.api,
        "backend": config.backend,
        "logging_level": config.level,
        "extra_loggers": config.extra_loggers,
        "api_key_secret": SECRET_ARN if config.token else None,
        "agent_config_id": options.get("agent_config_id"),
    }
    external: dict[str, Any] = {
        "enabled": options.get("use_external_kwargs", False),
        "bucket": options.get("external_kwargs_s3_bucket"),
        "prefix": options.get("external_kwargs_s3_key") or "",
    }
    if case.is_environment:
        ecs |= {"on_drift": "fail", "launch_type": options.get("launch_type")}
        agent["labels"], agent["env"] = [], {}
        bucket = ENVIRONMENT_BUCKET
        external = {"enabled": True, "bucket": bucket, "prefix": ENVIRONMENT_PREFIX}
        own[environment_key(case)] = json.dumps(case.kwargs).encode()
    else:
        ecs |= {
            "launch_type": options.get("launch_type", "FARGATE") or "",
            "enable_task_revisions": options.get("enable_task_revisions"),
        }
    aws: dict[str, Any] = {
        "region": options.get("region_name") or case.env.get("REGION_NAME"),
        "botocore": options.get("botocore_config"),
        "credentials_secret": AWS_KEYS_ARN if options.get("aws_access_key_id") else None,
    }
    sections = {
        "agent": agent,
        "prefect": prefect,
        "ecs": ecs,
        "external_kwargs": external,
        "aws": aws,
    }
    named = external["bucket"] or STACK_BUCKET
    return Migration(
        toml="\n".join(_toml(sections)),
        # A task environment was made in its flow's process: no agent ever saw these variables.
        environ={} if case.is_environment else case.env,
        bucket=named if external["enabled"] else None,
        objects=own,
    )


def environment_key(case: Case) -> tuple[str, str]:
    """Name the object that holds a task environment's parameters."""
    parts = (ENVIRONMENT_PREFIX, slugify(case.input["flow"]["name"]), f"{FLOW_ID[:8]}.json")
    return ENVIRONMENT_BUCKET, "/".join(filter(None, parts))


def must_name(case: Case) -> dict[str, Any]:
    """Return the ECS parameters that the user must name although the case does not.

    The stack makes a cluster, a network and roles for Fargate in its own account and region only.
    """
    elsewhere = bool(
        case.options.get("region_name")
        or case.env.get("REGION_NAME")
        or case.options.get("aws_access_key_id")
    )
    wanted: list[str] = []
    if elsewhere or case.launch_type in ("EC2", "EXTERNAL"):
        wanted += ["cluster"]
        if (case.kwargs.get("networkMode") or "awsvpc") == "awsvpc":
            wanted += ["networkConfiguration"]
    if case.options.get("aws_access_key_id"):
        wanted += ["executionRoleArn", "taskRoleArn"]
    if case.is_environment:  # its own parameters lie in S3, and stand above these
        return {key: case.kwargs.get(key) or NAMED[key] for key in wanted}
    told = {**case.env, **case.kwargs}
    return {key: NAMED[key] for key in wanted if not told.get(key)}


def _kwargs(case: Case) -> dict[str, Any]:
    """Return the parameters for ``[ecs.kwargs]``; those of a task environment lie in S3."""
    return {} if case.is_environment else dict(case.kwargs)


def _agent_name(name: str | None) -> str | None:
    if name is None or re.fullmatch(r"[A-Za-z]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?", name):
        return name
    return f"agent-{slugify(name)}"[:40].rstrip("-")


def _negated(given: Any, default: bool) -> Any:
    if given is None:
        return default
    return not given if isinstance(given, bool) else given


def _objects(case: Case) -> Iterator[tuple[tuple[str, str], bytes]]:
    for path, content in (case.input.get("s3_objects") or {}).items():
        bucket, _, key = path.partition("/")
        body = bytes.fromhex(content["hex"]) if isinstance(content, dict) else content.encode()
        yield (bucket, key), body


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for section, values in sections.items():
        yield f"[{section}]"
        for key, value in values.items():
            if key == "kwargs":
                written = {k: _written(v) for k, v in value.items() if v is not None}
                yield f"{key} = {_inline(written)}"
            elif value is not None:
                yield f"{key} = {_inline(value)}"


def _written(value: Any) -> Any:
    """Return a parameter as TOML can hold it: one with a null inside as a Python literal."""
    return repr(value) if _has_null(value) else value


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_inline(str(k))} = {_inline(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)
