"""Lambda's Runtime API on loopback, for ``awslambdaric``, the client that Lambda itself runs.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.support.json_http import Answer, JsonHttpServer, Request

DEADLINE_SECONDS = 60


class FunctionFailed(Exception):
    """A handler, or its module, raised; the message is what the runtime told of it."""


@dataclass
class RuntimeApi:
    """Hands events to one function, and takes its answers.

    Attributes
    ----------
    asked_at
        When the runtime asked for its first event, by :func:`time.monotonic`: it has started.
    """

    asked_at: float = 0.0
    _events: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _answers: queue.SimpleQueue[tuple[float, Any]] = field(default_factory=queue.SimpleQueue)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> RuntimeApi:
        self._server = JsonHttpServer(self._answer)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.stop()

    @property
    def address(self) -> str:
        """Host and port, as ``AWS_LAMBDA_RUNTIME_API`` tells them."""
        return self._server.url.removeprefix("http://")

    def invoke(self, event: Any, *, seconds: float = DEADLINE_SECONDS) -> tuple[float, Any]:
        """Hand out an event; return when it was answered, and the answer.

        Raises
        ------
        FunctionFailed
            The function raised, or its module did when it was read.
        queue.Empty
            It did not answer in time.
        """
        self._events.put(event)
        at, answer = self._answers.get(timeout=seconds)
        if isinstance(answer, FunctionFailed):
            raise answer
        return at, answer

    def _answer(self, request: Request) -> Answer | None:
        what = request.path.rpartition("/")[2]
        if what == "next":
            return self._next()
        now = time.monotonic()
        text = request.body.decode()
        self._answers.put((now, json.loads(text) if what == "response" else FunctionFailed(text)))
        return Answer(202, "{}")

    def _next(self) -> Answer | None:
        self.asked_at = self.asked_at or time.monotonic()
        while not self._ended.is_set():
            try:
                event = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            deadline = int((time.time() + DEADLINE_SECONDS) * 1000)
            return Answer(
                200,
                json.dumps(event),
                {
                    "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(deadline),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:1:function:f",
                },
            )
        return None
