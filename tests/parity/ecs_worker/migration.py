"""A worker's environment and network as the user who moves to this agent writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fargate_agent.settings import Settings
from tests.parity.ecs_worker.cases import Case

NAME = r"[A-Za-z]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?"
"""What an agent may be called, for it names the stack."""

API_URL, API_KEY, AUTH_STRING = "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"

SECRETS = {
    API_KEY: "arn:aws:secretsmanager:us-east-1:123456789012:secret:prefect/api-key-AbCdEf",
    AUTH_STRING: "arn:aws:secretsmanager:us-east-1:123456789012:secret:prefect/auth-AbCdEf",
}
"""Where the user put the worker's credentials, by the variables that held them."""

ATTEMPTS = 3
"""A message is received so often: as often as the worker tries by default."""

OWN_SUBNETS = ["subnet-own"]
"""Of the network that the stack makes, where the case has no default VPC to stand for it."""


def toml(case: Case) -> str:
    """Write ``agent.toml``."""
    secret = secret_of(case)
    keys = {API_KEY: "api_key_secret", AUTH_STRING: "auth_string_secret"}
    prefect = {
        "version": 3,
        "api_url": case.worker_env[API_URL],
        "work_pool": case.input["work_pool"]["name"],
        **({keys[secret]: SECRETS[secret]} if secret else {}),
    }
    name = case.input["worker"]["name"]
    sections = {
        "agent": {"name": name if re.fullmatch(NAME, name) else "agent", "env": agent_env(case)},
        "prefect": prefect,
        "external_kwargs": {"enabled": False},
    }
    return "\n".join(
        f"[{section}]\n" + "\n".join(f"{key} = {_inline(value)}" for key, value in table.items())
        for section, table in sections.items()
    )


def renamed(settings: Settings, case: Case) -> Settings:
    """Give the agent the worker's name, where the stack could not be called so."""
    return replace(settings, agent_name=case.input["worker"]["name"])


def secret_of(case: Case) -> str | None:
    """Name the variable whose value is now in a secret; of both the key, as Prefect has it."""
    held = [name for name in (API_KEY, AUTH_STRING) if case.worker_env.get(name)]
    return held[0] if held else None


def agent_env(case: Case) -> dict[str, str]:
    """Return ``agent.env``: the worker's environment without what is a setting of its own."""
    own = {API_URL, API_KEY, AUTH_STRING}
    return {
        name: text
        for name, text in case.worker_env.items()
        if name not in own and not name.startswith("AWS_")
    }


def network(case: Case) -> dict[str, Any]:
    """Return the network that the stack makes: as far as it goes, the case's default VPC."""
    default = {vpc["id"] for vpc in case.aws["vpcs"] if vpc.get("is_default")}
    subnets = [subnet["id"] for subnet in case.aws["subnets"] if subnet["vpc_id"] in default]
    return {
        "awsvpcConfiguration": {
            "subnets": subnets or OWN_SUBNETS,
            "assignPublicIp": "ENABLED",
            "securityGroups": [],
        }
    }


def environ(case: Case) -> Mapping[str, str]:
    """Return what CloudFormation tells the functions."""
    return {
        "STACK_KWARGS": json.dumps({"networkConfiguration": network(case)}),
        "MAX_RECEIVES": str(ATTEMPTS),
        "RUNS_QUEUE_URL": "https://sqs.test/runs.fifo",
    }


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_inline(key)} = {_inline(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)
