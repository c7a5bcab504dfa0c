"""Messages that were given up, and what is to be done with each: decided by its run as it is now.

A message that goes to the dead-letter queue has had its run crashed: to send it again would start
nothing, for the run waits for nothing. Such a run is scheduled again instead, and the next poll
makes it a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from fargate_agent.dispatch import GAVE_UP
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import FlowRun

HIDDEN_SECONDS = 300
"""For so long letters are hidden from others who look; then, or before, they show again."""

LOOKED_FOR_SECONDS = 1
"""A call that does not wait asks only some of SQS's servers."""


GIVEN_UP = ("CRASHED", "FAILED")
"""The states of a run that the agent gave up; the latter with Prefect 1."""


class Remedy(Enum):
    """What is done with a letter that is chosen."""

    SCHEDULE = "schedule the run again"
    SEND = "send the message again"
    DROP = "drop it"
    LEAVE = "leave it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter; what it is about is ``run`` or ``event``, or neither, where it is poison."""

    queue_url: str
    message_id: str
    receipt: str
    body: str
    sent: datetime
    run: FlowRun | None = None
    event: Mapping[str, Any] | None = None

    @property
    def flow_run_id(self) -> str | None:
        """The run that it is about."""
        if self.run:
            return self.run.id
        return str(self.event["detail"].get("startedBy", "")) if self.event else None

    @property
    def is_poison(self) -> bool:
        """Whether nobody can make anything of it."""
        return self.run is None and self.event is None


@contextmanager
def received(sqs: Any, url: str, *, events: bool = False) -> Iterator[list[Letter]]:
    """Take all letters of a queue in hand; those that are still there afterwards show again.

    Parameters
    ----------
    events
        They are ECS's task events, and not runs.
    """
    letters: list[Letter] = []
    try:
        while True:
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                MessageSystemAttributeNames=["SentTimestamp"],
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=LOOKED_FOR_SECONDS,
            )
            found = [_letter(url, message, events=events) for message in answer.get("Messages", [])]
            if not found:
                break
            letters += found
        yield letters
    finally:
        _release(sqs, url, letters)


def _release(sqs: Any, url: str, letters: list[Letter]) -> None:
    for start in range(0, len(letters), 10):
        some = letters[start : start + 10]
        # What was deleted meanwhile is told as a failure of its entry, which is none.
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                for number, letter in enumerate(some)
            ],
        )


def _letter(url: str, message: Mapping[str, Any], *, events: bool) -> Letter:
    body = message["Body"]
    sent = int(message["Attributes"]["SentTimestamp"]) / 1000
    return Letter(
        queue_url=url,
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=body,
        sent=datetime.fromtimestamp(sent, UTC),
        run=None if events else _run(body),
        event=_event(body) if events else None,
    )


def _run(body: str) -> FlowRun | None:
    try:
        return FlowRun.from_message(body)
    except ValueError:
        return None


def _event(body: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(body)
    except ValueError:
        return None
    known = isinstance(event, dict) and isinstance(event.get("detail"), dict)
    return event if known else None


def judge(letter: Letter, state: RunState | None, message: str) -> tuple[Remedy, str]:
    """Decide what is to be done with a letter, and tell why. Pure.

    Parameters
    ----------
    state
        The run's, as it is now; None where the run is deleted.
    message
        What that state says besides its name. A run that failed or crashed by itself since is told
        from one that was given up by this alone, and is not run again.
    """
    if letter.event is not None:
        return Remedy.SEND, "the function looks first how the run stands"
    if letter.run is None:
        return Remedy.LEAVE, "it is no message of this agent"
    if state is None:
        return Remedy.DROP, "its run is deleted"
    if not state.is_served:
        return Remedy.LEAVE, "its run belongs to another work pool now"
    if state.type in GIVEN_UP and message.startswith(GAVE_UP):
        return Remedy.SCHEDULE, "its run was given up"
    if state.awaits(letter.run):
        return Remedy.SEND, f"its run is {state.type.capitalize()} and waits for this launch"
    if state.type == "SCHEDULED":
        return Remedy.DROP, "its run is scheduled anew, and the agent finds it by itself"
    return Remedy.DROP, f"its run is {state.type.capitalize()}: it needs this message no more"
