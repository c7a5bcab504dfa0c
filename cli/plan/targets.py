"""What ``plan`` is asked about: a flow run, a deployment, or a flow, as a run that could be due."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError
from fargate_agent.kwargs import did_you_mean
from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect1_states import flow_run, run_state
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE, Prefect3
from fargate_agent.orchestrators.prefect3_states import run_state as run_state_of_row
from fargate_agent.orchestrators.references import is_uuid
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import FlowRun, parse_time

NEW_RUN, NEW_CLAIM = "FLOW-RUN-ID", "CLAIM-ID"
"""Stand where the ids of a run will, that does not exist yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A run to plan: one that exists, or the next one of a deployment or flow."""

    title: str
    run: FlowRun
    state: RunState | None
    """What Prefect says of it now; None for a run that does not exist yet, in Prefect 2 and 3."""
    row: Mapping[str, Any]
    """The run as Prefect's API describes it."""

    @property
    def is_new(self) -> bool:
        """Whether the run does not exist yet."""
        return self.run.id == NEW_RUN


def targets(agent: DeployedAgent, name: str) -> list[Target]:
    """Find what a name or id stands for.

    Parameters
    ----------
    name
        The id of a flow run, a deployment or a flow; ``flow/deployment``; or the name of a flow
        or a deployment. A flow of Prefect 2 and 3 stands for its deployments in the agent's pool.

    Raises
    ------
    CommandError
        Nothing of the agent's is called so.
    """
    match agent.orchestrator:
        case Prefect1() as prefect:
            return [_of_prefect_1(prefect, agent.settings("poll").claimant, name)]
        case Prefect3() as prefect:
            return list(_of_work_pool(prefect, agent.api, agent.settings().work_pool, name))
    raise AssertionError("unreachable: there are no other orchestrators")


def _of_prefect_1(prefect: Prefect1, claimant: str, name: str) -> Target:
    state = prefect.run_states([name]).get(name) if is_uuid(name) else None
    if state is not None:
        details = state.details
        run = flow_run(details, state.scheduled_time or datetime.now(UTC), claimant)
        return Target(title=f"flow run {run.name or run.id}", run=run, state=state, row=details)
    row = prefect.next_run_of(name)
    if row is None:
        raise CommandError(f"There is no flow and no flow run {name!r}. Correct the name.")
    row |= {"id": NEW_RUN}
    state = run_state(row)
    run = replace(flow_run(row, datetime.now(UTC), ""), claim_id=NEW_CLAIM)
    return Target(title=f"flow {run.flow_name}", run=run, state=state, row=row)


def _of_work_pool(prefect: Prefect3, api: JsonClient, pool: str, name: str) -> Iterator[Target]:
    name = str(UUID(name)) if is_uuid(name) else name  # as the server writes ids
    row = _flow_run(api, name) if is_uuid(name) else None
    if row is not None:
        if row["work_pool_name"] != pool:
            raise CommandError(
                f"The flow run {name} is of the work pool {row['work_pool_name']!r}, and this "
                f"agent serves {pool!r}: name the agent that serves it (--agent or --stack)."
            )
        due = row["next_scheduled_start_time"] or row["expected_start_time"] or row["created"]
        (run,) = prefect.described([row], {name: parse_time(due)})
        title = f"flow run {row['name']}"
        yield Target(title=title, run=run, state=run_state_of_row(row, pool), row=row)
        return
    for deployment in _deployments(api, pool, name):
        row = _next_run_of(deployment)
        (run,) = prefect.described([row], {NEW_RUN: datetime.now(UTC)})
        run = replace(run, claim_id=NEW_CLAIM)
        title = f"deployment {run.flow_name}/{run.deployment_name}"
        yield Target(title=title, run=run, state=None, row=row)


def deployments_in_pool(agent: DeployedAgent) -> Iterator[FlowRun]:
    """Return a run for each deployment of the agent's work pool; in Prefect 1 there are none."""
    prefect = agent.orchestrator
    if not isinstance(prefect, Prefect3):
        return
    in_pool = {"work_pools": {"name": {"any_": [agent.settings().work_pool]}}}
    for page in itertools.count():
        asked = {**in_pool, "limit": PAGE_SIZE, "offset": page * PAGE_SIZE, "sort": "NAME_ASC"}
        found = agent.api.post("/deployments/filter", asked)
        for deployment in found:
            yield from prefect.described([_next_run_of(deployment)], {NEW_RUN: datetime.now(UTC)})
        if len(found) < PAGE_SIZE:
            return


def _next_run_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": NEW_RUN,
        "name": "FLOW-RUN-NAME",
        "flow_id": deployment["flow_id"],
        "deployment_id": deployment["id"],
        "work_queue_id": deployment.get("work_queue_id") or "",
        "job_variables": {},
    }


def _flow_run(api: JsonClient, id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.get(f"/flow_runs/{quote(id)}")
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def _deployments(api: JsonClient, pool: str, name: str) -> list[dict[str, Any]]:
    flow, slash, deployment = name.partition("/")
    if is_uuid(name):
        asked = [{"deployments": {"id": {"any_": [name]}}}, {"flows": {"id": {"any_": [name]}}}]
    elif slash:
        asked = [
            {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [deployment]}}}
        ]
    else:
        asked = [{kind: {"name": {"any_": [name]}}} for kind in ("flows", "deployments")]
    in_pool = {"work_pools": {"name": {"any_": [pool]}}}
    for filters in asked:
        found: list[dict[str, Any]] = api.post("/deployments/filter", {**filters, **in_pool})
        if found:
            return found
    known = api.post("/deployments/filter", in_pool)
    flows = {row["name"] for row in api.post("/flows/filter", in_pool)}
    raise CommandError(
        f"The work pool {pool!r} has no flow, deployment or flow run {name!r}. "
        f"{did_you_mean(name, flows | {row['name'] for row in known})}"
    )
