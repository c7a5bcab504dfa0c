"""Records every AWS call that a function makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3


@dataclass(frozen=True, slots=True)
class Call:
    """One call of boto3, by the function that made it."""

    function: str
    service: str
    operation: str
    params: dict[str, Any]


class Recorder:
    """Listens to the default session, whose clients the functions use."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._function: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record inside the block. The session stays the same, for it holds the parsed models."""
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION is not None
        events = boto3.DEFAULT_SESSION.events
        events.register("provide-client-params.*.*", self._record)
        try:
            yield
        finally:
            events.unregister("provide-client-params.*.*", self._record)

    @property
    def on(self) -> bool:
        """Whether a function is running now."""
        return self._function is not None

    @contextmanager
    def function(self, name: str) -> Iterator[None]:
        """Record the calls made inside the block as this function's."""
        self._function = name
        try:
            yield
        finally:
            self._function = None

    def of(self, function: str) -> list[str]:
        """Return the operations that a function called, in order."""
        return [call.operation for call in self.calls if call.function == function]

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if self._function:
            service = model.service_model.service_name
            self.calls.append(Call(self._function, service, model.name, params))
