"""Invokes one function again and again: ``python -m benchmarks.invoke poll settings.json``.

As Lambda does: ``poll`` by its ticks, or ``schedule`` by its schedule, which has it tend to what is
launched too, or ``url`` by its function URL; ``dispatch`` and ``watch`` with what their queues
hold, ten messages at a time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3

from fargate_agent import dispatch, poll, settings, watch
from tests.support.json_http import Answer, JsonHttpServer, Request

CONTEXT: Any = SimpleNamespace(function_name="benchmark", aws_request_id="benchmark")
POLL_SECONDS = 10


def polls(event: dict[str, Any]) -> None:
    """Poll for ever, every ten seconds, or as often as ``POLL_SECONDS`` says."""
    seconds = float(os.environ.get("POLL_SECONDS", POLL_SECONDS))
    while True:
        started = time.monotonic()
        poll.handler(event, CONTEXT)
        time.sleep(max(0.0, seconds - (time.monotonic() - started)))


def pokes(port: int) -> None:
    """Hand what is asked over HTTP to poll, as its function URL does."""

    def answer(request: Request) -> Answer:
        event = {
            "rawPath": request.path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "requestContext": {"http": {"method": request.method}},
        }
        answered: Any = poll.handler(event, CONTEXT)
        return Answer(answered["statusCode"], answered["body"])

    JsonHttpServer(answer, port).serve_forever()


def deliveries(handler: Callable[..., Any], queue: str) -> None:
    """Deliver for ever what a queue holds, and delete what is acknowledged."""
    sqs = boto3.client("sqs")
    while True:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
            }
            for message in answer.get("Messages", [])
        ]
        if not records:
            time.sleep(0.2)
            continue
        failed = handler({"Records": records}, CONTEXT)["batchItemFailures"]
        back = {item["itemIdentifier"] for item in failed}
        done = [r for r in records if r["messageId"] not in back]
        if done:
            entries = [{"Id": r["messageId"], "ReceiptHandle": r["receiptHandle"]} for r in done]
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)  # type: ignore[arg-type]


if __name__ == "__main__":
    settings.SETTINGS_FILE = Path(sys.argv[2])
    match sys.argv[1]:
        case "poll":
            polls({"Records": []})
        case "schedule":
            polls({})
        case "url":
            pokes(int(os.environ["URL_PORT"]))
        case "dispatch":
            deliveries(dispatch.handler, os.environ["RUNS_QUEUE_URL"])
        case "watch":
            deliveries(watch.handler, os.environ["TASK_EVENTS_QUEUE_URL"])
