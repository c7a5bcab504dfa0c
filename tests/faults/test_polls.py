"""The poller is killed, or what it calls goes wrong, at each step of its polls and their ticks."""

from __future__ import annotations

import pytest

from tests.faults.profiles import MAIN, world_of
from tests.faults.tally import judge
from tests.support.simulated_faults import fault_of
from tests.support.simulated_world import World

KINDS = ("death before", "death after", "time-out after", "500 after", "sent in vain", "429")

CALLS = 12
"""So many of the calls are played, evenly chosen, or a few more."""


def with_ticks(profile: str) -> World:
    world = world_of(profile, poll_interval_seconds=10)
    for ahead in (0, 5, 40, 130):
        world.schedule(ahead)
    return world


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", MAIN)
def test_a_poll_goes_wrong_at_each_call_of_two_minutes(profile: str, kind: str) -> None:
    plain = with_ticks(profile)
    plain.run_for(120)
    calls = [call for call in plain.calls.made if call.function == "poll"]
    for call in calls[:: max(1, len(calls) // CALLS)]:
        fault = fault_of(call, kind)
        if fault is None:
            continue
        world = with_ticks(profile)
        world.calls.plan[call.number] = fault
        world.settle()
        judge(world, f"{kind} at {call}")
