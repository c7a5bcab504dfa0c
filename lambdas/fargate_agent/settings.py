"""What a function knows of its deployment: read once per cold start, never validated again.

``agent.toml`` is validated when the stack is synthesized (``infra/config.py``), which writes the
plain values as ``settings.json`` into the bundle: Lambda limits environment variables to 4 KB.
What CloudFormation alone can name (queues, bucket, cluster, roles) comes by environment variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SETTINGS_FILE = Path(__file__).with_name("settings.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The deployed agent's settings. Field by field they follow ``agent.toml``."""

    agent_name: str
    agent_env: Mapping[str, str]
    poll_interval_seconds: int
    send_logs: bool
    api_url: str
    api_key_secret: str | None
    auth_string_secret: str | None
    work_pool: str
    work_queues: tuple[str, ...]
    ecs_kwargs: Mapping[str, Any]
    """The user's ``[ecs.kwargs]``, any key of ``register_task_definition`` or ``run_task``."""
    stack_kwargs: Mapping[str, Any]
    """The same for what the stack made because the user named none: cluster, roles, network."""
    kwargs_bucket: str | None
    """None where external kwargs are switched off."""
    kwargs_prefix: str
    runs_queue_url: str
    ticks_queue_url: str | None
    max_receives: int
    """On this receive of a message the run is told, for the next stop is the dead-letter queue."""


@cache
def load() -> Settings:
    """Read the settings of this function.

    Raises
    ------
    FileNotFoundError
        The bundle was not built by ``infra/bundling.py``.
    """
    env = os.environ
    return Settings(
        **_tuples(json.loads(SETTINGS_FILE.read_text())),
        stack_kwargs=json.loads(env.get("STACK_KWARGS", "{}")),
        kwargs_bucket=env.get("KWARGS_BUCKET"),
        runs_queue_url=env.get("RUNS_QUEUE_URL", ""),
        ticks_queue_url=env.get("TICKS_QUEUE_URL"),
        max_receives=int(env.get("MAX_RECEIVES", "1")),
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "work_queues": tuple(values["work_queues"])}
