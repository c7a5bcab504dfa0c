"""The limits of ECS on Fargate, as AWS documents them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html: RunTask is called 20
times a second, burst and sustained; Fargate starts 20 tasks a second, and 100 in a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

RUN_TASK_CALLS = (20, 20)
"""Burst, and calls a second."""

FARGATE_TASKS = (100, 20)
"""Burst, and tasks a second."""


@dataclass
class TokenBucket:
    """Tokens that come back at a steady rate.

    Parameters
    ----------
    capacity, rate
        The most that it holds, and how many come back in a second.
    time
        The clock.
    held
        How many it holds at first; as many as it can, unless told.
    """

    capacity: float
    rate: float
    time: Callable[[], float]
    held: float | None = None
    _filled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.held = self.capacity if self.held is None else self.held
        self._filled_at = self.time()

    def has_one(self) -> bool:
        """Tell whether there is a token now."""
        assert self.held is not None
        now = self.time()
        self.held = min(self.capacity, self.held + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return self.held >= 1 - 1e-9

    def take(self) -> None:
        """Take a token, of which :meth:`has_one` told."""
        assert self.held is not None
        self.held -= 1

    def given_by(self, seconds: float) -> float:
        """Return the most tokens that can have been taken so long after the start."""
        return self.first + self.rate * seconds
