"""A user cancels, pauses, deletes or moves a run, at each step of its path."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.profiles import PROFILES, thorough, world_of
from tests.faults.tally import judge
from tests.support.simulated_faults import Event
from tests.support.simulated_world import ENDED, World

LATER = 900


def cancel(world: World, run: str) -> None:
    world.side.cancel(run)
    world.expected[run] = ("CANCELLED",)


def suspend(world: World, run: str) -> None:
    world.side.suspend(run)
    world.expected[run] = ("PAUSED",)


def delete(world: World, run: str) -> None:
    world.side.delete(run)
    world.expected[run] = ("DELETED",)


def move_later(world: World, run: str) -> None:
    world.side.move(run, LATER)


def move_to_now(world: World, run: str) -> None:
    world.side.move(run, 0)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("do", [cancel, suspend, delete, move_later, move_to_now])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_user_meddles_at_each_call(profile: str, do: Callable[[World, str], None]) -> None:
    plain = world_of(profile)
    plain.schedule(5)
    plain.settle()
    failures = []
    for call in plain.calls.made[:: 1 if thorough(profile) else 3]:
        world = world_of(profile)
        run = world.schedule(5)

        def meddle(world: World = world, run: str = run) -> None:
            if world.side.state_of(run) not in ENDED:
                do(world, run)

        world.calls.plan[call.number] = Event(do=meddle)
        world.settle()
        try:
            judge(world, f"{do.__name__} at {call}")
            if world.side.state_of(run) == "PAUSED":
                world.side.resume(run)
                world.expected[run] = ("COMPLETED",)
                world.settle()
                judge(world, f"resumed after it was paused at {call}")
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} failures\n" + "\n\n".join(failures)
