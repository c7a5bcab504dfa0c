"""Prefect 1 over GraphQL: due runs, claims, reports.

Follows what the legacy agent (0.14, 0.15) was recorded to say and hear, and the open-source
server's own rules (github.com/PrefectHQ/server).
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fargate_agent.observability import logger
from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.graphql import (
    GraphQL,
    NoConcurrencySlot,
    QueryRefused,
    StateRefused,
)
from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.orchestrators.prefect1_states import (
    CORE_VERSION,
    FINISHED,
    RELAUNCHED,
    SCHEDULED,
    claimed,
    due_retries,
    due_time,
    flow_run,
    history,
    run_state,
    serialized_state,
)
from fargate_agent.orchestrators.references import is_uuid
from fargate_agent.orchestrators.states import Claim, History, RunState
from fargate_agent.orchestrators.wording import tellable
from fargate_agent.runs import FlowRun, parse_time
from fargate_agent.settings import Settings

if TYPE_CHECKING:
    from fargate_agent.tasks import Task

AGENT_TYPE = "FargateAgent"

QUEUE_LIMIT = 25
"""The server returns at most so many runs at once, those due first."""

MOST_PROPOSALS = 3
"""A claim is proposed again, with newer versions, where part of it is ours already."""

_NAMES = {"PENDING": "Submitted", "RUNNING": "Running", "CANCELLING": "Cancelling"}
"""Prefect 1's names of Prefect 3's state types, of those that a task may be missing for."""

_FLOW_RUN = """
    id version state serialized_state state_timestamp scheduled_start_time run_config name
    flow { id name environment storage version core_version }
