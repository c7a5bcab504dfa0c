"""Messages come more than once, late, out of order, and to many functions at once."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.profiles import PROFILES, world_of
from tests.faults.rounds import rounds, seeded
from tests.faults.tally import judge
from tests.support.simulated_sqs import Message
from tests.support.simulated_tasks import COMPLETES, FLOW_FAILS, KILLED_LATE, SPOT_LATE, Fate
from tests.support.simulated_world import World

THREADS, RUNS, TIMES = 20, 8, 3


def deliver_at_once(world: World, messages: list[Message], *, fresh: bool) -> None:
    """Deliver each message to a function of its own, all at the same time."""
    (agent,) = world.agents

    def deliver(message: Message) -> None:
        agent.deliver("dispatch", agent.runs, [message], fresh=fresh)

    with ThreadPoolExecutor(THREADS) as threads:
        copies = [contextvars.copy_context() for _ in messages]
        list(threads.map(lambda copy, message: copy.run(deliver, message), copies, messages))


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    "fresh", [False, True], ids=["one warm function", "functions just started"]
)
@pytest.mark.parametrize("number", rounds(3))
@pytest.mark.parametrize("profile", PROFILES)
def test_every_message_three_times_out_of_order_and_at_once(
    profile: str, number: int, fresh: bool
) -> None:
    world = world_of(profile)
    for _ in range(RUNS):
        world.schedule(0)
    (agent,) = world.agents
    agent.poll()
    messages = [message for _ in range(2) for message in agent.runs.receive()]
    assert len(messages) == RUNS
    copies = messages * TIMES
    seeded("duplicates", profile, number, fresh).shuffle(copies)
    deliver_at_once(world, copies, fresh=fresh)
    world.settle()
    judge(world)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    "fate", [COMPLETES, FLOW_FAILS, KILLED_LATE, SPOT_LATE], ids=lambda fate: fate.name
)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_message_that_is_not_deleted_comes_back_all_through_the_run_s_life(
    profile: str, fate: Fate
) -> None:
    world = world_of(profile)
    ends = {FLOW_FAILS: "FAILED", KILLED_LATE: "CRASHED"}.get(fate, "COMPLETED")
    world.schedule(0, ends=[ends])
    world.fargate.fates.append(fate)
    (agent,) = world.agents
    agent.deletes = False
    world.run_for(1800)
    agent.deletes = True
    world.settle()
    judge(world, fate)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", PROFILES)
def test_all_messages_of_many_runs_in_batches(profile: str) -> None:
    world = world_of(profile)
    for ahead in range(0, 60, 3):
        world.schedule(ahead)
    world.settle()
    judge(world)
