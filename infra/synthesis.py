"""Synthesizes a stack from the settings that the CDK command line names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from aws_cdk import App, Stack

from infra.config import AgentConfig, ConfigError, load


def synthesize(make: Callable[[App, AgentConfig], Stack]) -> None:
    """Make a stack of ``agent.toml``, or of the file in ``-c agent=FILE``; write its template.

    Settings that are not usable end the process, with what is wrong about them.
    """
    app = App()
    path = Path(app.node.try_get_context("agent") or "agent.toml")
    try:
        make(app, load(path, app.node.get_all_context()))
    except ConfigError as error:
        sys.exit(str(error))
    app.synth()
