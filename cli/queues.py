"""The agent's queues, and how full they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cli.deployed_agent import DeployedAgent


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue, approximately, as SQS counts them."""

    visible: int
    in_flight: int
    """Received and not yet deleted, or hidden until their run is due."""
    delayed: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and the one for what could not be handled."""

    url: str
    dead_letters_url: str


def runs(agent: DeployedAgent) -> Queue:
    """Return the queue of runs."""
    return Queue(agent.outputs["RunsQueue"], agent.outputs["DeadLetters"])


def task_events(agent: DeployedAgent, sqs: Any) -> Queue:
    """Return the queue of ECS's task events."""
    url = agent.settings("watch").task_events_queue_url
    policy = json.loads(_attributes(sqs, url)["RedrivePolicy"])
    name = policy["deadLetterTargetArn"].rpartition(":")[2]
    return Queue(url, sqs.get_queue_url(QueueName=name)["QueueUrl"])


def depth(sqs: Any, queue: Queue) -> Depth:
    """Ask how full a queue is."""
    here, dead = _attributes(sqs, queue.url), _attributes(sqs, queue.dead_letters_url)
    return Depth(
        visible=int(here["ApproximateNumberOfMessages"]),
        in_flight=int(here["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(here["ApproximateNumberOfMessagesDelayed"]),
        dead_letters=int(dead["ApproximateNumberOfMessages"])
        + int(dead["ApproximateNumberOfMessagesNotVisible"]),
    )


def _attributes(sqs: Any, url: str) -> dict[str, str]:
    attributes: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return attributes
