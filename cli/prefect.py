"""What Prefect says of the agent and of runs, for people: names, states, the last poll."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fargate_agent import clients
from fargate_agent.orchestrators.graphql import QueryRefused
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE
from fargate_agent.runs import parse_time
from fargate_agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Run:
    """A flow run as a person knows it."""

    id: str
    name: str
    state: str
    message: str = ""
    """What its state tells besides its name."""


def pool_path(settings: Settings) -> str:
    """Return the path of the agent's work pool in Prefect 3's API."""
    return f"/work_pools/{quote(settings.work_pool, safe='')}"


def workers(settings: Settings, api: JsonClient) -> list[Mapping[str, Any]]:
    """Return the workers that Prefect 3 knows in the agent's pool, itself among them."""
    body = {"limit": PAGE_SIZE}
    return list(api.post(f"{pool_path(settings)}/workers/filter", body))


def last_poll(settings: Settings, api: JsonClient) -> datetime | None:
    """Return when the agent asked for runs last; None where the server does not tell.

    Raises
    ------
    ApiError, PermanentError
        Prefect cannot be asked.
    """
    if settings.prefect_version == 1:
        try:
            return Prefect1(clients.api(settings), settings).last_queried()
        except QueryRefused:
            return None
    own = [w for w in workers(settings, api) if w["name"] == settings.agent_name]
    heard = own[0].get("last_heartbeat_time") if own else None
    return parse_time(heard) if heard else None


def runs(settings: Settings, api: JsonClient, ids: Iterable[str]) -> dict[str, Run]:
    """Read runs by their ids; those that are deleted are missing.

    Raises
    ------
    ApiError, PermanentError
        Prefect cannot be asked.
    """
    wanted = sorted({*ids})
    if not wanted:
        return {}
    if settings.prefect_version == 1:
        read = Prefect1(clients.api(settings), settings).run_states(wanted)
        return {id: _of_prefect1(id, state.details) for id, state in read.items()}
    found: dict[str, Run] = {}
    for start in range(0, len(wanted), PAGE_SIZE):
        some = {"flow_runs": {"id": {"any_": wanted[start : start + PAGE_SIZE]}}}
        for run in api.post("/flow_runs/filter", {**some, "limit": PAGE_SIZE}):
            state = run.get("state") or {}
            name, message = state.get("name") or "", state.get("message") or ""
            found[run["id"]] = Run(run["id"], run["name"], name, message)
    return found


def _of_prefect1(id: str, run: Mapping[str, Any]) -> Run:
    message = (run.get("serialized_state") or {}).get("message") or ""
    return Run(id, run.get("name") or "", run.get("state") or "", message)