"""
_TASK_RUNS = "{ id version task_id serialized_state }"


class Prefect1:
    """One agent on one server, or on Prefect Cloud 1.

    Parameters
    ----------
    api
        The client for ``prefect.api_url``.
    settings
        The agent's. What the server holds under ``prefect.agent_config_id`` stands above them.
    """

    reads_every_run = True
    runs_outlive_containers = True
    knows_events = False

    def __init__(
        self,
        api: JsonClient,
        settings: Settings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        api.headers["X-PREFECT-CORE-VERSION"] = CORE_VERSION
        self._graphql = GraphQL(api, "" if "/" in settings.api_url.partition("://")[2] else "/")
        self._deployed = settings
        self._configured: Settings | None = None
        self._now = now
        self._tenant: str | None = settings.tenant_id
        self._knows_tenant = settings.tenant_id is not None
        self._lock = threading.Lock()
        self._lines: list[dict[str, Any]] = []

    # -- who the agent is

    def settings(self) -> Settings:
        """Return the settings, with the agent configuration of the server above them.

        The first call makes the agent known: nothing of that must come between the read of a run
        and its claim.
        """
        with self._lock:
            if self._configured is None:
                self._connect()
                configured = self._deployed.with_agent_config(self._agent_config())
                self._register(configured)
                self._configured = configured
        return self._configured

    def tenant_of_key(self) -> str | None:
        """Return the tenant that an API key names; None for a runner token and for a server."""
        self.settings()
        return self._tenant_id() if self._deployed.api_key_secret else None

    def _connect(self) -> None:
        """Name the tenant with every call, where there is a key that several tenants may share."""
        if self._deployed.api_key_secret and self._tenant_id():
            self._api.headers["X-PREFECT-TENANT-ID"] = str(self._tenant_id())

    def _tenant_id(self) -> str | None:
        if not self._knows_tenant:
            self._tenant = self._ask_tenant()
            self._knows_tenant = True
        return self._tenant

    def _ask_tenant(self) -> str | None:
        if not self._deployed.api_key_secret:
            tenants = self._graphql("query { tenant { id } }")["tenant"]
            return tenants[0]["id"] if tenants else None
        try:
            answer = self._graphql("query { auth_info { tenant_id } }")
        except QueryRefused:  # a runner's token of old, which names its tenant to nobody
            return None
        return (answer["auth_info"] or {}).get("tenant_id")

    def _agent_config(self) -> Mapping[str, Any]:
        id = self._deployed.agent_config_id
        if id is None:
            return {}
        where = f"{{ id: {{ _eq: {json.dumps(id)} }} }}"
        found = self._graphql(f"query {{ agent_config(where: {where}) {{ settings }} }}")
        configs = found["agent_config"]
        if not configs:
            raise ApiError("agent_config", 200, f"prefect.agent_config_id {id!r} does not exist")
        return configs[0]["settings"] or {}

    def heartbeat(self, interval_seconds: int) -> None:
        """Register the agent, once; after that every query for runs shows it online."""
        self.settings()

    def _register(self, settings: Settings) -> None:
        """Get the agent's id, the same for every function: it shows by whom a run was submitted."""
        answer = self._graphql(
            "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }",
            {
                "input": {
                    "type": AGENT_TYPE,
                    "name": settings.agent_name,
                    "labels": list(settings.agent_labels),
                    "tenant_id": self._tenant_id(),
                    "agent_config_id": settings.agent_config_id,
                }
            },
        )
        self._api.headers["X-PREFECT-AGENT-ID"] = answer["register_agent"]["id"]

    def last_queried(self) -> datetime | None:
        """Return when the agent asked for runs last, which only a person wants to know.

        Raises
        ------
        QueryRefused
            The server does not remember its agents.
        """
        self.settings()
        where = f"id: {{ _eq: {json.dumps(self._api.headers['X-PREFECT-AGENT-ID'])} }}"
        found = self._graphql(f"query {{ agent(where: {{ {where} }}) {{ last_queried }} }}")
        times = [agent["last_queried"] for agent in found["agent"] if agent["last_queried"]]
        return parse_time(times[0]) if times else None

    # -- what poll asks

    def due_runs(self, before: datetime, *, after: datetime | None = None) -> Page:
        """Return the first runs due at ``before``, and the Running ones with due retries.

        The server returns :data:`QUEUE_LIMIT` runs and cannot go on from there: the next show
        once the first are claimed.
        """
        settings = self.settings()
        answer = self._graphql(
            "mutation($input: get_runs_in_queue_input!) "
            "{ get_runs_in_queue(input: $input) { flow_run_ids } }",
            {
                "input": {
                    "before": before.isoformat(),
                    "labels": list(settings.agent_labels),
                    "tenant_id": self._tenant_id(),
                }
            },
        )
        ids = answer["get_runs_in_queue"]["flow_run_ids"]
        if not ids:
            return Page(runs=[])
        due = f"state_start_time: {{ _lte: {json.dumps(before.isoformat())} }}"
        runs = self._read(
            f"id: {{ _in: {json.dumps(ids)} }}, _or: ["
            f"{{ state: {{ _in: {json.dumps(SCHEDULED)} }} }}, "
            f'{{ state: {{ _eq: "Running" }}, task_runs: {{ {due} }} }}]',
            task_runs=due,
        )
        claimant = self._deployed.claimant
        found = [flow_run(run, time, claimant) for run in runs if (time := due_time(run))]
        found.sort(key=lambda run: run.scheduled_time)
        return Page(runs=found, full=len(ids) >= QUEUE_LIMIT)

    def limited_queues(self) -> frozenset[str]:
        """Return nothing: here a limit counts a run from its claim on, and refuses the claim."""
        return frozenset()

    def _read(self, where: str, *, task_runs: str) -> list[dict[str, Any]]:
        query = (
            f"query {{ flow_run(where: {{ {where} }}) "
            f"{{ {' '.join(_FLOW_RUN.split())} "
            f"task_runs(where: {{ {task_runs} }}) {_TASK_RUNS} }} }}"
        )
        return list(self._graphql(query)["flow_run"])

    # -- what heals

    def active_runs(self, types: Iterable[str]) -> Iterator[dict[str, RunState]]:
        """Return the runs that this agent submitted; see Orchestrator.

        The server remembers which agent it was. One that does not knows no such field.
        """
        self.settings()
        states = [_NAMES[type] for type in types]
        agent = self._api.headers["X-PREFECT-AGENT-ID"]
        where = f"state: {{ _in: {json.dumps(states)} }}, agent_id: {{ _eq: {json.dumps(agent)} }}"
        yield self._states(where)

    def history(self, flow_run_id: str) -> History:
        """Read the states that a run had; see Orchestrator."""
        where = f"flow_run_id: {{ _eq: {json.dumps(flow_run_id)} }}"
        query = f"flow_run_state(where: {{ {where} }}, order_by: {{ timestamp: asc }})"
        try:
            found = self._graphql(f"query {{ {query} {{ state message }} }}")
        except QueryRefused:  # it tells no history: as if the run had been relaunched for ever
            return History(claim_id=None, ours=True, relaunches=sys.maxsize)
        return history(found["flow_run_state"])

    def claimed(self, ids: Iterable[str]) -> list[FlowRun]:
        """Return those of the runs that are claimed by this agent, as they were enqueued."""
        read = self.run_states(ids).values()
        found = [claimed(state.details, self._deployed.claimant) for state in read]
        return [run for run in found if run]

    # -- what dispatch asks

    def run_states(self, ids: Iterable[str]) -> dict[str, RunState]:
        """Read runs with all that their launch needs; deleted runs are missing from them."""
        self.settings()
        return self._states(f"id: {{ _in: {json.dumps(sorted(set(ids)))} }}")

    def _states(self, where: str) -> dict[str, RunState]:
        waiting = json.dumps([*SCHEDULED, "Paused", "Running", "Submitted"])
        runs = self._read(where, task_runs=f"state: {{ _in: {waiting} }}")
        return {run["id"]: run_state(run) for run in runs}

    def next_run_of(self, flow: str) -> dict[str, Any] | None:
        """Return a run of the newest version of a flow, named by name or id, as if it were due."""
        is_it = f"{{ _eq: {json.dumps(flow)} }}"
        # An id that is none would have the server refuse the question.
        where = f"{{ id: {is_it} }}" if is_uuid(flow) else f"{{ name: {is_it} }}"
        fields = "id name environment storage version core_version run_config"
        found = self._graphql(
            f"query {{ flow(where: {where}, order_by: {{ version: desc }}, limit: 1) "
            f"{{ {fields} }} }}"
        )["flow"]
        if not found:
            return None
        (newest,) = found
        return {
            "id": "",
            "name": "",
            "version": 1,
            "state": "Scheduled",
            "serialized_state": {"type": "Scheduled", "start_time": self._now().isoformat()},
            "run_config": newest["run_config"],
            "flow": newest,
            "task_runs": [],
        }

    def claim(self, run: FlowRun, state: RunState | None) -> tuple[Claim, str]:
        """Set the run, and its due task runs, to Submitted by the version that was read.

        The server compares the version where the flow's project locks versions; elsewhere two
        agents may both succeed, and the claim id, the same for both, starts one task.
        """
        read = state or self.run_states([run.id]).get(run.id)
        if read is None:
            return Claim.LOST, "the run was deleted"
        if state is None and not read.awaits(run):
            return Claim.LOST, f"the run is {read.type}"
        for _ in range(MOST_PROPOSALS):
            try:
                return self._propose(run, read.details)
            except NoConcurrencySlot as error:
                return Claim.NO_SLOT, str(error)
            except StateRefused as error:
                # An earlier attempt of this very claim may have taken effect before its answer
                # got lost, and changed a version.
                read = self.run_states([run.id]).get(run.id)
                if read is None or read.claim_id != run.claim_id:
                    return Claim.LOST, str(error)
                if read.type == "PENDING" and not due_retries(read.details, self._now()):
                    return Claim.OURS, "Submitted before"
        # What is still refused is somebody else's; the container runs what is ours.
        return Claim.OURS, "Submitted in part"

    def _propose(self, run: FlowRun, details: Mapping[str, Any]) -> tuple[Claim, str]:
        version = details["version"]
        if details["state"] in SCHEDULED:
            if not self._submit(run, details):
                # A run that was Queued already stays as it is, its time as well.
                outcome = Claim.NO_SLOT if details["state"] == "Queued" else Claim.POSTPONED
                return outcome, "a concurrency limit is full"
            version += 1
        for task_run in due_retries(details, max(self._now(), run.scheduled_time)):
            self._submit_task_run(run, task_run, version)
        return Claim.OURS, "Submitted"

    def _submit(self, run: FlowRun, details: Mapping[str, Any]) -> bool:
        submitted = serialized_state(
            "Submitted",
            f"Submitted for execution (claim {run.claim_id})",
            state=details["serialized_state"],
        )
        return self._set_state(run.id, submitted, details["version"]) != "QUEUED"

    def _submit_task_run(self, run: FlowRun, task_run: Mapping[str, Any], version: int) -> None:
        proposal = {
            "task_run_id": task_run["id"],
            "version": task_run["version"],
            "state": serialized_state(
                "Submitted",
                f"Submitted for execution (claim {run.claim_id})",
                state=task_run["serialized_state"],
            ),
        }
        try:
            self._set_task_run_state(proposal)
        except StateRefused:  # servers that lock versions compare the flow run's as well
            self._set_task_run_state({**proposal, "flow_run_version": version})

    def _set_task_run_state(self, proposal: Mapping[str, Any]) -> None:
        self._graphql(
            "mutation($input: set_task_run_states_input!) "
            "{ set_task_run_states(input: $input) { states { id status message } } }",
            {"input": {"states": [proposal]}},
        )

    def _set_state(self, flow_run_id: str, state: Mapping[str, Any], version: int) -> str:
        answer = self._graphql(
            "mutation($input: set_flow_run_states_input!) "
            "{ set_flow_run_states(input: $input) { states { id status message } } }",
            {
                "input": {
                    "states": [{"flow_run_id": flow_run_id, "version": version, "state": state}]
                }
            },
        )
        return str(answer["set_flow_run_states"]["states"][0]["status"])

    # -- what is reported

    def launched(self, run: FlowRun, task: Task, details: str | None) -> None:
        """Keep the line that the legacy agent wrote."""
        if details is not None and self.settings().send_logs:
            message = f"Submitted for execution: Task ARN: {task.arn} {details}"
            self._lines.append(self._line(run.id, message, "INFO"))

    def is_deleted(self, flow_run_id: str) -> bool:
        """Tell whether a run is gone for good."""
        return not self.run_states([flow_run_id])

    def flush(self) -> None:
        """Write the lines of what was launched, all in one call, for what it is worth."""
        lines, self._lines = self._lines, []
        self._log(lines)

    def crash(self, flow_run_id: str, message: str) -> None:
        """Set the run to Failed, by the version it has now: ours is older than our own claim."""
        self._log([self._line(flow_run_id, message, "ERROR")])  # the state tells the same
        self._finish(flow_run_id, serialized_state("Failed", message))

    def cancelled(self, flow_run_id: str, message: str) -> None:
        """Complete the cancellation of a run whose task is gone."""
        self._finish(flow_run_id, serialized_state("Cancelled", message))

    def relaunch(
        self, flow_run_id: str, state: RunState, claim: str, *, due: datetime, message: str
    ) -> None:
        """Schedule a run again whose task was lost; see Orchestrator."""
        mark = RELAUNCHED.format(claim)
        if mark in (state.details["serialized_state"].get("message") or ""):
            return  # it is told already
        told = f"{message} {mark}"
        scheduled = serialized_state("Scheduled", told, start_time=due.isoformat())
        self._log([self._line(flow_run_id, message, "WARNING")])
        self._change(flow_run_id, scheduled, state.details["version"])

    def forward(self, flow_run_id: str, lines: Sequence[str]) -> None:
        """Write what a run's container said into the run's log, for what it is worth."""
        self._log([self._line(flow_run_id, line, "INFO") for line in lines])

    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: Prefect 1 knows no events."""

    def _finish(self, flow_run_id: str, state: Mapping[str, Any]) -> None:
        read = self.run_states([flow_run_id]).get(flow_run_id)
        if read is None or read.details["state"] in FINISHED:
            return
        self._change(flow_run_id, state, read.details["version"])

    def _change(self, flow_run_id: str, state: Mapping[str, Any], version: int) -> None:
        try:
            self._set_state(flow_run_id, state, version)
        except StateRefused as error:  # it moved on between the two calls: look again, later
            raise ApiError("set_flow_run_states", 200, str(error)) from error

    def _log(self, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        try:
            self._graphql(
                "mutation($input: write_run_logs_input!) "
                "{ write_run_logs(input: $input) { success } }",
                {"input": {"logs": lines}},
            )
        except Exception:
            ids = [line["flow_run_id"] for line in lines]
            logger.warning("the runs' log lines are lost", flow_run_ids=ids, exc_info=True)

    def _line(self, flow_run_id: str, message: str, level: str) -> dict[str, Any]:
        return {
            "flow_run_id": flow_run_id,
            "name": self.settings().agent_name,
            "message": tellable(message),
            "level": level,
        }
