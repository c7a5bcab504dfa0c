"""What can go wrong with an outside call: before it takes effect, or just after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import urllib3
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from tests.support.simulated_calls import Call, Invocation
from tests.support.simulated_http import http_answer
from tests.support.simulated_service import refused

HTTP_TIMEOUT = 5.0
AWS_TIMEOUT = 24.0
"""Three attempts of eight seconds: botocore's own are not simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFault:
    """Something goes wrong with a call, before its effect or after."""

    after_effect: bool = False
    lasting: bool = True

    def before(self, call: Call, invocation: Invocation) -> Any:
        """See :class:`simulated_calls.Fault`."""
        return None if self.after_effect else self.happen(call, invocation)

    def after(self, call: Call, invocation: Invocation) -> Any:
        """See :class:`simulated_calls.Fault`."""
        return self.happen(call, invocation) if self.after_effect else None

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """Raise, or return the answer in place of the call's own."""
        raise NotImplementedError


class Death(CallFault):
    """The function is killed."""

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        invocation.die()


class TimeOut(CallFault):
    """No answer comes."""

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        clock = invocation.calls.clock
        if call.service == "prefect":
            clock.sleep(HTTP_TIMEOUT)
            raise urllib3.exceptions.ReadTimeoutError(_POOL, "/", "Read timed out.")
        clock.sleep(AWS_TIMEOUT)
        raise ReadTimeoutError(endpoint_url=f"https://{call.service}.test")


class Disconnection(CallFault):
    """The connection is closed without an answer."""

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        raise urllib3.exceptions.ProtocolError("Connection aborted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpStatus(CallFault):
    """Prefect's server, or what stands before it, answers with a status."""

    status: int
    retry_after: int | None = None

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return http_answer(self.status, "fault injected by a test", headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsError(CallFault):
    """An AWS service answers with an error."""

    code: str
    status: int = 400

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        return refused(self.code, "fault injected by a test", self.status)


class Unsent(CallFault):
    """SQS refuses a batch's messages one by one, and says that this is no fault of the sender."""

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        entries = call.asked.get("Entries", [])
        refusals = [{"Id": e["Id"], "SenderFault": False, "Code": "InternalError"} for e in entries]
        return AWSResponse("", 200, {}, None), {"Failed": refusals}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(CallFault):
    """Something else happens while the call is under way, which is answered as ever.

    Unless it is ``deadly``: then the function dies of it.
    """

    do: Callable[[], object]
    deadly: bool = False
    lasting: bool = field(default=False)

    def happen(self, call: Call, invocation: Invocation) -> Any:
        """See :meth:`CallFault.happen`."""
        self.do()
        if self.deadly:
            invocation.die()


_POOL = urllib3.HTTPConnectionPool("prefect.test")


def _both(name: str, make: Callable[..., CallFault], **fields: Any) -> dict[str, CallFault]:
    when = (("before", False), ("after", True))
    return {f"{name} {word}": make(after_effect=after, **fields) for word, after in when}


PREFECT_FAULTS: dict[str, CallFault] = {
    **_both("death", Death),
    **_both("time-out", TimeOut),
    **_both("one time-out", TimeOut, lasting=False),
    **_both("one disconnection", Disconnection, lasting=False),
    **_both("500", HttpStatus, status=500),
    **_both("503", HttpStatus, status=503),
    "one 503 after": HttpStatus(status=503, after_effect=True, lasting=False),
    "429": HttpStatus(status=429),
    "one 429 that asks for 2 seconds": HttpStatus(status=429, retry_after=2, lasting=False),
    "429 that asks for 600 seconds": HttpStatus(status=429, retry_after=600),
    "401": HttpStatus(status=401),
    "one 401": HttpStatus(status=401, lasting=False),
}

AWS_FAULTS: dict[str, CallFault] = {
    **_both("death", Death),
    **_both("time-out", TimeOut),
    **_both("500", AwsError, code="InternalFailure", status=500),
    "503": AwsError(code="ServiceUnavailable", status=503),
    "throttled": AwsError(code="ThrottlingException"),
    "throttled by S3": AwsError(code="SlowDown", status=503),
    "expired": AwsError(code="ExpiredTokenException"),
    "expired for S3": AwsError(code="ExpiredToken"),
    "sent in vain": Unsent(),
}
_ONLY_FOR = {
    "throttled by S3": "GetObject",
    "expired for S3": "GetObject",
    "sent in vain": "SendMessageBatch",
}


def fault_of(call: Call, kind: str) -> CallFault | None:
    """Return the fault of this kind, or None where such a call knows none."""
    if call.service == "prefect":
        return PREFECT_FAULTS.get(kind)
    return AWS_FAULTS.get(kind) if _ONLY_FOR.get(kind, call.operation) == call.operation else None


@dataclass(frozen=True, slots=True)
class AnyFault:
    """A fault of a kind, at whichever call; where that knows none of the kind, it goes well."""

    kind: str
    lasting: bool = True

    def before(self, call: Call, invocation: Invocation) -> Any:
        """See :class:`simulated_calls.Fault`."""
        fault = fault_of(call, self.kind)
        return fault.before(call, invocation) if fault else None

    def after(self, call: Call, invocation: Invocation) -> Any:
        """See :class:`simulated_calls.Fault`."""
        fault = fault_of(call, self.kind)
        return fault.after(call, invocation) if fault else None
