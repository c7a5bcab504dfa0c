"""Anything happens to several runs, in any order: a state machine plays it and looks for the worst.

``SEED`` and ``ROUNDS`` choose other plays, and more of them; a failing one is told in its steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.faults.profiles import PROFILES, world_of
from tests.faults.rounds import ROUNDS, SEED
from tests.faults.tally import judge
from tests.support.simulated_faults import AWS_FAULTS, PREFECT_FAULTS, AnyFault
from tests.support.simulated_findings import doubled, report
from tests.support.simulated_functions import simulated
from tests.support.simulated_tasks import COMPLETES, DEATHS, FLOW_FAILS
from tests.support.simulated_world import World

PLAYS, STEPS = 12, 15
KINDS = sorted({**PREFECT_FAULTS, **AWS_FAULTS})


class Play(RuleBasedStateMachine):
    """One agent in one world, whose runs are never lost, doubled or stuck."""

    world: World

    @initialize(profile=st.sampled_from(PROFILES))
    def begin(self, profile: str) -> None:
        self.world = world_of(profile)
        self.schedule(0)

    def may_end(self, run: str, *ends: str) -> None:
        """Let a run end so too from now on."""
        self.world.expected[run] = {*self.world.expected[run], *ends}

    def all_may_end(self, *ends: str) -> None:
        """Let every run end so too: nobody knows whose task it will be."""
        for run in self.world.expected:
            self.may_end(run, *ends)

    # -- what is to be done

    @rule(ahead=st.sampled_from([0, 5, 60, 600]))
    def schedule(self, ahead: float) -> None:
        self.world.schedule(ahead, ends={"COMPLETED"} | self.ends_of_others)

    @property
    def ends_of_others(self) -> set[str]:
        """How runs may end of which nobody knows whose tasks will die."""
        all_ends = set().union(*self.world.expected.values())
        return all_ends & {"CRASHED", "FAILED"}

    @rule(seconds=st.sampled_from([1, 5, 12, 30, 90, 700]))
    def wait(self, seconds: float) -> None:
        self.world.run_for(seconds)

    @rule()
    def next_step(self) -> None:
        self.world.step()

    # -- what goes wrong

    @rule(number=st.integers(0, 15), kind=st.sampled_from(KINDS))
    def fault(self, number: int, kind: str) -> None:
        self.world.at_call(number, AnyFault(kind))

    @rule(
        service=st.sampled_from(["prefect", "ecs", "s3", "sqs", "secretsmanager"]),
        minutes=st.sampled_from([1, 4, 20]),
    )
    def outage(self, service: str, minutes: int) -> None:
        self.world.outage(service, hours=minutes / 60)
        if service == "prefect":  # for so long a flow's own process does not wait
            self.all_may_end("CRASHED")

    @rule(fate=st.sampled_from([COMPLETES, FLOW_FAILS, *DEATHS]))
    def fate_of_the_next_task(self, fate: object) -> None:
        self.world.fargate.fates.append(fate)
        self.all_may_end("CRASHED", "FAILED")

    @precondition(lambda self: self.world.fargate.live)
    @rule(fate=st.sampled_from(DEATHS), data=st.data())
    def a_container_dies(self, fate: object, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.world.fargate.live))
        task.fate = fate
        task.die()
        self.may_end(task.run, "CRASHED")

    @rule(delays=st.sampled_from([[], [0.1], [0.1, 0.2, 70], [40]]))
    def events_are_lost_late_or_repeated(self, delays: list[float]) -> None:
        self.world.event_delays = lambda: delays

    @rule()
    def all_functions_start_cold(self) -> None:
        self.world.agents[0].cold_start()

    @rule(deletes=st.booleans())
    def messages_come_back(self, deletes: bool) -> None:
        self.world.agents[0].deletes = deletes

    @rule(skew=st.sampled_from([-300, -2, 0, 2, 300]))
    def clock(self, skew: float) -> None:
        self.world.agents[0].clock.ahead = skew

    # -- what users do

    def runs(self, *states: str) -> list[str]:
        """Return the runs in one of these states."""
        return [run for run in self.world.expected if self.world.side.state_of(run) in states]

    @precondition(lambda self: self.runs("SCHEDULED", "PENDING", "RUNNING"))
    @rule(
        what=st.sampled_from(["cancel", "suspend", "delete"]),
        data=st.data(),
    )
    def a_user_ends(self, what: str, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs("SCHEDULED", "PENDING", "RUNNING")))
        getattr(self.world.side, what)(run)
        self.may_end(run, {"cancel": "CANCELLED", "suspend": "PAUSED", "delete": "DELETED"}[what])

    @precondition(lambda self: self.runs("PAUSED"))
    @rule(data=st.data())
    def a_user_resumes(self, data: st.DataObject) -> None:
        self.world.side.resume(data.draw(st.sampled_from(self.runs("PAUSED"))))

    @precondition(lambda self: self.runs("SCHEDULED", "PENDING"))
    @rule(ahead=st.sampled_from([0, 45, 600]), data=st.data())
    def a_user_moves(self, ahead: float, data: st.DataObject) -> None:
        self.world.side.move(data.draw(st.sampled_from(self.runs("SCHEDULED", "PENDING"))), ahead)

    @precondition(lambda self: self.runs("FAILED", "CRASHED"))
    @rule(data=st.data())
    def a_user_retries(self, data: st.DataObject) -> None:
        self.world.side.retry(data.draw(st.sampled_from(self.runs("FAILED", "CRASHED"))))

    # -- what is always so

    @invariant()
    def nothing_is_executed_twice(self) -> None:
        if hasattr(self, "world"):
            assert not doubled(self.world), report(self.world)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.agents[0].deletes = True
        world.agents[0].clock.ahead = 0
        world.event_delays = lambda: [0.3]
        world.settle(hours=6)
        judge(world)


@pytest.fixture
def _told() -> Iterator[None]:
    print(f"SEED={SEED}")
    with simulated():
        yield


@pytest.mark.usefixtures("_told")
@pytest.mark.parametrize("number", range(8))
def test_whatever_happens_nothing_is_lost_doubled_or_stuck(number: int) -> None:
    machine = seed(f"{SEED}/{number}")(type("Play", (Play,), {}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, round(PLAYS * ROUNDS)),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
