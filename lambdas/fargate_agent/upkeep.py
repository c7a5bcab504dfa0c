"""What ``poll`` does for runs that are launched already: cancel them, and heal what was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fargate_agent.cancellation import Cancellations
from fargate_agent.observability import logger
from fargate_agent.reconciliation import Reconciliation

RECONCILE_SECONDS = 300


@dataclass(slots=True)
class Upkeep:
    """Cancellations at every scheduled poll, the healing pass every few minutes.

    What fails is written to the log and tried again with the next poll: the poll itself is done.
    """

    cancellations: Cancellations
    reconciliation: Reconciliation
    clock: Callable[[], float] = field(default=time.monotonic)
    _reconciled_at: float = float("-inf")

    def tend(self, *, until: float) -> None:
        """Do what is due; begin nothing more at ``until``, by the clock."""
        self.cancel(until=until)
        if self.clock() - self._reconciled_at >= RECONCILE_SECONDS and self.clock() < until:
            self._reconciled_at = self.clock()
            self._run("reconciled", self.reconciliation.reconcile, until)

    def cancel(self, *, until: float) -> None:
        """Go on with the cancellation of runs."""
        self._run("cancellations", self.cancellations.go_on, until)

    def _run(
        self, what: str, do: Callable[[Callable[[], bool]], dict[str, int]], until: float
    ) -> None:
        if self.clock() >= until:
            return
        try:
            found = do(lambda: self.clock() < until)
        except Exception:
            logger.exception(f"{what}: failed")
        else:
            if any(found.values()):
                logger.info(what, extra=found)
