"""A user cancels, pauses, deletes or moves a run, at each step of its path."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.profiles import LOCKING, PROFILES, thorough, world_of
from tests.faults.tally import judge
from tests.support.simulated_calls import Call
from tests.support.simulated_faults import Event
from tests.support.simulated_tasks import FLOW_HANGS
from tests.support.simulated_world import ENDED, World

LATER = 900

Meddle = Callable[[World, str], None]


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


def meddled(profile: str, call: Call, do: Meddle, *, deadly: bool) -> World:
    """Play a run that a user meddles with at a call, of which the function may die."""
    world = world_of(profile)
    run = world.schedule(5)

    def meddle() -> None:
        if world.side.state_of(run) not in ENDED:
            do(world, run)

    world.calls.plan[call.number] = Event(do=meddle, deadly=deadly)
    world.settle()
    judge(world, f"{do.__name__} at {call}")
    return world


def path(profile: str) -> list[Call]:
    """Return the calls of a run that nobody meddles with."""
    world = world_of(profile)
    world.schedule(5)
    world.settle()
    return world.calls.made


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("do", [cancel, suspend, delete, move_later, move_to_now])
@pytest.mark.parametrize("profile", LOCKING)
def test_a_user_meddles_at_each_call(profile: str, do: Meddle) -> None:
    for call in path(profile)[:: 1 if thorough(profile) else 3]:
        world = meddled(profile, call, do, deadly=False)
        (run,) = world.expected
        if world.side.state_of(run) == "PAUSED":
            world.side.resume(run)
            world.expected[run] = ("COMPLETED",)
            world.settle()
            judge(world, f"resumed after it was paused at {call}")


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("do", [cancel, delete, move_later, move_to_now])
@pytest.mark.parametrize("profile", LOCKING)
def test_a_user_meddles_and_the_function_dies_at_once(profile: str, do: Meddle) -> None:
    calls = [call for call in path(profile) if call.function == "dispatch"]
    for call in calls[:: 1 if thorough(profile) else 2]:
        meddled(profile, call, do, deadly=True)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("seconds", [3, 20])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_flow_that_does_not_hear_of_its_cancellation_is_stopped(
    profile: str, seconds: float
) -> None:
    world = world_of(profile)
    run = world.schedule(0)
    world.fargate.fates.append(FLOW_HANGS)
    world.run_for(seconds)
    cancel(world, run)
    world.settle()
    judge(world)
