"""Something is down for hours, keys are refused for a while, clocks are wrong."""

from __future__ import annotations

import pytest

from tests.faults.profiles import PROFILES, world_of
from tests.faults.tally import judge
from tests.support.simulated_faults import AwsError, HttpStatus, TimeOut
from tests.support.simulated_world import World

SERVICES = ("prefect", "ecs", "s3", "sqs", "secretsmanager", "resourcegroupstaggingapi")
LONG = [profile for profile in PROFILES if profile in ("work pool", "Prefect 1", "Prefect 1 Cloud")]


def runs_around(world: World, hours: float) -> None:
    """Schedule runs before, in and after what is about to begin in 70 seconds."""
    for ahead in (0, 45, 61):  # whose flows may not reach Prefect
        world.schedule(ahead, ends=["COMPLETED", "CRASHED"])
    for ahead in (75, hours * 1800, hours * 3600 + 30, hours * 3600 + 600):
        world.schedule(ahead)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("profile", LONG)
def test_a_service_is_down_for_six_hours(profile: str, service: str) -> None:
    world = world_of(profile, poll_interval_seconds=240)
    runs_around(world, 6)
    world.outage(service, hours=6, begin=70)
    world.run_for(65)
    world.agents[0].cold_start()
    world.settle(hours=9)
    judge(world, service)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("service", ["prefect", "ecs"])
@pytest.mark.parametrize("profile", LONG)
def test_a_service_answers_nothing_for_an_hour(profile: str, service: str) -> None:
    world = world_of(profile)
    runs_around(world, 1)
    world.outage(service, hours=1, begin=70, fault=TimeOut())
    world.settle(hours=4)
    judge(world, service)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("service", ["prefect", "ecs", "s3", "sqs"])
@pytest.mark.parametrize("profile", PROFILES)
def test_credentials_are_refused_for_half_an_hour(profile: str, service: str) -> None:
    refused = HttpStatus(status=401) if service == "prefect" else AwsError(code="ExpiredToken")
    world = world_of(profile)
    runs_around(world, 0.5)
    world.outage(service, hours=0.5, begin=70, fault=refused)
    world.settle()
    judge(world, service)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", LONG)
def test_dead_letters_of_a_long_outage_are_redriven_by_hand(profile: str) -> None:
    world = world_of(profile, poll_interval_seconds=240)
    (agent,) = world.agents
    run = world.schedule(0, ends=["CRASHED"])
    world.outage("ecs", hours=24)
    world.run_for(24 * 3600)
    assert world.side.state_of(run) == "CRASHED"
    assert agent.runs.redrive() == 1
    world.settle()
    judge(world, "a dead letter of a run that was told")
    world.side.retry(run)
    world.expected[run] = ["COMPLETED"]
    world.settle()
    judge(world, "tried again by a user")


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("profile", LONG)
def test_dead_letters_of_which_prefect_could_not_be_told_are_redriven(profile: str) -> None:
    world = world_of(profile, poll_interval_seconds=240)
    (agent,) = world.agents
    world.schedule(30)
    world.outage("prefect", hours=24, begin=10)
    world.run_for(24 * 3600 - 60)
    assert agent.runs.redrive() == 1
    world.settle(hours=30)
    judge(world)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("skew", [-300, 300])
@pytest.mark.parametrize("ahead", [0, 5, 45, 290, 600])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_functions_clock_is_wrong_by_five_minutes(
    profile: str, ahead: float, skew: float
) -> None:
    world = world_of(profile)
    world.agents[0].clock.ahead = skew
    world.schedule(ahead)
    world.settle()
    judge(world)
