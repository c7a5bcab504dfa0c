"""An agent's client of a stand-in server for Prefect 1."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.runs import FlowRun, claim_id
from tests.support.prefect1_server import Prefect1Server
from tests.support.prefect1_values import KEY_SECRET, settings


def prefect1(
    server: Prefect1Server, *, now: datetime | None = None, key: str | None = None, **changes: Any
) -> Prefect1:
    """Make a client with the server's own key, unless another is given."""
    key = key or server.token
    fields = {"api_url": server.url, "api_key_secret": KEY_SECRET if key else None, **changes}
    return Prefect1(
        JsonClient(server.url, lambda _: f"Bearer {key}" if key else None),
        settings(**fields),
        now=lambda: now or datetime.now(UTC),
    )


def run_of(row: dict[str, Any], due: datetime | None = None) -> FlowRun:
    """Return a run's message as a poll would have made it when the run was due then."""
    time = due or datetime.fromisoformat(row["scheduled_start_time"])
    return FlowRun(
        id=row["id"],
        name=row["name"],
        scheduled_time=time,
        claim_id=claim_id(row["id"], time),
        flow_id=row["flow_id"],
        flow_name=row["flow"]["name"],
    )
