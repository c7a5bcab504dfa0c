"""AWS's rule for ``clientToken`` of RunTask, which no emulator here keeps. Standard library only.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html: within a cluster a
token stands for one request. The same request again returns the tasks that the first one started;
another request with that token is a ConflictException whose ``resourceIds`` name those tasks. A
token is forgotten after 24 hours. A request that failed leaves no token behind.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIFETIME_SECONDS = 24 * 3600


class Conflict(Exception):
    """The token is in use with other parameters."""

    def __init__(self, task_arns: list[str]) -> None:
        super().__init__("The provided clientToken is already in use with a different request.")
        self.task_arns = task_arns


@dataclass(slots=True)
class ClientTokens:
    """Remembers which tasks a token started."""

    now: Callable[[], float] = time.time
    _held: dict[tuple[str, str], tuple[str, list[str], float]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def run(
        self, cluster: str, request: Mapping[str, Any], start: Callable[[], list[str]]
    ) -> tuple[list[str], bool]:
        """Start tasks, or return those that the request's token has started already.

        Parameters
        ----------
        start
            Starts the tasks and returns their ARNs; an empty list means none could be started.

        Returns
        -------
        The ARNs, and whether they were started now.

        Raises
        ------
        Conflict
            The token is in use with other parameters.
        """
        token = request.get("clientToken")
        if not token:
            return start(), True
        meaning = json.dumps({**request, "cluster": cluster}, sort_keys=True)
        with self._lock:  # held while starting: concurrent calls with one token start one task
            held = self._held.get((cluster, token))
            if held and self.now() - held[2] < LIFETIME_SECONDS:
                if held[0] != meaning:
                    raise Conflict(held[1])
                return held[1], False
            arns = start()
            if arns:
                self._held[cluster, token] = (meaning, arns, self.now())
            return arns, True
