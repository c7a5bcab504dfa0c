"""``doctor`` and ``redrive`` on an agent of Prefect 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli import dead_letters
from tests.support import aws
from tests.support.deployed_world import DeployedWorld, run
from tests.support.world1 import World1


def prefects_lines(monkeypatch: pytest.MonkeyPatch, world: World1) -> dict[str, dict[str, Any]]:
    done = run(monkeypatch, DeployedWorld(world), "doctor", "--json")
    return {line["check"]: line for line in json.loads(done.stdout)}


def test_an_open_source_server_wants_no_key_and_tells_no_poll(
    make_world1: Callable[..., World1], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = prefects_lines(monkeypatch, make_world1(agent={"labels": ["etl"]}))

    assert lines["Prefect"]["level"] == lines["Prefect's key"]["level"] == "ok"
    assert lines["agent's labels"]["found"] == "etl"
    assert lines["last poll"]["level"] == "not known"


def test_a_key_that_cloud_refuses_is_named(
    make_cloud_world: Callable[..., World1], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_cloud_world()
    aws.moto("secretsmanager").put_secret_value(SecretId="prefect-api-key", SecretString="old")

    lines = prefects_lines(monkeypatch, world)

    assert lines["Prefect's key"]["level"] == "failure"
    assert "Prefect refused the agent's credentials" in lines["Prefect's key"]["found"]


def test_a_run_that_was_given_up_is_scheduled_again_and_launched(
    world1: World1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "LOOKED_FOR_SECONDS", 0)
    run_id, (record,) = world1.enqueued(world1.flow())
    agent, sqs = DeployedWorld(world1), aws.moto("sqs")
    sqs.delete_message(QueueUrl=world1.runs_queue, ReceiptHandle=record["receiptHandle"])
    sqs.send_message(
        QueueUrl=agent.outputs["DeadLetters"],
        MessageBody=record["body"],
        MessageGroupId=run_id,
        MessageDeduplicationId=run_id,
    )
    world1.server.set_state(run_id, "Failed", "Gave up after 200 tries: ThrottlingException")

    done = run(monkeypatch, agent, "redrive", run_id)

    assert "scheduled again" in done.stdout
    assert world1.states(run_id)[-1] == "Scheduled"
    world1.poll()
    assert world1.deliver() == []
    assert world1.task_of(run_id)
    assert "no dead letters" in run(monkeypatch, agent, "redrive").stdout
