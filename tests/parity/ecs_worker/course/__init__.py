"""What becomes of plans: the calls that are made, one after the other, and how AWS answers them.

Without habits it is the worker's course, and equals the recordings. Each rule about the course of
a launch is one habit more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from tests.parity.ecs_worker import failures
from tests.parity.ecs_worker.aws.calls import Call
from tests.parity.ecs_worker.aws.model import Aws
from tests.parity.ecs_worker.cases import Case
from tests.parity.ecs_worker.course.caller import Caller, problems
from tests.parity.ecs_worker.course.habits import Habits, Memory
from tests.parity.ecs_worker.course.networks import Networks
from tests.parity.ecs_worker.course.revisions import Revisions
from tests.parity.ecs_worker.migration import ATTEMPTS
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.worker import calls
from tests.parity.ecs_worker.worker.templating import Refusal


@dataclass
class Played:
    """What became of one run.

    ``cluster`` is what its infrastructure's id begins with. ``cause`` is what the run must be told.
    """

    outcome: str = ""
    cluster: str | None = None
    cause: str = ""
    calls: list[Call] = field(default_factory=list)


class Course:
    """Plays the plans of a case in order.

    Parameters
    ----------
    habits
        What differs from the worker.
    """

    def __init__(self, case: Case, habits: Habits) -> None:
        self._case = case
        self._habits = habits
        self._caller = Caller(Aws(case.aws), habits)
        self._revisions = Revisions(self._caller, habits)
        self._networks = Networks(self._caller, habits)
        self._played = Played()

    def play(self, plans: Sequence[Plan]) -> list[Played]:
        """Return what becomes of each."""
        return [self._play(plan) for plan in plans]

    def _play(self, plan: Plan) -> Played:
        played = self._played = Played()
        if plan.run.in_a_new_process:
            self._caller.memory = Memory()
        self._caller.aws.change(plan.run.patch.get("aws", {}))
        self._caller.calls = played.calls
        played.outcome = "cancelled" if plan.given.lost_its_deployment else "crashed"
        for _ in range(ATTEMPTS if self._habits.sorts_failures else 1):
            try:
                self._attempt(plan)
            except (Refusal, ParamValidationError) as error:
                played.cause = getattr(error, "cause", "")
                break
            except ClientError as error:
                played.cause = failures.cause(error)
                if self._habits.sorts_failures and failures.stays(error, named=bool(plan.named)):
                    break
            except failures.NotStarted as error:
                played.cause = str(error)
                if "MISSING" in str(error):
                    break
            else:
                played.outcome = "launched"
                break
        return played

    def _attempt(self, plan: Plan) -> None:
        if plan.refusal:
            raise Refusal(plan.refusal, plan.cause)
        if self._habits.checks_first:
            self._check_and_start(plan)
            return
        self._caller.assume(plan)
        plan, arn, is_new = (
            self._revisions.named(plan) if plan.named else self._revisions.found(plan)
        )
        if plan.unfit:
            raise Refusal(plan.unfit)
        if not plan.fits:
            calls.check(plan.definition, plan.job)
        self._caller.memory.definitions[plan.cache_key] = arn
        network = self._networks.of(plan)
        if plan.tells:
            raise Refusal(plan.tells)
        self._run(plan, _asked(plan, arn, network, is_new=is_new))

    def _check_and_start(self, plan: Plan) -> None:
        """Find fault with a plan before anything is registered, then follow it."""
        if plan.named:
            plan, arn, _ = self._revisions.named(plan)
        if plan.unfit:
            raise Refusal(plan.unfit)
        if not plan.fits:
            calls.check(plan.definition, plan.job)
        network = self._networks.of(plan)
        if plan.tells:
            raise Refusal(plan.tells)
        self._validate(plan, network)
        if plan.named:
            self._run(plan, _asked(plan, arn, network))
            return
        try:
            self._run_by_content(plan, network)
        except ClientError as error:
            if not failures.definition_is_gone(error):
                raise
            self._caller.memory.definitions.clear()
            self._run_by_content(plan, network)

    def _run_by_content(self, plan: Plan, network: Any) -> None:
        arn, is_new = self._revisions.found_by_content(plan)
        if self._habits.marks_own:
            is_new = self._revisions.is_own(arn, plan.account.region)
        self._run(plan, _asked(plan, arn, network, is_new=is_new))

    def _validate(self, plan: Plan, network: Any) -> None:
        sent = [("RunTask", _asked(plan, "", network))]
        if not plan.named:
            sent.append(("RegisterTaskDefinition", dict(plan.definition)))
            containers = plan.definition["containerDefinitions"]
            if not all(c.get(key) for c in containers for key in ("name", "image")):
                raise Refusal("a container without a name or an image")
        for operation, params in sent:
            found = problems(operation, params)
            if found:
                raise Refusal(found)

    def _run(self, plan: Plan, asked: dict[str, Any]) -> None:
        stated = failures.attempts(self._case, "CREATE_TASK_RUN")
        tries = 1 if self._habits.sorts_failures else stated
        cluster = failures.again(tries, lambda: self._started(plan, asked))["clusterArn"]
        self._played.cluster = (self._habits.names_cluster and plan.cluster) or cluster

    def _started(self, plan: Plan, asked: dict[str, Any]) -> Any:
        answer = self._caller.call(plan, "RunTask", asked)
        tasks, failed = answer.get("tasks", []), answer.get("failures", [])
        if tasks and (self._habits.takes_any_task or not failed):
            return tasks[0]
        raise failures.NotStarted("; ".join(failure["reason"] for failure in failed))


def _asked(plan: Plan, arn: str, network: Any, *, is_new: bool = False) -> dict[str, Any]:
    asked: dict[str, Any] = {**plan.request, "taskDefinition": arn}
    if network is not None:
        asked["networkConfiguration"] = network
    return plan.marked(asked, arn) if is_new and plan.deregisters else asked
