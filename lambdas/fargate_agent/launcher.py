"""The launch of one run: claim it, resolve its kwargs, find its definition, start, report.

Every step may be repeated: the claim is a compare-and-set in Prefect, and the task's client token
is the claim's id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fargate_agent import clients
from fargate_agent.accounts import Account, Accounts
from fargate_agent.deregistration import with_deregistration
from fargate_agent.errors import NoSlot, PermanentError
from fargate_agent.kwargs import KwargsModel
from fargate_agent.observability import logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import Claim, RunState
from fargate_agent.profiles import Profile
from fargate_agent.profiles.prefect1 import Prefect1Profile
from fargate_agent.profiles.work_pool import WorkPoolProfile
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.rehearsal import rehearse
from fargate_agent.runs import FlowRun, Launch
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import Revision, TaskDefinitions
from fargate_agent.tasks import InactiveDefinition, Task, run_task


@dataclass(frozen=True, slots=True)
class Launcher:
    """What launches hold in common, kept while the function is warm."""

    orchestrator: Orchestrator
    profile: Profile
    accounts: Accounts
    send_logs: bool

    @classmethod
    def from_settings(cls, config: Settings) -> Launcher:
        """Make the clients and read the agent's own kwargs.

        Raises
        ------
        PermanentError
            ``[ecs.kwargs]`` is not valid; ``cdk synth`` would have said so.
        """
        orchestrator, accounts = clients.orchestrator(config), clients.accounts(config)
        model = KwargsModel(accounts.own.ecs)
        return cls(
            orchestrator=orchestrator,
            profile=profile(config, orchestrator, accounts, model),
            accounts=accounts,
            send_logs=config.send_logs,
        )

    def rehearse(self) -> dict[str, Any]:
        """Start a tiny task with what every run is started with; see :mod:`rehearsal`."""
        own = self.accounts.own
        definitions = TaskDefinitions(own.ecs, own.definitions.tagging)
        return rehearse(own.ecs, definitions, self.profile.defaults(), self.profile.place)

    def launch(self, run: FlowRun, *, known: Reads | None) -> None:
        """Start the run's one task, or find that there is nothing to start.

        Parameters
        ----------
        known
            Where to ask for the run's state first, for a message that may be out of date: Prefect
            accepts a claim of a run that has failed or completed, and it would run again.

        Raises
        ------
        NoSlot
            A concurrency limit is full, and this very claim is to be made again later.
        """
        state = known.state(run) if known else None
        if state is not None and not state.awaits(run):
            logger.info("nothing to launch", flow_run_id=run.id, state=state.type)
            return
        if (state is None or state.type == "SCHEDULED") and not self._claim(run, state):
            return
        launch, source = self.profile.render(run, state)
        task, revision = self._start(run, launch)
        logger.info(
            "launched",
            flow_run_id=run.id,
            claim_id=run.claim_id,
            task_arn=task.arn,
            task_definition=revision.name,
            delay_seconds=round((datetime.now(UTC) - run.scheduled_time).total_seconds(), 3),
        )
        details = _told(launch, revision, source) if self.send_logs else None
        self.orchestrator.launched(run, task, details)

    def _claim(self, run: FlowRun, state: RunState | None) -> bool:
        claim, reason = self.orchestrator.claim(run, state)
        if claim is Claim.NO_SLOT:
            raise NoSlot(reason)
        if claim is not Claim.OURS:
            logger.info("not launched", flow_run_id=run.id, claim=claim.value, reason=reason)
        return claim is Claim.OURS

    def _start(self, run: FlowRun, launch: Launch) -> tuple[Task, Revision]:
        account = self.accounts.of(launch.aws_credentials)
        if launch.definition_arn:
            revision = Revision(arn=launch.definition_arn, how="named by the run")
            try:
                return _run(run, launch, revision, account), revision
            except InactiveDefinition as error:
                raise PermanentError(
                    f"The task definition {revision.arn}, which the run names, is not active. "
                    "Register it again, or name another."
                ) from error
        revision = account.definitions.ensure(launch.definition, launch.revision)
        try:
            return _run(run, launch, revision, account), revision
        except InactiveDefinition:
            account.definitions.forget(revision.arn)
            revision = account.definitions.ensure(launch.definition, launch.revision)
            return _run(run, launch, revision, account), revision


def _run(run: FlowRun, launch: Launch, revision: Revision, account: Account) -> Task:
    request = launch.request
    if launch.deregisters and revision.ours:
        request = with_deregistration(request, revision.arn)
    return run_task(
        account.ecs,
        request,
        definition_arn=revision.arn,
        claim_id=run.claim_id,
        flow_run_id=run.id,
    )


def profile(
    config: Settings, orchestrator: Orchestrator, accounts: Accounts, model: KwargsModel
) -> Profile:
    """Make the profile of an orchestrator's runs."""
    files = clients.kwargs_files(config)
    match orchestrator:
        case Prefect1():
            return Prefect1Profile(orchestrator, files, model)
        case Prefect3():
            agent = Agent.from_settings(config, model)
            return WorkPoolProfile(orchestrator, files, model, agent, accounts)
    raise AssertionError("unreachable: there are no other orchestrators")


def _told(launch: Launch, revision: Revision, source: str | None) -> str:
    size = launch.definition
    sizes = "".join(
        f", {name} {size[name]}{unit}"
        for name, unit in (("cpu", ""), ("memory", " MiB"))
        if name in size and launch.definition_arn is None
    )
    name = f", as {launch.name!r}" if launch.name else ""
    origin = f", kwargs from {source}" if source else ""
    return f"with task definition {revision.name} ({revision.how}{sizes}){name}{origin}."


class Reads:
    """Reads the doubtful runs of one batch, all in one call, as their launches come due.

    Parameters
    ----------
    ids
        The runs of the batch.
    fresh_seconds
        An answer older than this is read again.
    """

    def __init__(
        self, prefect: Orchestrator, ids: Iterable[str], *, fresh_seconds: float = 0.5
    ) -> None:
        self._prefect = prefect
        self._ids = set(ids)
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._states: dict[str, RunState] = {}
        self._error: Exception | None = None

    def state(self, run: FlowRun) -> RunState:
        """Return what Prefect says of a run now; of a deleted one, that it has no state."""
        with self._lock:
            if time.monotonic() - self._read_at > self._fresh_seconds:
                self._read(run)
            if self._error:
                raise self._error
            return self._states.get(run.id) or RunState(
                type="DELETED", scheduled_time=None, claim_id=None, infrastructure_id=None
            )

    def _read(self, run: FlowRun) -> None:
        # The error is kept as an answer is: a server that hangs holds up one thread, not each.
        self._states, self._error = {}, None
        try:
            self._states = self._prefect.run_states(self._ids | {run.id})
        except Exception as error:
            self._error = error
        self._read_at = time.monotonic()
