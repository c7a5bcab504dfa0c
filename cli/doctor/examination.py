"""Runs checks, each apart from the others: one that breaks off costs its own lines only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from cli.doctor.findings import Finding, failure, unknown
from cli.doctor.subject import Subject
from cli.errors import EXPECTED, told

Check = Callable[[Subject], Iterable[Finding]]
"""Looks at one thing."""

THREADS = 8

_NOT_ALLOWED = ("403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_NOT_THERE = (
    *("InvalidAction", "NotImplemented", "UnknownOperationException", "UnsupportedOperation"),
    *("UnsupportedOperationException", "UnknownAction", "501"),
)
"""Codes of an AWS, as an emulator's or an isolated region's, that lacks the operation."""


def examine(subject: Subject, checks: Mapping[str, Check]) -> list[Finding]:
    """Make checks, by what they are called; return their lines in the checks' order."""
    with ThreadPoolExecutor(THREADS) as pool:
        made = pool.map(lambda name: [*_lines(name, checks[name], subject)], checks)
        return [line for lines in made for line in lines]


def _lines(name: str, check: Check, subject: Subject) -> Iterator[Finding]:
    try:
        yield from check(subject)
    except ClientError as error:
        yield not_answered(name, error)
    except (
        ConnectionError,
        HTTPClientError,
    ) as error:  # the functions have a way of their own to AWS
        yield unknown(name, f"it cannot be asked from here: {told(error)}")
    except EXPECTED as error:
        yield failure(name, told(error), "Mend that, and run doctor again.")
    except Exception as error:
        yield unknown(name, f"the check broke off: {type(error).__name__}: {error}")


def not_answered(name: str, error: ClientError) -> Finding:
    """Tell of a call that AWS refused: for want of rights, of the operation, or for a cause."""
    code, operation = error.response["Error"]["Code"], error.operation_name
    if code in _NOT_ALLOWED:
        return unknown(
            name,
            f"{operation} is refused to whoever runs this ({code})",
            f"Run it as somebody who may call {operation}.",
        )
    if code in _NOT_THERE or (code == "400" and not error.response["Error"].get("Message")):
        return unknown(name, f"{operation} is not available here")
    return failure(name, told(error), "Mend that, and run doctor again.")
