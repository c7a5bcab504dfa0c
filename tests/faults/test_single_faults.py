"""Every call of a run's whole path goes wrong once, in every way there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from tests.faults.profiles import PROFILES, thorough, world_of
from tests.faults.tally import judge
from tests.support.simulated_calls import Call
from tests.support.simulated_faults import AWS_FAULTS, PREFECT_FAULTS, fault_of

AHEAD_SECONDS = 5
"""The run is due so long after the first poll: its message comes early and is put off."""

MOST_REPEATS = 2
"""Of calls that are made again and again, as every poll does, the first ones are played."""


@cache
def path(profile: str) -> tuple[Call, ...]:
    """Return the outside calls of a run to which nothing happens."""
    world = world_of(profile)
    world.schedule(AHEAD_SECONDS)
    world.settle()
    judge(world, "nothing goes wrong")
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for call in world.calls.made:
        seen[call.function, call.operation] += 1
        if seen[call.function, call.operation] <= MOST_REPEATS:
            kept.append(call)
    return tuple(kept)


KINDS = list({**PREFECT_FAULTS, **AWS_FAULTS})
FEWER = ("death before", "death after", "time-out after", "503 before", "401", "expired")


def played() -> Iterator[tuple[str, str]]:
    """Return profiles and kinds of faults."""
    for profile in PROFILES:
        for kind in KINDS if thorough(profile) else FEWER:
            yield profile, kind


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(("profile", "kind"), list(played()))
def test_each_call_of_a_run_s_path_goes_wrong_once(profile: str, kind: str) -> None:
    failures = []
    for call in path(profile):
        fault = fault_of(call, kind)
        if fault is None:
            continue
        world = world_of(profile)
        world.calls.plan[call.number] = fault
        world.schedule(AHEAD_SECONDS)
        world.settle()
        try:
            judge(world, f"{kind} at {call}")
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n\n".join(failures)
