"""The CDK app: ``cdk deploy`` reads ``agent.toml``; ``-c agent=FILE`` another file."""

from __future__ import annotations

import sys
from pathlib import Path

from aws_cdk import App

from infra.config import ConfigError, load
from infra.stack import AgentStack


def main() -> None:
    """Synthesize the agent's stack."""
    app = App()
    path = Path(app.node.try_get_context("agent") or "agent.toml")
    try:
        AgentStack(app, load(path, app.node.get_all_context()))
    except ConfigError as error:
        sys.exit(str(error))
    app.synth()


if __name__ == "__main__":
    main()
