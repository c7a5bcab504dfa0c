"""The states of a batch's runs, read together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.states import RunState

DELETED = RunState(type="DELETED", scheduled_time=None, claim_id=None, infrastructure_id=None)


class Reads:
    """Reads the runs of one batch that need it, all in one call, when the first is asked for.

    Parameters
    ----------
    ids
        The runs of the batch.
    fresh_seconds
        An answer older than this is read again.
    """

    def __init__(
        self, prefect: Orchestrator, ids: Iterable[str], *, fresh_seconds: float = 0.5
    ) -> None:
        self._prefect = prefect
        self._ids = set(ids)
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._states: dict[str, RunState] = {}
        self._error: Exception | None = None

    def state(self, id: str) -> RunState:
        """Return what Prefect says of a run now; of a deleted one, that it is."""
        with self._lock:
            if id not in self._ids or time.monotonic() - self._read_at > self._fresh_seconds:
                self._ids.add(id)
                self._read()
            if self._error:
                raise self._error
            return self._states.get(id, DELETED)

    def _read(self) -> None:
        # The error is kept as an answer is: a server that hangs holds up one thread, not each.
        self._states, self._error = {}, None
        try:
            self._states = self._prefect.run_states(self._ids)
        except Exception as error:
            self._error = error
        self._read_at = time.monotonic()
