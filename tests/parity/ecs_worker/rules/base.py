"""What a rule is, and what rules are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.parity.ecs_worker.expectation import Expected
from tests.parity.ecs_worker.plan import Plan


def same(plan: Plan) -> Plan:
    """Change nothing."""
    return plan


def every(_: Plan) -> bool:
    """Apply to all runs."""
    return True


def registers(plan: Plan) -> bool:
    """Apply to runs of a definition of the agent's own making."""
    return plan.named is None and not plan.refusal


def starts(plan: Plan) -> bool:
    """Apply to runs that come to a request."""
    return bool(plan.request) and not plan.refusal


def templated(plan: Plan) -> set[str]:
    """Name the variables that the template's own overrides set."""
    overrides = plan.job["task_run_request"].get("overrides") or {}
    lists = [c.get("environment") or [] for c in overrides.get("containerOverrides") or []]
    return {entry["name"] for held in lists if isinstance(held, list) for entry in held}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A deliberate difference.

    Attributes
    ----------
    name
        A few words.
    why
        What differs and why it is better, in a sentence or two.
    applies
        Tells of which runs it may speak.
    change
        Makes of the plan so far what is expected by this rule.
    habits
        What it changes in the course of a launch.
    universal
        It changes how every task is launched, and so touches most cases.
    """

    name: str
    why: str
    applies: Callable[[Plan], bool] = every
    change: Callable[[Plan], Plan] = same
    habits: Mapping[str, Any] = field(default_factory=dict)
    universal: bool = False

    def __hash__(self) -> int:
        return hash(self.name)

    def expect(self, expected: Expected) -> Expected:
        """Return what is expected by this rule too."""
        changed = expected.each(lambda plan: self.change(plan) if self.applies(plan) else plan)
        return changed.with_habits(**self.habits)
