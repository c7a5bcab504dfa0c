"""When cancellations go on and when the healing pass is made; and that no failure ends a poll."""

from collections.abc import Callable
from typing import Any

import pytest

from fargate_agent.upkeep import RECONCILE_SECONDS, Upkeep


class Chore:
    """Something that is done, and finds something or fails."""

    def __init__(self, found: dict[str, int] | Exception):
        self.found = found
        self.times = 0

    def go_on(self, in_time: Callable[[], bool]) -> dict[str, int]:
        self.times += 1
        self.in_time = in_time
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    reconcile = go_on


class Scene:
    def __init__(self, cancellations: Any = None, reconciliation: Any = None):
        self.cancellations = Chore(cancellations or {"stopped": 0})
        self.reconciliation = Chore(reconciliation or {"checked": 0})
        self.time = 1000.0
        self.until = 1e9
        self.upkeep = Upkeep(
            self.cancellations,  # type: ignore[arg-type]
            self.reconciliation,  # type: ignore[arg-type]
            clock=lambda: self.time,
        )

    def tend(self) -> None:
        self.upkeep.tend(until=self.until)


def test_cancellations_go_on_at_every_call_and_the_healing_pass_is_made_every_few_minutes():
    scene = Scene()

    for _ in range(11):
        scene.tend()
        scene.time += 60

    assert (scene.cancellations.times, scene.reconciliation.times) == (11, 3)
    assert RECONCILE_SECONDS == 300


def test_a_cold_function_heals_at_once():
    scene = Scene()

    scene.tend()

    assert scene.reconciliation.times == 1


def test_what_is_done_is_told_when_its_time_is_over():
    scene = Scene()
    scene.until = scene.time + 30

    scene.tend()

    for chore in (scene.cancellations, scene.reconciliation):
        scene.time = 1029.0
        assert chore.in_time()
        scene.time = 1030.0
        assert not chore.in_time()


def test_without_time_for_the_healing_pass_the_next_call_makes_it():
    scene = Scene()
    scene.until = scene.time
    scene.tend()
    assert (scene.cancellations.times, scene.reconciliation.times) == (0, 0)

    scene.until = scene.time + 30
    scene.tend()
    assert scene.reconciliation.times == 1


def test_a_poke_cancels_and_does_not_heal():
    scene = Scene()

    scene.upkeep.cancel(until=scene.until)

    assert (scene.cancellations.times, scene.reconciliation.times) == (1, 0)


def test_what_fails_is_logged_and_keeps_nothing_else_from_being_done(
    caplog: pytest.LogCaptureFixture,
):
    scene = Scene(cancellations=RuntimeError("ECS is down"), reconciliation=RuntimeError("so-so"))

    scene.tend()

    assert (scene.cancellations.times, scene.reconciliation.times) == (1, 1)
    assert [line.message for line in caplog.records] == [
        "cancellations: failed",
        "reconciled: failed",
    ]
    assert "RuntimeError: ECS is down" in caplog.text
    assert "RuntimeError: so-so" in caplog.text


def test_what_was_found_is_counted_in_the_log_and_nothing_is_not(
    caplog: pytest.LogCaptureFixture,
):
    Scene({"stopped": 2, "cancelled": 0}, {"checked": 7, "enqueued": 1}).tend()
    stopped, healed = (vars(line) for line in caplog.records)
    caplog.clear()
    Scene({"stopped": 0, "cancelled": 0}, {"checked": 0}).tend()

    assert (stopped["message"], stopped["stopped"]) == ("cancellations", 2)
    assert (healed["message"], healed["checked"], healed["enqueued"]) == ("reconciled", 7, 1)
    assert caplog.records == []
