"""A stand-in for the REST API of Prefect 3, which fails when it is told to.

It keeps all in memory and tells the time by a clock of the test's. By which rules runs change
their states stands in ``prefect3_rules``; that they are the real server's, in
``tests/integration/test_prefect3_stand_in.py``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from tests.support.json_http import Answer, JsonHttpServer, Request
from tests.support.prefect3_routes import respond
from tests.support.prefect3_users import Prefect3Users

IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INJECTED = "fault injected by a test"


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came; ``path`` is without a query."""

    method: str
    path: str
    body: Any
    headers: Message

    @property
    def name(self) -> str:
        """Which call it is, whatever run or other row it is about."""
        return f"{self.method} {IDS.sub('{id}', self.path)}"

    @property
    def text(self) -> str:
        """All of it, for a pattern to be searched in."""
        return f"{self.method} {self.path} {json.dumps(self.body)}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a call: an answer of this status, or none; see ``fail_next``."""

    status: int | None = None
    body: str = INJECTED
    retry_after: float | None = None
    after_effect: bool = False
    delay: float = 0

    @property
    def only_delays(self) -> bool:
        """Whether the call is answered as ever, only late."""
        return bool(self.delay) and self.status is None and not self.after_effect

    def answer(self) -> Answer | None:
        """Return the answer, or None where there is none."""
        if self.status is None:
            return None
        wait = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        return Answer(self.status, self.body, wait)


class Prefect3Server(Prefect3Users):
    """A server on a free port of the loopback interface.

    Parameters
    ----------
    now
        The server's clock.
    sleep
        Waits, for an answer that is late.
    version
        What the server says of itself; with one of Prefect 2 it lacks what that lacks.
    authorization
        The ``Authorization`` header that every call must bring, such as ``Bearer key``. It may be
        changed, as a rotated key is.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        version: str = "3.8.8",
        authorization: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(now=now, version=version)
        self.authorization = authorization
        self.calls: list[Call] = []
        self.fault: Callable[[Call], Fault | None] = lambda _: None
        """Asked about every call, for tests that count them."""
        self.down: Fault | None = None
        """An outage: what goes wrong with every call, until it is None again."""
        self._sleep = sleep
        self._faults: list[tuple[re.Pattern[str], Fault]] = []
        self._http = JsonHttpServer(self.answer, port)

    @property
    def url(self) -> str:
        """The API's address, without a slash at its end."""
        return self._http.url

    def __enter__(self) -> Prefect3Server:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def fail_next(
        self,
        pattern: str,
        times: int = 1,
        *,
        status: int | None = None,
        body: str = INJECTED,
        retry_after: float | None = None,
        after_effect: bool = False,
        delay: float = 0,
    ) -> None:
        """Let the next calls fail that a pattern is found in.

        It is searched in the method, the path and the body, as ``POST /flow_runs/… {"state": …}``.
        The calls are answered with an HTTP status. Without one the connection is closed without an
        answer, unless there is only a ``delay``: then the answer is late. With ``after_effect``
        what the call asked for is done before.
        """
        fault = Fault(status, body, retry_after, after_effect, delay)
        with self.lock:
            self._faults += [(re.compile(pattern), fault)] * times

    def calls_of(self, pattern: str) -> list[Call]:
        """Return the calls in which a pattern is found; see :meth:`fail_next`."""
        return [call for call in self.calls if re.search(pattern, call.text)]

    def answer(self, request: Request) -> Answer | None:
        """Answer a request; None closes the connection."""
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError as error:
            return Answer.json(422, {"detail": f"JSON decode error: {error}"})
        call = Call(request.method, urlsplit(request.path).path, body, request.headers)
        with self.lock:
            self.calls.append(call)
            fault = self.down or self.fault(call) or self._next_fault(call)
        if fault is None:
            return self._respond(request, body)
        if fault.after_effect:
            self._respond(request, body)
        if fault.delay:
            self._sleep(fault.delay)
        return self._respond(request, body) if fault.only_delays else fault.answer()

    def _next_fault(self, call: Call) -> Fault | None:
        for index, (pattern, fault) in enumerate(self._faults):
            if pattern.search(call.text):
                del self._faults[index]
                return fault
        return None

    def _respond(self, request: Request, body: Any) -> Answer:
        if self.authorization not in (None, request.headers.get("Authorization")):
            return Answer.json(401, {"exception_message": "Unauthorized"})
        return respond(self, request.method, request.path, body)
