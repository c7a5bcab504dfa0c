"""The launch of one run: claim it, resolve its kwargs, find its definition, start, report.

Every step may be repeated: the claim is a compare-and-set in Prefect, and the task's client token
is the claim's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fargate_agent import clients
from fargate_agent.accounts import Account, Accounts
from fargate_agent.conclusion import Conclusions
from fargate_agent.deregistration import with_deregistration
from fargate_agent.earlier_tasks import EarlierTasks
from fargate_agent.errors import NoSlot, PermanentError
from fargate_agent.kwargs import KwargsModel
from fargate_agent.observability import NO_METRICS, Metric, Metrics, about, logger
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.orchestrators.states import Claim, RunState
from fargate_agent.profiles import Profile
from fargate_agent.profiles.prefect1 import Prefect1Profile
from fargate_agent.profiles.work_pool import WorkPoolProfile
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.rehearsal import rehearse
from fargate_agent.running_tasks import RunningTasks
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
    tasks: RunningTasks
    earlier: EarlierTasks
    conclusions: Conclusions
    send_logs: bool
    metrics: Metrics = NO_METRICS
    _launched: list[FlowRun] = field(default_factory=list)

    @classmethod
    def from_settings(cls, config: Settings, metrics: Metrics = NO_METRICS) -> Launcher:
        """Make the clients and read the agent's own kwargs.

        Raises
        ------
        PermanentError
            ``[ecs.kwargs]`` is not valid; ``cdk synth`` would have said so.
        """
        orchestrator, accounts = clients.orchestrator(config), clients.accounts(config)
        model = KwargsModel(accounts.own.ecs)
        tasks = RunningTasks(lambda: accounts.own.ecs, config.clusters)
        return cls(
            orchestrator=orchestrator,
            profile=profile(config, orchestrator, accounts, model),
            accounts=accounts,
            tasks=tasks,
            earlier=EarlierTasks(orchestrator, tasks),
            conclusions=Conclusions(
                prefect=orchestrator,
                tasks=tasks,
                relaunch_attempts=config.relaunch_attempts,
                metrics=metrics,
            ),
            send_logs=config.send_logs,
            metrics=metrics,
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
        state = self._state(run, known) if known else None
        if state is not None and not state.awaits(run):
            logger.info("nothing to launch", **about(run), state=state.type)
            if state.type == "RUNNING" and self._names_no_task(state):
                self._started_before(run)
            if self.earlier.are_abandoned(run, state):
                self.earlier.stop(run, state)
            return
        if state is not None and state.type == "PENDING" and self._started_before(run):
            return
        if (state is None or state.type == "SCHEDULED") and not self._claim(run, state):
            return
        launch, source = self.profile.render(run, state)
        task, revision = self._start(run, launch)
        if state is not None and state.type == "PENDING" and self._has_ended(task):
            return
        self._tell(run, task, revision)
        details = _told(launch, revision, source) if self.send_logs else None
        self._report(run, task, details)

    def _tell(self, run: FlowRun, task: Task, revision: Revision) -> None:
        delay = round((datetime.now(UTC) - run.scheduled_time).total_seconds(), 3)
        self.metrics.add(Metric.RUNS_LAUNCHED)
        self.metrics.add(Metric.LAUNCH_DELAY, delay)
        logger.info(
            "launched",
            **about(run),
            task_arn=task.arn,
            task_definition=revision.name,
            definition=revision.how,
            delay_seconds=delay,
        )

    def _has_ended(self, task: Task) -> bool:
        """Conclude a task that an earlier try started and that ended before its run was told of it.

        ECS answers with that task for as long as it remembers the client token.
        """
        if task.cluster_arn not in self.tasks.clusters:
            return False
        for detail in self.tasks.describe(task.cluster_arn, [task.arn]):
            if detail["lastStatus"] == "STOPPED":
                self.conclusions.conclude(detail)
                return True
        return False

    def _state(self, run: FlowRun, known: Reads) -> RunState:
        """Return what is known of a run; where somebody else made another Pending of it, its claim.

        Prefect's observer of ECS does so, under the name InfrastructurePending.
        """
        state = known.state(run.id)
        if state.type == "PENDING" and state.claim_id is None:
            return replace(state, claim_id=self.orchestrator.history(run.id).claim_id)
        return state

    def _report(self, run: FlowRun, task: Task, details: str | None) -> None:
        self._launched.append(run)
        self.orchestrator.launched(run, task, details)

    def _started_before(self, run: FlowRun) -> bool:
        """Report the task that an earlier delivery of the message started, if it still lives.

        What the run asks for may have changed since, to another cluster even, or to something that
        cannot be launched: its client token alone would not find that task then.
        """
        for detail in self.earlier.of_claim(run):
            task = Task(arn=detail["taskArn"], cluster_arn=detail["clusterArn"])
            logger.info("launched before", **about(run), task_arn=task.arn)
            self._report(run, task, "by an earlier try." if self.send_logs else None)
            return True
        return False

    def _names_no_task(self, state: RunState) -> bool:
        return state.infrastructure_id is None and not self.orchestrator.runs_outlive_containers

    def finish(self) -> list[str]:
        """End a batch: stop what nobody wants any more, and tell Prefect what waited until now.

        Between the claim of a run and its launch somebody may have cancelled, moved or deleted it.

        Returns
        -------
        The runs of which that could not be found out: their messages must come back.
        """
        launched = list(self._launched)
        self._launched.clear()
        try:
            reads = Reads(self.orchestrator, [run.id for run in launched])
            for run in launched:
                state = self._state(run, reads)
                if self.earlier.are_abandoned(run, state):
                    self.earlier.stop(run, state)
        except Exception as error:
            ids = [run.id for run in launched]
            logger.warning("launches not confirmed", flow_run_ids=ids, error=str(error))
            return ids
        finally:
            self.orchestrator.flush()
        return []

    def _claim(self, run: FlowRun, state: RunState | None) -> bool:
        claim, reason = self.orchestrator.claim(run, state)
        if claim is Claim.NO_SLOT:
            raise NoSlot(reason)
        if claim is not Claim.OURS:
            if claim is Claim.LOST:
                self.metrics.add(Metric.CLAIMS_LOST)
            logger.info("not launched", **about(run), claim=claim.value, reason=reason)
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
        revision = self._revision(launch, account)
        try:
            return _run(run, launch, revision, account), revision
        except InactiveDefinition:
            account.definitions.forget(revision.arn)
            revision = self._revision(launch, account)
            return _run(run, launch, revision, account), revision

    def _revision(self, launch: Launch, account: Account) -> Revision:
        revision = account.definitions.ensure(launch.definition, launch.revision)
        registered = revision.how == "registered"
        self.metrics.add(Metric.DEFINITIONS_REGISTERED if registered else Metric.DEFINITIONS_REUSED)
        return revision


def request_of(launch: Launch, revision: Revision) -> Mapping[str, Any]:
    """Return what a launch asks of ``run_task`` with the revision that was found for it."""
    if launch.deregisters and revision.ours:
        return with_deregistration(launch.request, revision.arn)
    return launch.request


def _run(run: FlowRun, launch: Launch, revision: Revision, account: Account) -> Task:
    return run_task(
        account.ecs,
        request_of(launch, revision),
        definition_arn=revision.arn,
        claim_id=run.claim_id,
        flow_run_id=run.id,
    )


def profile(
    config: Settings, orchestrator: Orchestrator, accounts: Accounts, model: KwargsModel
) -> Profile:
    """Make the profile of an orchestrator's runs."""
    files = clients.kwargs_files(config, model)
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
