"""Which errors of AWS another try can mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import ClientError, ParamValidationError

from tests.parity.ecs_worker.cases import Case
from tests.parity.ecs_worker.migration import ATTEMPTS
from tests.parity.rules.faults import PASSING, STAYS


class AnyHash(str):
    """Stands for a hash, and is equal to each: which, ``tests/unit/test_content_hash.py`` tells."""

    def __eq__(self, other: object) -> bool:
        return other is self or (
            isinstance(other, str) and re.fullmatch(r"[0-9a-f]{64}", other) is not None
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return 0

    def __deepcopy__(self, _: object) -> AnyHash:
        return self


ANY_HASH = AnyHash("a SHA-256")

DENIED = {"AccessDeniedException", "ThrottlingException"}
ALL_STAY = STAYS | {"UnauthorizedOperation"}


class NotStarted(Exception):
    """ECS took the request and started nothing."""


def stays(error: ClientError, *, named: bool) -> bool:
    """Tell whether an error is told to the run at once.

    A definition that is gone is registered again, unless the run names it itself.
    """
    detail = error.response["Error"]
    message = detail.get("Message", "")
    if definition_is_gone(error):
        return named
    return detail["Code"] in ALL_STAY and not any(words in message for words in PASSING)


def definition_is_gone(error: ClientError) -> bool:
    """Tell whether RunTask found its task definition inactive, or not at all."""
    detail = error.response["Error"]
    message = detail.get("Message", "").lower().replace(" ", "")
    gone = any(words in message for words in ("inactive", "notfound", "unabletodescribe"))
    is_run = error.operation_name == "RunTask" and "taskdefinition" in message
    return is_run and gone and detail["Code"] in ("ClientException", "InvalidParameterException")


def cause(error: ClientError) -> str:
    """Return what the run must be told: AWS's own words, unless there are plainer ones."""
    is_look = error.operation_name == "DescribeTaskDefinition"
    if definition_is_gone(error) or (is_look and error.response["Error"]["Code"] not in DENIED):
        return "task definition"
    return error.response["Error"].get("Message", "")


def is_concurrent(error: ClientError) -> bool:
    """Tell whether another registration of the same family was under way."""
    return "Too many concurrent attempts" in error.response["Error"].get("Message", "")


Result = TypeVar("Result")


def attempts(case: Case, what: str) -> int:
    """Return how often the worker's settings let it try."""
    name = f"PREFECT_INTEGRATIONS_AWS_ECS_WORKER_{what}_MAX_ATTEMPTS"
    return int(case.worker_env.get(name, ATTEMPTS))


def again(tries: int, call: Callable[[], Result]) -> Result:
    """Try as the worker does: whatever the error is."""
    for left in reversed(range(tries)):
        try:
            return call()
        except (ClientError, ParamValidationError, NotStarted):
            if not left:
                raise
    raise AssertionError("unreachable: there is at least one try")
