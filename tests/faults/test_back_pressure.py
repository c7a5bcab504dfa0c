"""More runs than ECS launches at once: all are launched, each once, as fast as ECS allows.

Poll and dispatch as deployed, with botocore's own retries and rate limiter, in virtual time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from fargate_agent.observability import logger
from infra.fargate_agent import TIMEOUTS
from tests.faults.back_pressure.drain import Drain

pytestmark = pytest.mark.xdist_group("back-pressure")  # one worker shares the large backlog

TIMEOUT = TIMEOUTS["dispatch"].to_seconds()
SLOW_SERVER = {"latency": (1.9, 2.1), "errors": 0.2}


@pytest.fixture(autouse=True, scope="module")
def _quiet_log() -> Iterator[None]:
    level = logger.level
    logger.setLevel("CRITICAL")  # thousands of lines that nobody reads
    yield
    logger.setLevel(level)


@pytest.fixture(scope="module")
def backlog() -> Drain:
    """Two thousand runs that are due at once."""
    return Drain(2000).run()


def assert_each_launched_once(drain: Drain) -> None:
    assert (drain.lost, drain.doubled, drain.queue.dead) == ([], [], [])
    assert drain.prefect.states() == {"PENDING": drain.runs}  # none crashed for throttling
    assert len(drain.launches) == drain.runs


def test_two_thousand_runs_due_at_once_are_launched_at_the_limit_of_ecs(backlog: Drain):
    assert len(backlog.aws.throttled) > 100
    assert backlog.share_of_limit >= 0.95


def test_none_of_two_thousand_runs_is_lost_doubled_or_failed_for_throttling(backlog: Drain):
    assert_each_launched_once(backlog)


def test_each_of_two_thousand_runs_is_told_of_its_task(backlog: Drain):
    told = [run["infrastructure_pid"] for run in backlog.prefect.told.values()]
    assert len(set(told)) == backlog.runs
    assert None not in told
    assert len(backlog.prefect.lines) == backlog.runs


def test_an_invocation_ends_well_before_its_time_out_while_ecs_throttles(backlog: Drain):
    assert max(backlog.invocations) < TIMEOUT / 3


def test_instances_that_register_one_family_at_once_make_few_revisions_and_fail_no_run():
    drain = Drain(80, deployments=1).run()

    assert drain.aws.refused_registrations > 0
    (revisions,) = drain.aws.revisions.values()
    assert len(revisions) <= 2
    assert_each_launched_once(drain)


def test_where_others_use_up_the_limit_messages_wait_longer_each_time_and_out_of_step():
    drain = Drain(40, aws_options={"run_task_limit": (1, 0.25)}).run()

    assert_each_launched_once(drain)
    waits = defaultdict(set)
    for back_off in drain.queue.back_offs:
        waits[back_off.receives].add(back_off.seconds)
    assert len(waits) > 5
    for receives, seconds in waits.items():
        ceiling = min(2**receives, 300)
        assert ceiling / 2 <= min(seconds) <= max(seconds) <= ceiling
    assert all(len(waits[receives]) > 3 for receives in (4, 5))


def test_an_invocation_ends_before_its_time_out_while_ecs_throttles_every_call():
    drain = Drain(40, aws_options={"run_task_limit": (0, 0)}).run(patience=150)

    assert not drain.launches
    assert drain.prefect.states() == {"PENDING": drain.runs}
    assert max(drain.invocations) < TIMEOUT * 0.8


def test_tasks_that_fargate_does_not_start_yet_are_started_later():
    drain = Drain(80, aws_options={"run_task_limit": (100, 100), "fargate_tokens": -20}).run()

    assert drain.aws.throttled
    assert_each_launched_once(drain)


def test_a_slow_server_that_answers_every_fifth_call_with_503_loses_nothing():
    drain = Drain(80, prefect_options=SLOW_SERVER).run()

    assert drain.prefect.refused > 50
    assert_each_launched_once(drain)
    assert max(drain.invocations) < TIMEOUT * 0.8
