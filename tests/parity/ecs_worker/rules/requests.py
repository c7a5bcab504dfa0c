"""What is run otherwise."""

from __future__ import annotations

import shlex
from typing import Any

from tests.parity.ecs_worker import migration
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.rules.base import Rule, starts, templated
from tests.parity.ecs_worker.worker import calls
from tests.parity.ecs_worker.worker.configuration import PROFILE

AGENTS_OWN = ("clientToken", "count", "startedBy")

UPDATED = "prefect.io/deployment-updated"

MAX_TAGS, MAX_KEY, MAX_VALUE = 50, 128, 256


def _told(plan: Plan) -> Plan:
    """Add an override of the flow's container where the template has none."""
    overrides = plan.request.get("overrides") or {}
    containers = overrides.get("containerOverrides") or []
    if plan.flow_name in {container.get("name") for container in containers}:
        return plan
    entries = [{"name": name, "value": text} for name, text in plan.job["env"].items()]
    own = {
        "name": plan.flow_name,
        "command": shlex.split(plan.job["command"]),
        "environment": entries,
    }
    return plan.with_request(overrides={**overrides, "containerOverrides": [own, *containers]})


def of_flow(change: Any) -> Any:
    """Change the variables of the flow's override, by name."""

    def all_of(plan: Plan) -> Plan:
        def of_one(container: dict[str, Any]) -> dict[str, Any]:
            if container.get("name") != plan.flow_name:
                return container
            env = {entry["name"]: entry["value"] for entry in container.get("environment", [])}
            changed = change(plan, env)
            entries = [{"name": name, "value": text} for name, text in changed.items()]
            return {**container, "environment": entries}

        return plan.with_overrides(of_one)

    return all_of


def _without_profile(plan: Plan, env: dict[str, str]) -> dict[str, str]:
    told = {*plan.given.env, *plan.job["users_env"], *templated(plan)}
    return {name: text for name, text in env.items() if name not in PROFILE or name in told}


def _with_agent_env(plan: Plan, env: dict[str, str]) -> dict[str, str]:
    own = migration.agent_env(plan.run.case)
    return {**own, **env} if plan.job else env


def _known(plan: Plan, env: dict[str, str]) -> dict[str, str]:
    return {**env, "PREFECT__FLOW_RUN_ID": plan.given.run_id}


def _with_tags(plan: Plan) -> Plan:
    """Write tags as ECS takes them; where two become one, the last of them stands."""
    job = plan.job
    written = calls.tags(job["task_run_request"].get("tags") or [], job["labels"])
    held = {tag["key"][:MAX_KEY]: tag["value"][:MAX_VALUE] for tag in written if tag["key"]}
    own = {key: value for key, value in held.items() if key.startswith("prefect.io/")}
    tags = [{"key": key, "value": value} for key, value in {**own, **held}.items()]
    return plan.with_request(tags=tags[:MAX_TAGS])


def _dated(plan: Plan) -> Plan:
    updated = {"key": UPDATED, "value": plan.run.deployment_updated}
    tags = [updated if tag["key"] == UPDATED else tag for tag in plan.request.get("tags", [])]
    return plan.with_request(tags=tags)


def _without_own(plan: Plan) -> Plan:
    return plan.with_request(**dict.fromkeys(AGENTS_OWN, ...))


def _terse(plan: Plan) -> Plan:
    request = dict(_present(plan.request))
    if "overrides" in request:
        request["overrides"] = _present(request["overrides"])
    return plan.changed(request=request).with_overrides(_present)


def _present(table: Any) -> dict[str, Any]:
    return {k: v for k, v in table.items() if v is not None and v not in ("", [], {})}


REQUESTS = (
    Rule(
        name="every flow is told its run",
        why="The flow's container is told its run and its command where the template's request "
        "overrides nothing, too. The worker started a container that ran no flow.",
        applies=starts,
        change=_told,
    ),
    Rule(
        name="no profile",
        why="The worker passed on what the Prefect profile of its machine set. A function has "
        "no profile: what a container is to know stands in agent.env.",
        applies=starts,
        change=of_flow(_without_profile),
        universal=True,
    ),
    Rule(
        name="agent.env reaches every container",
        why="The worker's environment is agent.env now. What templates read of it by "
        "{{ $NAME }} is told to every flow too, there being no process to keep it in.",
        applies=starts,
        change=of_flow(_with_agent_env),
    ),
    Rule(
        name="a run's own id",
        why="PREFECT__FLOW_RUN_ID is the run's, whatever env says: with another's the container "
        "would run that one a second time, and with none nothing.",
        applies=starts,
        change=of_flow(_known),
    ),
    Rule(
        name="tags that ECS takes",
        why="Each key once, none empty, none too long, and fifty at most, Prefect's own first. "
        "ECS refused the worker's request for any of these.",
        applies=starts,
        change=_with_tags,
    ),
    Rule(
        name="a changed deployment is a later one",
        why="A server dates a deployment anew when it is changed, by which this agent knows to "
        "read it again; the stand-in of the recordings kept the date.",
        applies=lambda plan: starts(plan) and plan.given.deployment is not None,
        change=_dated,
    ),
    Rule(
        name="the agent's own parameters",
        why="count, startedBy and the client token hold the agent's guarantee of one task a run, "
        "so a template's are left out: the worker started as many as it was told.",
        applies=starts,
        change=_without_own,
    ),
    Rule(
        name="nothing empty",
        why="What is empty in a request says nothing, and is not sent: the worker sent empty "
        "lists of variables.",
        applies=starts,
        change=_terse,
    ),
)
