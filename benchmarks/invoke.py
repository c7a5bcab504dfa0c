"""Invokes one function again and again: ``python -m benchmarks.invoke poll settings.json``.

As Lambda does: ``poll`` by its schedule, ``dispatch`` with what the queue holds, ten messages at a
time.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3

from fargate_agent import dispatch, poll, settings

CONTEXT: Any = SimpleNamespace(function_name="benchmark", aws_request_id="benchmark")
POLL_SECONDS = 10


def polls() -> None:
    """Poll for ever, every ten seconds."""
    while True:
        started = time.monotonic()
        poll.handler({"Records": []}, CONTEXT)
        time.sleep(max(0.0, POLL_SECONDS - (time.monotonic() - started)))


def dispatches() -> None:
    """Deliver for ever what the queue holds, and delete what is acknowledged."""
    sqs, queue = boto3.client("sqs"), os.environ["RUNS_QUEUE_URL"]
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
        failed = dispatch.handler({"Records": records}, CONTEXT)["batchItemFailures"]
        back = {item["itemIdentifier"] for item in failed}
        done = [r for r in records if r["messageId"] not in back]
        if done:
            entries = [{"Id": r["messageId"], "ReceiptHandle": r["receiptHandle"]} for r in done]
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)  # type: ignore[arg-type]


if __name__ == "__main__":
    settings.SETTINGS_FILE = Path(sys.argv[2])
    {"poll": polls, "dispatch": dispatches}[sys.argv[1]]()
