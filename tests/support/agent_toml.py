"""Settings read from a text, as they are from ``agent.toml``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.config import AgentConfig, ConfigError, load

VALID = """
[prefect]
api_url = "https://prefect.example.com/api"
work_pool = "fargate"
"""
"""The shortest file that is accepted."""


def read(text: str = VALID, overrides: Mapping[str, Any] | None = None) -> AgentConfig:
    """Load a text, with overrides as ``-c`` gives them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent.toml")
        path.write_text(text)
        try:
            return load(path, overrides or {})
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), "FILE")) from error


def refusal(text: str = VALID, overrides: Mapping[str, Any] | None = None) -> str:
    """Return the error that the text meets, in which the file is called FILE."""
    with pytest.raises(ConfigError) as error:
        read(text, overrides)
    return str(error.value)
