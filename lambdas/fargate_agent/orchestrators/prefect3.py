"""Prefect 2 and 3 over REST: due runs, claims, reports.

Follows https://docs.prefect.io/v3/api-ref/rest-api and what servers 2.20 and 3.x were seen to
answer. They differ little, and tell so themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fargate_agent.errors import DeploymentDeleted, PermanentError
from fargate_agent.observability import logger
from fargate_agent.orchestrators import Page
from fargate_agent.orchestrators.http import HASTY, ApiError, CredentialsRefused, JsonClient
from fargate_agent.orchestrators.prefect3_states import (
    history,
    references_of,
    run_state,
    variables_of,
)
from fargate_agent.orchestrators.references import References, is_uuid
from fargate_agent.orchestrators.states import Claim, History, RunState
from fargate_agent.orchestrators.wording import tellable
from fargate_agent.runs import FlowRun, claim_id, is_current, parse_time, relaunch_id
from fargate_agent.shared_calls import SharedCalls

if TYPE_CHECKING:
    from fargate_agent.tasks import Task

PAGE_SIZE = 200
"""The most flow runs the API returns at once."""

MOST_PAGES = 25
"""So many pages of runs are looked through in one pass; the next goes on where it ended."""

API_VERSION = "0.8.4"
"""Sent as ``X-PREFECT-API-VERSION``; servers since 2.0 accept it."""

LOGGER_NAME = "prefect.fargate_agent"
INFO, WARNING, ERROR = 20, 30, 40


class Prefect3:
    """One work pool on one server.

    Parameters
    ----------
    api
        The client for ``prefect.api_url``.
    work_pool, work_queues
        The pool that is served, and the queues in it; no queues means all.
    worker_name
        Under this name the agent is seen online in Prefect's UI.
    claimant
        See :func:`runs.claim_id`.
    """

    reads_every_run = False
    runs_outlive_containers = False
    knows_events = True

    def __init__(
        self,
        api: JsonClient,
        *,
        work_pool: str,
        work_queues: Iterable[str] = (),
        worker_name: str,
        claimant: str = "",
    ) -> None:
        self._api = api
        self._pool_name = work_pool
        self._pool_path = f"/work_pools/{quote(work_pool, safe='')}"
        self._queues = list(work_queues)
        self._worker_name = worker_name
        self._claimant = claimant
        self._flow_names: dict[str, str] = {}
        self._deployments: dict[str, dict[str, Any]] = {}
        self._pool: dict[str, Any] = {}
        self._worker_id: str | None = None
        self._version: tuple[str | None] | None = None
        self._calls = SharedCalls()
        self._takes_events = True
        self._next_page: dict[tuple[str, ...], int] = {}
        self._launched: list[str] = []
        self._lines: list[dict[str, Any]] = []
        self.references = References(api)

    # -- what poll asks

    def heartbeat(self, interval_seconds: int) -> None:
        """Show the pool READY and this agent online; make the pool where there is none."""
        body = {
            "name": self._worker_name,
            "heartbeat_interval_seconds": interval_seconds,
            "return_id": True,  # which Prefect Cloud does, and other servers pass over
        }
        path = f"{self._pool_path}/workers/heartbeat"
        try:
            answer = self._api.send("POST", path, body, decode=str)
        except ApiError as error:
            if error.status != 404:
                raise
            self._create_work_pool()
            answer = self._api.send("POST", path, body, decode=str)
        self._worker_id = answer if answer and is_uuid(answer) else None

    def due_runs(self, before: datetime, *, after: datetime | None = None) -> Page:
        """Return up to :data:`PAGE_SIZE` runs that are due at ``before``.

        The server neither locks nor pages: it returns the same runs until they are claimed. It
        orders them by their queue's priority, then by time; only by time can one go on.

        Parameters
        ----------
        after
            Leave out runs that are due earlier.
        """
        body = {
            "work_queue_names": self._queues,
            "scheduled_before": before.isoformat(),
            **({"scheduled_after": after.isoformat()} if after else {}),
            "limit": PAGE_SIZE,
        }
        try:
            found = self._api.post(f"{self._pool_path}/get_scheduled_flow_runs", body)
        except ApiError as error:
            if error.status == 404 and self._queues:
                raise PermanentError(
                    f"Work pool {self._pool_name!r} lacks one of the queues in "
                    f"prefect.work_queues, {self._queues}: create it or correct the setting."
                ) from error
            raise
        rows = [{**item["flow_run"], "work_queue_id": item["work_queue_id"]} for item in found]
        due = {row["id"]: parse_time(row["next_scheduled_start_time"]) for row in rows}
        return Page.by_time(self.described(rows, due), limit=PAGE_SIZE, after=after)

    def limited_queues(self) -> frozenset[str]:
        """Return the ids of the pool's queues to which a limit applied when runs were last due."""
        queues = self._api.post(f"{self._pool_path}/queues/filter", {"limit": PAGE_SIZE})
        pool_is_limited = self._pool["concurrency_limit"] is not None
        return frozenset(
            queue["id"]
            for queue in queues
            if pool_is_limited or queue["concurrency_limit"] is not None
        )

    def described(self, runs: list[dict[str, Any]], due: Mapping[str, datetime]) -> list[FlowRun]:
        """Return runs as they travel, with what stands around them; ``due`` tells when each is."""
        if not runs:
            return []
        pool = self._read_work_pool()
        flows = self._names_of_flows({run["flow_id"] for run in runs})
        deployments = self._list("deployments", {run["deployment_id"] for run in runs} - {None})
        templates = references_of(pool["base_job_template"])
        named = {
            run["id"]: templates
            | references_of(run.get("job_variables"))
            | references_of(variables_of(deployments.get(run["deployment_id"], {})))
            for run in runs
        }
        versions = self._versions(set().union(*named.values()))
        described = []
        for run in runs:
            deployment = deployments.get(run["deployment_id"], {})
            time = due[run["id"]]
            described.append(
                FlowRun(
                    id=run["id"],
                    name=run["name"],
                    scheduled_time=time,
                    claim_id=claim_id(run["id"], time, self._claimant),
                    flow_id=run["flow_id"],
                    flow_name=flows.get(run["flow_id"], ""),
                    deployment_id=run["deployment_id"],
                    deployment_name=deployment.get("name"),
                    deployment_updated=deployment.get("updated"),
                    work_pool_updated=pool["updated"],
                    work_queue_id=run["work_queue_id"],
                    has_job_variables=bool(run.get("job_variables")),
                    references={name: versions[name] for name in named[run["id"]] & set(versions)},
                    launched_before=bool(run.get("infrastructure_pid")),
                    worker_id=self._worker_id,
                )
            )
        return described

    def _versions(self, names: set[str]) -> dict[str, str]:
        """Return the versions of what runs refer to; without one it is read for each launch."""
        try:
            return self.references.versions(names)
        except (ApiError, CredentialsRefused) as error:
            logger.warning("versions of blocks and variables are not known", error=str(error))
            return {}

    def _names_of_flows(self, ids: set[str]) -> Mapping[str, str]:
        unknown = ids - self._flow_names.keys()
        if unknown:
            flows = self._list("flows", unknown)
            self._flow_names |= {id: flow["name"] for id, flow in flows.items()}
        return self._flow_names

    def _list(self, kind: str, ids: set[str]) -> dict[str, dict[str, Any]]:
        if not ids:
            return {}
        body = {kind: {"id": {"any_": sorted(ids)}}, "limit": PAGE_SIZE}
        return {item["id"]: item for item in self._api.post(f"/{kind}/filter", body)}

    def _create_work_pool(self) -> None:
        template = self._default_template()
        if template is None:
            raise PermanentError(
                f"Work pool {self._pool_name!r} (prefect.work_pool) does not exist and the server "
                "has no template to make it from: run 'prefect work-pool create --type ecs'."
            )
        body = {"name": self._pool_name, "type": "ecs", "base_job_template": template}
        try:
            self._api.post("/work_pools/", body)
        except ApiError as error:
            if error.status != 409:  # another poll made it first
                raise

    def _default_template(self) -> dict[str, Any] | None:
        try:
            view = self._api.get("/collections/views/aggregate-worker-metadata")
        except ApiError as error:
            if error.status != 404:  # as Prefect Cloud may answer
                raise
            view = {}
        found = view.get("prefect-aws", {}).get("ecs", {}).get("default_base_job_configuration")
        return dict(found) if found else None

    # -- what heals

    def active_runs(self, types: Iterable[str]) -> Iterator[dict[str, RunState]]:
        """Return the pool's runs whose states are of these types, by pages; see Orchestrator."""
        queues = {"work_pool_queues": {"name": {"any_": self._queues}}} if self._queues else {}
        asked_types = tuple(types)
        asked = {
            "flow_runs": {"state": {"type": {"any_": list(asked_types)}}},
            "work_pools": {"name": {"any_": [self._pool_name]}},
            **queues,
            "sort": "ID_DESC",
            "limit": PAGE_SIZE,
        }
        first = self._next_page.get(asked_types, 0)
        for page in range(first, first + MOST_PAGES):
            found = self._api.post("/flow_runs/filter", {**asked, "offset": page * PAGE_SIZE})
            was_last = len(found) < PAGE_SIZE
            self._next_page[asked_types] = 0 if was_last else page + 1
            yield {run["id"]: self._run_state(run) for run in found}
            if was_last:
                return

    def history(self, flow_run_id: str) -> History:
        """Read the states that a run had; see Orchestrator."""
        found = self._api.get(f"/flow_run_states/?flow_run_id={flow_run_id}")
        states = sorted(found, key=lambda state: parse_time(state["timestamp"]))
        return history(flow_run_id, states, self._claimant)

    def claimed(self, ids: Iterable[str]) -> list[FlowRun]:
        """Return those of the runs that are claimed by this agent, as they were enqueued."""
        pending = {
            id: row
            for id, row in self._list("flow_runs", set(ids)).items()
            if self._run_state(row).type == "PENDING"
        }
        histories = {id: self.history(id) for id in pending}
        due = {
            id: history.scheduled_time
            for id, history in histories.items()
            if history.ours and history.scheduled_time
        }
        return self.described([pending[id] for id in due], due)

    # -- what dispatch asks

    def work_pool(self, updated: str) -> dict[str, Any]:
        """Return the pool, from memory where that is no older than what the poll saw."""

        def read() -> dict[str, Any]:
            if not is_current(self._pool.get("updated"), updated):
                self._read_work_pool()
            return self._pool

        pool: dict[str, Any] = self._calls.make(("work pool", updated), read)
        return pool

    def _read_work_pool(self) -> dict[str, Any]:
        pool = self._api.get(self._pool_path)
        if pool["type"] != "ecs":
            raise PermanentError(
                f"Work pool {self._pool_name!r} (prefect.work_pool) is of type {pool['type']!r}; "
                "this agent serves pools of type 'ecs'."
            )
        self._pool = pool
        return self._pool

    def deployment(self, id: str, updated: str | None) -> dict[str, Any]:
        """Return a deployment's ``job_variables``, and when it was ``updated``.

        From memory where that is no older than what the poll saw.

        Raises
        ------
        DeploymentDeleted
            There is nothing to run any more.
        """

        def read() -> dict[str, Any]:
            held = self._deployments.get(id)
            if held is None or not is_current(held["updated"], updated):
                held = self._deployments[id] = self._read_deployment(id)
            return held

        deployment: dict[str, Any] = self._calls.make((id, updated), read)
        return deployment

    def _read_deployment(self, id: str) -> dict[str, Any]:
        try:
            found = self._api.get(f"/deployments/{id}")
        except ApiError as error:
            if error.status != 404:
                raise
            raise DeploymentDeleted(f"Deployment {id} no longer exists.") from error
        return {"updated": found["updated"], "job_variables": variables_of(found)}

    def flow_run(self, id: str) -> dict[str, Any]:
        """Return a run with all that the server knows of it, its own job variables among it."""
        run: dict[str, Any] = self._api.get(f"/flow_runs/{id}")
        return run

    def flow(self, id: str) -> dict[str, Any]:
        """Return a flow with all that the server knows of it."""
        flow: dict[str, Any] = self._api.get(f"/flows/{id}")
        return flow

    def server_version(self) -> str | None:
        """Return the server's version, such as ``3.8.8``, or None where it does not tell."""

        def read() -> tuple[str | None]:
            self._version = self._version or (self._read_version(),)
            return self._version

        version: tuple[str | None] = self._version or self._calls.make("version", read)
        return version[0]

    def _read_version(self) -> str | None:
        try:
            version = self._api.get("/admin/version")
        except CredentialsRefused:  # of this one call: those of the claim were accepted
            return None
        except ApiError as error:
            if error.status is None or error.status >= 500 or error.status in (408, 429):
                raise
            return None
        return version if isinstance(version, str) and version[:1].isdecimal() else None

    def run_states(self, ids: Iterable[str]) -> dict[str, RunState]:
        """Read the states of up to 200 runs in one call; deleted runs are missing from them."""
        found = self._list("flow_runs", set(ids))
        return {id: self._run_state(run) for id, run in found.items()}

    def _run_state(self, run: Mapping[str, Any]) -> RunState:
        return run_state(run, self._pool_name)

    def claim(self, run: FlowRun, state: RunState | None = None) -> tuple[Claim, str]:
        """Propose PENDING with the run's claim id; the server lets one proposer win.

        Returns
        -------
        The outcome, and the server's own words for it.

        Raises
        ------
        DeploymentDeleted
            The server refuses the claim for that.
        """
        try:
            answer = self._set_state(
                run.id,
                {
                    "type": "PENDING",
                    # Another name would be another state to the server, and every proposer win.
                    "name": "Pending",
                    "state_details": {"transition_id": run.claim_id},
                },
            )
        except ApiError as error:
            if error.status == 404:
                return Claim.LOST, "the run was deleted"
            raise
        found = answer["state"] or {}
        reason = (answer.get("details") or {}).get("reason") or found.get("name") or ""
        if answer["status"] == "ACCEPT":
            return Claim.OURS, reason
        if answer["status"] == "REJECT":
            details = found.get("state_details") or {}
            if found.get("type") == "PENDING" and details.get("transition_id") == run.claim_id:
                return Claim.OURS, reason
            if found.get("type") == "SCHEDULED":
                return Claim.POSTPONED, reason
        elif run.deployment_id and "deployment" in reason.lower():
            self._read_deployment(run.deployment_id)  # for the words alone are no proof
        return Claim.LOST, reason

    # -- what is reported

    def launched(self, run: FlowRun, task: Task, details: str | None) -> None:
        """Record the run's infrastructure; keep for :meth:`flush` what else is told of it."""
        try:
            self.report_infrastructure(run.id, task.infrastructure_id)
        except ApiError as error:
            if error.status != 404:
                raise
            return  # the run was deleted: there is nobody to tell
        self._launched.append(run.id)
        if details is not None:
            self._lines.append(self._line(run.id, f"Started ECS task {task.arn} {details}", INFO))

    def is_deleted(self, flow_run_id: str) -> bool:
        """Tell whether a run is gone for good."""
        try:
            self.flow_run(flow_run_id)
        except ApiError as error:
            if error.status != 404:
                raise
            return True
        return False

    def flush(self) -> None:
        """Label the runs that were launched, and write their lines, for what it is worth.

        All lines go in one call. Labels have a call for each run, which loads a small server so
        much that it is made when no launch waits for it.
        """
        launched, self._launched = self._launched, []
        lines, self._lines = self._lines, []
        reports: list[tuple[str, str, Any]] = [("POST", "/logs/", lines)] if lines else []
        if launched and self._knows_labels():
            reports += [("PATCH", f"/flow_runs/{id}/labels", None) for id in launched]
        for method, path, body in reports:
            try:
                self._api.send(method, path, body or self._labels(), retries=HASTY)
            except Exception as error:
                logger.warning("a report is lost", call=f"{method} {path}", error=str(error))
                if getattr(error, "status", None) is None:
                    return  # a server that does not answer is not waited for eleven times

    def _knows_labels(self) -> bool:
        try:
            return not (self.server_version() or "3").startswith("2.")
        except ApiError:
            return False

    def _labels(self) -> dict[str, str]:
        """Return the labels that workers give a run, by which Prefect links it with them."""
        return {
            "prefect.worker.name": self._worker_name,
            "prefect.worker.type": "ecs",
            "prefect.work-pool.name": self._pool_name,
            "prefect.work-pool.id": (self._pool or self._read_work_pool())["id"],
        }

    def report_infrastructure(self, flow_run_id: str, infrastructure_id: str) -> None:
        """Record ``cluster::task_arn``, by which Prefect's own cancellation finds the task."""
        self._api.send(
            "PATCH", f"/flow_runs/{flow_run_id}", {"infrastructure_pid": infrastructure_id}
        )

    def _line(self, flow_run_id: str, message: str, level: int) -> dict[str, Any]:
        return {
            "name": LOGGER_NAME,
            "level": level,
            "message": tellable(message),
            "timestamp": datetime.now(UTC).isoformat(),
            "flow_run_id": flow_run_id,
            "task_run_id": None,
        }

    def crash(self, flow_run_id: str, message: str) -> None:
        """Tell the run that its infrastructure failed. A finished run keeps its state."""
        if self._tell(flow_run_id, {"type": "CRASHED", "name": "Crashed"}, message):
            self._log([self._line(flow_run_id, message, ERROR)])

    def relaunch(
        self, flow_run_id: str, state: RunState, claim: str, *, due: datetime, message: str
    ) -> None:
        """Schedule a run again whose task was lost; see Orchestrator."""
        path = f"/flow_runs/{flow_run_id}"
        if state.retries_in_process:  # or no poll would be told of it
            policy = {**self.flow_run(flow_run_id)["empirical_policy"], "retry_type": "reschedule"}
            self._api.send("PATCH", path, {"empirical_policy": policy})
        details = {"transition_id": relaunch_id(claim), "scheduled_time": due.isoformat()}
        scheduled = {"type": "SCHEDULED", "name": "AwaitingRelaunch", "state_details": details}
        if self._tell(flow_run_id, scheduled, message):
            self._api.send("PATCH", path, {"infrastructure_pid": None})
            self._log([self._line(flow_run_id, message, WARNING)])

    def forward(self, flow_run_id: str, lines: Sequence[str]) -> None:
        """Write what a run's container said into the run's log, for what it is worth."""
        if lines:
            self._log([self._line(flow_run_id, line, INFO) for line in lines])

    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Record events, each once by its id; a server that knows none is left alone."""
        if not events or not self._takes_events:
            return
        try:
            self._api.post("/events", events)
        except (ApiError, CredentialsRefused) as error:
            status = getattr(error, "status", 403)
            if status is None or status >= 500 or status in (401, 408, 429):
                raise
            logger.warning("events are lost", count=len(events), error=str(error))
            self._takes_events = status not in (403, 404, 405)

    def _log(self, lines: list[dict[str, Any]]) -> None:
        """Write lines that tell no more than the run's state, or that nothing depends on."""
        try:
            self._api.send("POST", "/logs/", lines, retries=HASTY)
        except (ApiError, CredentialsRefused) as error:
            logger.warning("log lines are lost", error=str(error))

    def cancelled(self, flow_run_id: str, message: str) -> None:
        """Complete the cancellation of a run whose task is gone."""
        self._tell(flow_run_id, {"type": "CANCELLED", "name": "Cancelled"}, message)

    def _tell(self, flow_run_id: str, state: dict[str, Any], message: str) -> bool:
        """Propose what became of a run; tell whether that is news to the server."""
        answer = self._set_state(flow_run_id, {**state, "message": tellable(message)})
        reason = (answer.get("details") or {}).get("reason") or ""
        if "validating" in reason and not answer["state"]:  # it could not even read the state
            raise ApiError(f"set_state {state['type']}", 200, reason)
        return bool(answer["status"] == "ACCEPT")

    def _set_state(self, flow_run_id: str, state: dict[str, Any]) -> dict[str, Any]:
        # The answer's status tells, not the HTTP code: aborted proposals come with 200 and 201.
        path = f"/flow_runs/{flow_run_id}/set_state"
        answer: dict[str, Any] = self._api.post(path, {"state": state, "force": False})
        return answer
