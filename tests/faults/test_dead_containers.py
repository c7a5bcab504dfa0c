"""A container dies, at any time and for any reason, and something else goes wrong as well."""

from __future__ import annotations

import pytest

from tests.faults.profiles import PROFILES, thorough, world_of
from tests.faults.tally import judge
from tests.support.simulated_faults import fault_of
from tests.support.simulated_tasks import DEATHS, FLOW_FAILS, Fate
from tests.support.simulated_world import World

KINDS = ("death before", "death after", "time-out before", "time-out after")
FEWER = ("death before", "death after")


def with_fates(profile: str, *fates: Fate) -> World:
    world = world_of(profile)
    run = world.schedule(0)
    world.fargate.fates.extend(fates)
    world.expected[run] = ("COMPLETED",) if fates[-1].relaunched else ("CRASHED",)
    return world


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", DEATHS, ids=lambda fate: fate.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_dead_container_s_run_is_launched_again_or_crashed_once(profile: str, fate: Fate) -> None:
    world = with_fates(profile, fate)
    world.settle()
    judge(world, fate)
    assert len(world.ecs.tasks) == (2 if fate.relaunched else 1)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", DEATHS, ids=lambda fate: fate.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_call_of_watch_goes_wrong_for_a_dead_container(profile: str, fate: Fate) -> None:
    plain = with_fates(profile, fate)
    plain.settle()
    last = {call.operation: call for call in plain.calls.made if call.function == "watch"}
    for call in last.values():  # those before are of events that tell of no end
        for kind in KINDS if thorough(profile) else FEWER:
            fault = fault_of(call, kind)
            if fault is None:
                continue
            world = with_fates(profile, fate)
            world.calls.plan[call.number] = fault
            world.settle()
            judge(world, f"{fate.name}, {kind} at {call}")


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", DEATHS, ids=lambda fate: fate.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_event_of_a_dead_container_is_lost(profile: str, fate: Fate) -> None:
    world = with_fates(profile, fate)
    world.event_delays = list
    world.settle()
    judge(world, fate)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", DEATHS, ids=lambda fate: fate.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_events_come_three_times_and_in_any_order(profile: str, fate: Fate) -> None:
    world = with_fates(profile, fate)
    world.event_delays = lambda: [world.random.uniform(0, 90) for _ in range(3)]
    world.settle()
    judge(world, fate)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("fate", [f for f in DEATHS if f.relaunched], ids=lambda fate: fate.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_run_whose_tasks_are_lost_again_and_again_is_crashed_in_the_end(
    profile: str, fate: Fate
) -> None:
    world = with_fates(profile, fate, fate, fate)
    (run,) = world.expected
    world.expected[run] = ("CRASHED",)
    world.settle()
    judge(world, fate)
    assert len(world.ecs.tasks) == 3


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", PROFILES)
def test_a_flow_that_fails_keeps_its_own_end(profile: str) -> None:
    world = world_of(profile)
    world.schedule(0, ends=["FAILED"])
    world.fargate.fates.append(FLOW_FAILS)
    world.settle()
    judge(world)
