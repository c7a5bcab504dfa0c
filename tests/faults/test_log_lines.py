"""Every decision is one line that names its run; the saved queries ask for what the lines hold."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from fargate_agent.observability import logger
from infra.monitoring import QUERIES
from tests.faults.profiles import world_of, world_without_agent
from tests.support.emf import counts_in
from tests.support.simulated_calls import Call, Fault
from tests.support.simulated_faults import HttpStatus, fault_of
from tests.support.simulated_tasks import FLOW_HANGS, KILLED_EARLY, SPOT_EARLY, Fate
from tests.support.simulated_world import World

pytestmark = pytest.mark.usefixtures("virtual")

OF_EVERY_LINE = {"@timestamp", "level", "message"}
"""Set by CloudWatch Logs and by Powertools' formatter."""

OF_NO_RUN = {"polled", "reconciled", "cancellations", "registered task definition"}
"""Lines that tell of many runs, or of none."""

CLAIMED = {
    *("enqueued", "launched", "not launched", "will try again", "failed for good", "deferred"),
    "not told yet",
    *("crashed", "relaunched", "enqueued again", "nothing to launch", "launched before"),
}
WITH_TASK = {"launched", "crashed", "relaunched", "stopped"}

Lines = dict[str, list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, virtual: None) -> Iterator[Callable[[], Lines]]:
    """Return the lines written so far, by their messages."""
    with caplog.at_level("INFO", logger.name):
        logger.setLevel(logging.INFO)

        def written() -> Lines:
            found: Lines = defaultdict(list)
            for record in caplog.records:
                found[record.getMessage()].append(vars(record))
            return found

        yield written


def everything_happens() -> None:
    """Play runs that are launched, late, interrupted, killed, cancelled, refused and lost."""
    world = world_of("work pool")
    world.schedule(30)
    for fate, ends in ((SPOT_EARLY, "COMPLETED"), (KILLED_EARLY, "CRASHED")):
        world.fargate.fates.append(fate)
        world.schedule(0, ends=[ends])
    world.settle()
    ecs_is_down()
    a_claim_is_lost()
    a_file_is_wrong()
    an_event_is_lost(KILLED_EARLY, "CRASHED")


def ecs_is_down() -> None:
    world = world_of("work pool")
    world.outage("ecs", hours=0.01)
    world.schedule(0)
    world.settle()


def a_claim_is_lost() -> None:
    world = world_without_agent("work pool")
    world.add_agent("one")
    world.add_agent("two")
    world.schedule(0)  # both claim it at once
    world.schedule(5)  # the second finds it launched
    world.settle()


def a_file_is_wrong(plan: Mapping[int, Fault] | None = None) -> World:
    world = world_of("work pool")
    world.calls.plan.update(plan or {})
    world.s3.objects = dict.fromkeys(world.s3.objects, b"{")
    world.schedule(0, ends=["CRASHED"])
    world.settle()
    return world


def prefect_does_not_hear_of_it() -> None:
    """Play a run that fails for good, which Prefect will not be told at first."""
    *_, told = (
        call
        for call in a_file_is_wrong().calls.made
        if call.function == "dispatch" and call.operation.endswith("set_state")
    )
    a_file_is_wrong({told.number: HttpStatus(status=403)})


def an_event_is_lost(fate: Fate, ends: str, plan: Mapping[int, Fault] | None = None) -> World:
    """Play a run whose container dies unheard."""
    world = world_of("work pool")
    world.calls.plan.update(plan or {})
    world.event_delays = list
    world.fargate.fates.append(fate)
    world.schedule(0, ends=[ends])
    world.settle()
    return world


def healing_is_needed_and_fails() -> None:
    world = an_event_is_lost(KILLED_EARLY, "CRASHED")
    an_event_is_lost(SPOT_EARLY, "COMPLETED")
    (told,) = (
        call
        for call in world.calls.made
        if call.function == "poll" and call.operation.endswith("set_state")
    )
    an_event_is_lost(KILLED_EARLY, "CRASHED", {told.number: HttpStatus(status=403)})
    (launch,) = (call for call in world.calls.made if call.operation == "RunTask")
    a_message_is_lost(launch)


def a_message_is_lost(launch: Call) -> None:
    """Play a function that dies after its claim, and a message that does not come back."""
    world = world_of("work pool")
    fault = fault_of(launch, "death before")
    assert fault
    world.calls.plan[launch.number] = fault
    world.schedule(0)
    world.run_for(5)
    world.agents[0].runs.messages.clear()
    world.settle()


def ecs_is_down_while_a_run_is_cancelled() -> None:
    world = world_of("work pool")
    world.fargate.fates.append(FLOW_HANGS)
    cancelled = world.schedule(0, ends=["CANCELLED"])
    world.run_for(60)
    world.side.cancel(cancelled)
    world.outage("ecs", hours=0.1)
    world.settle()


def test_every_line_about_a_run_names_it(lines: Callable[[], Lines]) -> None:
    everything_happens()

    written = lines()
    assert CLAIMED - {"launched before", "enqueued again", "not told yet"} <= written.keys()
    for message, found in written.items():
        for line in found:
            assert message in OF_NO_RUN or line["flow_run_id"], message
            assert message not in CLAIMED or line["claim_id"], message
            assert message not in WITH_TASK or line["task_arn"].startswith("arn:"), message


def test_a_run_is_told_of_once_at_each_step(lines: Callable[[], Lines]) -> None:
    world = world_of("work pool", poll_interval_seconds=10)
    run = world.schedule(65)
    world.settle()

    steps = {m: len(found) for m, found in lines().items() if found[0].get("flow_run_id") == run}
    assert steps == {"enqueued": 1, "deferred": 1, "launched": 1}


def test_a_failure_for_good_is_told_of_when_its_run_was_told(
    lines: Callable[[], Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    prefect_does_not_hear_of_it()

    written = lines()
    assert len(written["not told yet"]) == 1
    assert len(written["failed for good"]) == 2  # one of each of the two worlds
    assert counts_in(capsys.readouterr().out)["PermanentFailures", "fargate-agent"] == 2


def test_an_idle_agent_writes_no_line(lines: Callable[[], Lines]) -> None:
    world_of("work pool", poll_interval_seconds=10).run_for(600)

    assert lines() == {}


def test_the_saved_queries_ask_for_lines_and_fields_that_are_written(
    lines: Callable[[], Lines],
) -> None:
    everything_happens()
    healing_is_needed_and_fails()
    prefect_does_not_hear_of_it()
    ecs_is_down_while_a_run_is_cancelled()
    written = lines()

    for name, query in QUERIES.items():
        messages = re.findall(r"'([a-z ]+)'", query)
        assert messages or name == "What happened to one flow run"
        asked = [line for message in messages or written for line in written[message]]
        assert not [message for message in messages if not written[message]], name
        fields = fields_of(query)
        assert fields
        missing = {f for f in fields - OF_EVERY_LINE if not any(f in line for line in asked)}
        assert missing == set(), name


def fields_of(query: str) -> set[str]:
    """Return the fields of the log lines that a query names."""
    names: set[str] = set()
    made = set(re.findall(r" as (\w+)", query))
    for step in query.split("|"):
        command, _, rest = step.strip().partition(" ")
        if command in ("fields", "filter", "sort", "stats"):
            plain = re.sub(r"'[^']*'| as \w+", "", rest)
            names |= set(re.findall(r"@?[a-z_]+\b(?!\()", plain))
    return names - made - {"in", "by", "desc", "asc"}
