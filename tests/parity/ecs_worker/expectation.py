"""What is expected of the product: first what was recorded, then what the rules make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from tests.parity.ecs_worker.cases import Case
from tests.parity.ecs_worker.course import Course, Played
from tests.parity.ecs_worker.course.habits import Habits
from tests.parity.ecs_worker.plan import Plan, recorded

WORKERS = Habits()
"""What the worker does."""


@dataclass(frozen=True)
class Expected:
    """The plans of a case's runs, and how they are followed."""

    case: Case
    plans: tuple[Plan, ...]
    habits: Habits = WORKERS

    @classmethod
    def recorded(cls, case: Case) -> Expected:
        """Expect what was recorded."""
        return cls(case, tuple(recorded(run) for run in case.runs))

    @cached_property
    def played(self) -> list[Played]:
        """What becomes of each run."""
        return Course(self.case, self.habits).play(self.plans)

    def each(self, change: Callable[[Plan], Plan]) -> Expected:
        """Return it with every plan changed."""
        return replace(self, plans=tuple(map(change, self.plans)))

    def with_habits(self, **habits: object) -> Expected:
        """Return it with more habits."""
        return replace(self, habits=replace(self.habits, **habits)) if habits else self  # type: ignore[arg-type]
