"""The metrics tell what happened: every outcome once, by the agent that it was, and no more."""

from __future__ import annotations

import pytest

from fargate_agent.observability import logger
from tests.faults.profiles import PROFILES, WORK_POOLS, world_of, world_without_agent
from tests.support.emf import counts_in, lines_in, metrics_in
from tests.support.simulated_faults import AwsError
from tests.support.simulated_tasks import KILLED_EARLY, NO_IMAGE, SPOT_EARLY
from tests.support.simulated_world import KEY, World

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("virtual")

AGENT = "fargate-agent"
LAUNCHES = {
    ("RunsEnqueued", AGENT): 3,
    ("RunsLaunched", AGENT): 3,
    ("LaunchDelay", AGENT): 3,
    ("DefinitionsRegistered", AGENT): 1,
    ("DefinitionsReused", AGENT): 2,
}
ONE_LAUNCH = {
    ("RunsEnqueued", AGENT): 1,
    ("RunsLaunched", AGENT): 1,
    ("LaunchDelay", AGENT): 1,
    ("DefinitionsRegistered", AGENT): 1,
}


def counted(world: World, capsys: Capture) -> dict[tuple[str, ...], float]:
    world.settle()
    return counts_in(capsys.readouterr().out)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_launch_is_counted_once(profile: str, capsys: Capture) -> None:
    world = world_of(profile, poll_interval_seconds=10)
    for ahead in (0, 30, 65):  # the last is found by many polls before it is due
        world.schedule(ahead)

    assert counted(world, capsys) == LAUNCHES


def test_the_delay_of_a_run_is_from_its_time_to_its_task(capsys: Capture) -> None:
    world = world_of(PROFILES[0])
    world.schedule(30)
    world.schedule(-90)
    world.settle()

    late, on_time = sorted(metrics_in(capsys.readouterr().out)["LaunchDelay", AGENT], reverse=True)
    assert 90 <= late < 95
    assert 0 <= on_time < 1


def test_every_launchs_delay_is_kept_of_a_batch(capsys: Capture) -> None:
    world = world_of(PROFILES[0])
    for _ in range(10):
        world.schedule(0)
    world.settle()

    delays = [
        line["LaunchDelay"] for line in lines_in(capsys.readouterr().out) if "LaunchDelay" in line
    ]
    assert sum(map(len, delays)) == 10
    assert len(delays) < 10


def test_an_idle_agent_writes_nothing(capsys: Capture) -> None:
    world = world_of(PROFILES[0], poll_interval_seconds=10)
    world.run_for(900)

    assert capsys.readouterr().out == ""


def test_metrics_may_be_switched_off(capsys: Capture) -> None:
    world = world_of(PROFILES[0], metrics=False)
    world.schedule(0)

    assert counted(world, capsys) == {}


def test_two_agents_count_each_for_itself(capsys: Capture) -> None:
    world = world_without_agent("work pool", clusters={"flows"})
    world.add_agent("one")
    world.add_agent("two")
    world.schedule(0)

    found = counted(world, capsys)

    assert {key: found[key] for key in found if key[0] == "RunsEnqueued"} == {
        ("RunsEnqueued", "one"): 1,
        ("RunsEnqueued", "two"): 1,
    }
    assert sum(count for (name, *_), count in found.items() if name == "RunsLaunched") == 1
    assert sum(count for (name, *_), count in found.items() if name == "ClaimsLost") == 1


@pytest.mark.parametrize("profile", PROFILES)
def test_a_crash_is_counted_by_its_cause_too(profile: str, capsys: Capture) -> None:
    world = world_of(profile)
    for fate, ends in ((KILLED_EARLY, "CRASHED"), (NO_IMAGE, "CRASHED")):
        world.fargate.fates.append(fate)
        world.schedule(0, ends=[ends])

    found = counted(world, capsys)

    assert {key: count for key, count in found.items() if key[0] == "Crashes"} == {
        ("Crashes", AGENT): 2,
        ("Crashes", AGENT, "flow container exited"): 1,
        ("Crashes", AGENT, "image not pulled"): 1,
    }


def test_a_relaunch_is_no_crash(capsys: Capture) -> None:
    world = world_of("work pool")
    world.fargate.fates.append(SPOT_EARLY)
    world.schedule(0)

    found = counted(world, capsys)

    assert found["Relaunches", AGENT] == 1
    assert found["RunsLaunched", AGENT] == 2
    assert ("Crashes", AGENT) not in found


def test_a_failure_that_passes_is_counted_each_time(
    capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    logger.setLevel("INFO")
    world = world_of("work pool")
    world.outage("ecs", hours=0.01)
    world.schedule(0)

    found = counted(world, capsys)

    told = [line for line in caplog.records if line.message == "will try again"]
    assert found["TransientFailures", AGENT] == len(told) > 1
    assert found["RunsLaunched", AGENT] == 1
    assert ("PermanentFailures", AGENT) not in found


def test_a_failure_for_good_is_counted_once(capsys: Capture) -> None:
    world = world_without_agent("work pool")
    world.s3.objects = dict.fromkeys(world.s3.objects, b"{")
    world.add_agent()
    world.schedule(0, ends=["CRASHED"])

    assert counted(world, capsys) == {
        ("RunsEnqueued", AGENT): 1,
        ("PermanentFailures", AGENT): 1,
    }


@pytest.mark.parametrize("profile", WORK_POOLS)
def test_what_the_healing_pass_mends_is_counted(profile: str, capsys: Capture) -> None:
    world = world_of(profile)
    world.event_delays = list  # no event arrives
    world.fargate.fates.append(KILLED_EARLY)
    world.schedule(0, ends=["CRASHED"])

    found = counted(world, capsys)

    assert found["Reconciled", AGENT] == found["Crashes", AGENT] == 1


def test_what_happened_is_told_though_the_invocation_fails(capsys: Capture) -> None:
    world = world_of("work pool", poll_interval_seconds=10)
    world.schedule(0)
    world.at_call(0, AwsError(code="AccessDenied", status=403))  # the ticks, which are sent first
    (agent,) = world.agents

    assert not agent.poll()
    assert counts_in(capsys.readouterr().out) == {("RunsEnqueued", AGENT): 1}


def test_no_secret_is_in_the_metrics(capsys: Capture) -> None:
    world = world_of("work pool with references")
    world.fargate.fates.append(KILLED_EARLY)
    world.schedule(0, ends=["CRASHED"])
    world.settle()

    written = capsys.readouterr().out
    assert written
    assert KEY not in written
    assert "s3cret" not in written
