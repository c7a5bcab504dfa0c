"""The CDK app: ``cdk deploy`` reads ``agent.toml``; ``-c agent=FILE`` another file."""

from __future__ import annotations

from infra.stack import AgentStack
from infra.synthesis import synthesize

if __name__ == "__main__":
    synthesize(AgentStack)
