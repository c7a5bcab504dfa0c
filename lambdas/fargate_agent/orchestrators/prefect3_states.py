"""What Prefect 2 and 3 say of a run, a deployment and their states. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fargate_agent.orchestrators.states import History, RunState
from fargate_agent.runs import claim_id, parse_time, relaunch_id
from fargate_agent.templating import references_in

FINISHED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def variables_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment's job variables, which Prefect 2 knows by another name."""
    return deployment.get("job_variables") or deployment.get("infra_overrides") or {}


def references_of(template: Any) -> set[str]:
    try:
        return references_in(template)
    except RecursionError:  # which is told to its run when it is rendered
        return set()


def run_state(run: Mapping[str, Any], pool: str) -> RunState:
    state = run["state"] or {}
    details = state.get("state_details") or {}
    scheduled = details.get("scheduled_time") or run.get("next_scheduled_start_time")
    policy = run.get("empirical_policy") or {}
    return RunState(
        type=state.get("type", ""),
        scheduled_time=parse_time(scheduled) if scheduled else None,
        claim_id=details.get("transition_id") if _is_claim(state) else None,
        infrastructure_id=run.get("infrastructure_pid"),
        since=parse_time(state["timestamp"]) if state.get("timestamp") else None,
        is_served=run.get("work_pool_name") in (None, pool),
        has_run=bool(run.get("start_time")),
        retries_in_process=policy.get("retry_type") == "in_process",
        waits_in_process=policy.get("retry_type") == "in_process"
        and state.get("name") == "AwaitingRetry",
    )


def _is_claim(state: Mapping[str, Any]) -> bool:
    """Tell a claim from what others make of a Pending state, as Prefect's observer of ECS does."""
    return state.get("type") == "PENDING" and state.get("name") == "Pending"


def history(flow_run_id: str, states: Iterable[Mapping[str, Any]], claimant: str) -> History:
    """Read the states of a run, the earliest first."""
    claim, due, ours, relaunches = None, None, False, 0
    for state in states:
        details = state.get("state_details") or {}
        if _is_claim(state) and details.get("transition_id"):
            claim, text = details["transition_id"], details.get("scheduled_time")
            due = parse_time(text) if text else None
            ours = due is not None and claim == claim_id(flow_run_id, due, claimant)
        elif state["type"] == "SCHEDULED" and claim:
            relaunches += details.get("transition_id") == relaunch_id(claim)
        elif state["type"] in FINISHED:
            relaunches = 0
    return History(claim_id=claim, scheduled_time=due, ours=ours, relaunches=relaunches)
