"""What a case lets AWS answer in place of what it would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from botocore.exceptions import ClientError


class Script:
    """Queues of replies by operation; one that repeats stays where it is.

    Parameters
    ----------
    queues
        A case's ``aws.script``.
    """

    def __init__(self, queues: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._queues = {operation: list(replies) for operation, replies in queues.items()}

    def reply(self, operation: str) -> dict[str, Any] | None:
        """Return the next scripted reply, or None where AWS answers by itself.

        Raises
        ------
        botocore.exceptions.ClientError
            The reply is an error.
        """
        queue = self._queues.get(operation)
        if not queue:
            return None
        told = queue[0]
        if not told.get("always"):
            queue.pop(0)
        if told.get("pass"):
            return None
        if "error" in told:
            raise refusal(operation, **told["error"])
        return {key: value for key, value in deepcopy(dict(told)).items() if key != "always"}


def refusal(
    operation: str, Code: str, Message: str = "", HTTPStatusCode: int = 400, **more: Any
) -> ClientError:
    """Make the error that boto3 raises for a refusal of AWS."""
    answer: Any = {
        "Error": {"Code": Code, "Message": Message},
        "ResponseMetadata": {"HTTPStatusCode": HTTPStatusCode},
        **more,
    }
    return ClientError(answer, operation)
