"""Invokes the agent's functions as their schedule and queues do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.config import Config

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError

LONGER_THAN_A_FUNCTION = Config(read_timeout=130, retries={"total_max_attempts": 1})
"""Tried again, a slow call would be a second one."""


class FunctionFailed(CommandError):
    """The function raised; the text is its error."""


def invoke(agent: DeployedAgent, name: str, payload: Mapping[str, Any]) -> Any:
    """Invoke ``poll``, ``dispatch`` or ``watch``, and return its decoded answer.

    Raises
    ------
    FunctionFailed
        It raised.
    """
    answer = agent.client("lambda", LONGER_THAN_A_FUNCTION).invoke(
        FunctionName=agent.function(name)["Configuration"]["FunctionName"],
        Payload=json.dumps(payload).encode(),
    )
    text = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise FunctionFailed(f"{name}: {_error(text)}")
    return json.loads(text or "null")


def _error(text: str) -> str:
    try:
        told = json.loads(text)
        return f"{told.get('errorType', 'failed')}: {told.get('errorMessage', '')}"
    except (AttributeError, ValueError):
        return text[:1000]
