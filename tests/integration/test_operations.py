"""``status``, ``poke``, ``redrive`` and ``wake`` on an agent that works."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import Result

from cli import dead_letters
from cli.errors import CommandError
from fargate_agent.runs import parse_time
from tests.support import aws
from tests.support.deployed_world import DeployedWorld, run
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

Cli = Callable[..., Any]


@pytest.fixture
def agent(world: World, monkeypatch: pytest.MonkeyPatch) -> DeployedWorld:
    monkeypatch.setattr(dead_letters, "LOOKED_FOR_SECONDS", 0)
    return DeployedWorld(world)


@pytest.fixture
def call(agent: DeployedWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command."""
    return lambda *arguments: run(monkeypatch, agent, *arguments)


@pytest.fixture
def cli(call: Callable[..., Result]) -> Cli:
    """Run a command that must succeed, and return what it says as JSON."""

    def decoded(*arguments: str) -> Any:
        done = call(*arguments, "--json")
        if done.exception:
            raise done.exception
        # What the functions say in this process comes first.
        start = min(done.stdout.find(mark) for mark in ("[\n", "{\n", "[]") if mark in done.stdout)
        return json.loads(done.stdout[start:])

    return decoded


def dead_letter(agent: DeployedWorld, run_id: str) -> None:
    """Poll, and let the message of a run go the way of those that failed too often."""
    agent.world.poll()
    (record,) = [r for r in agent.world.receive() if r["attributes"]["MessageGroupId"] == run_id]
    sqs = aws.moto("sqs")
    sqs.delete_message(QueueUrl=agent.world.runs_queue, ReceiptHandle=record["receiptHandle"])
    bury(agent, record["body"], run_id)


def bury(agent: DeployedWorld, body: str, group: str = "group") -> None:
    """Put a message among the dead letters."""
    aws.moto("sqs").send_message(
        QueueUrl=agent.outputs["DeadLetters"],
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=group,
    )


def buried(agent: DeployedWorld) -> int:
    answer = aws.moto("sqs").get_queue_attributes(
        QueueUrl=agent.outputs["DeadLetters"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_status_shows_a_launch_its_task_and_what_failed(agent: DeployedWorld, cli: Cli) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    agent.world.poll()
    agent.world.deliver()
    task = agent.world.task_of(run_id)
    now = datetime.now(UTC)
    told = {"flow_run_id": run_id, "task_arn": task["taskArn"], "delay_seconds": 1.5}
    agent.write("dispatch", "launched", **told, task_definition="d:1", at=now)
    agent.write("dispatch", "launched", **told, at=now - timedelta(hours=3))
    agent.write("watch", "crashed", "WARNING", flow_run_id=run_id, reason="no memory", at=now)

    found = cli("status", "--since", "1h")

    (launch,), (trouble,), (shown,) = found["launches"], found["troubles"], found["tasks"]
    assert (launch["delay_seconds"], launch["flow_run_id"]) == (1.5, run_id)
    assert (trouble["what"], trouble["reason"]) == ("crashed", "no memory")
    assert (shown["task_arn"], shown["run"]["state"]) == (task["taskArn"], "Pending")
    assert found["counts"] == {"crashed": 1}
    assert (found["unknown"], found["queues"]["runs"]["dead_letters"]) == ([], 0)
    assert parse_time(found["last_poll"]) <= parse_time(found["at"])


def test_status_shows_the_rest_where_prefect_does_not_tell(
    agent: DeployedWorld, cli: Cli, world: World
) -> None:
    world.poll()
    world.prefect.send("DELETE", f"/work_pools/{world.pool}")

    found = cli("status")

    assert "last poll" in found["unknown"][0]
    assert found["queues"]["runs"]["visible"] == 0


def test_watching_ends_at_ctrl_c(
    agent: DeployedWorld, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.status.time.sleep", interrupt)

    done = call("status", "--watch")

    assert (done.exit_code, "Queue of runs: 0 waiting" in done.stdout) == (0, True)


def test_poke_polls_once_and_tells_what_it_found(agent: DeployedWorld, cli: Cli) -> None:
    agent.world.schedule(agent.world.deployment())

    assert cli("poke")["found"] == 1
    assert agent.lambdas.invoked == [("poll", {"Records": []})]


def test_a_run_that_was_given_up_is_scheduled_again_and_launched_once(
    agent: DeployedWorld, cli: Cli
) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    dead_letter(agent, run_id)
    agent.world.set_state(run_id, "CRASHED", message="Gave up after 200 tries: throttled")

    (listed,) = cli("redrive")
    assert listed["error"] == "Gave up after 200 tries: throttled"
    assert (listed["remedy"], buried(agent)) == ("schedule the run again", 1)

    (redriven,) = cli("redrive", run_id)
    assert (redriven["outcome"], buried(agent)) == ("scheduled again", 0)
    assert agent.world.state(run_id) == "SCHEDULED"
    agent.world.poll()
    assert agent.world.deliver() == []
    assert agent.world.task_of(run_id)
    assert cli("redrive") == []


def test_a_run_that_still_waits_gets_its_message_again(agent: DeployedWorld, cli: Cli) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    dead_letter(agent, run_id)

    (redriven,) = cli("redrive", "--all")

    assert (redriven["outcome"], buried(agent)) == ("sent again", 0)
    assert agent.world.deliver() == []
    assert agent.world.task_of(run_id)


def test_a_run_that_was_launched_meanwhile_is_not_launched_again(
    agent: DeployedWorld, cli: Cli
) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    dead_letter(agent, run_id)
    agent.world.set_state(run_id, "RUNNING")

    (redriven,) = cli("redrive", run_id)

    assert (redriven["remedy"], redriven["outcome"]) == ("drop it", "deleted")
    assert (agent.world.unacknowledged(), buried(agent)) == (0, 0)


def test_the_letter_of_a_deleted_run_is_dropped(agent: DeployedWorld, cli: Cli) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    dead_letter(agent, run_id)
    agent.world.prefect.send("DELETE", f"/flow_runs/{run_id}")

    (redriven,) = cli("redrive", run_id)

    assert (redriven["because"], redriven["outcome"]) == ("its run is deleted", "deleted")


def test_a_run_whose_task_lives_is_not_scheduled_again(
    agent: DeployedWorld, call: Callable[..., Result]
) -> None:
    run_id = agent.world.schedule(agent.world.deployment())
    agent.world.poll()
    (record,) = agent.world.receive()
    agent.world.dispatch([record])
    bury(agent, record["body"], run_id)
    agent.world.set_state(run_id, "CRASHED", message="Gave up after 200 tries: throttled")

    done = call("redrive", run_id, "--json")

    assert done.exit_code == 1
    assert "still runs" in done.stdout
    assert (agent.world.state(run_id), buried(agent)) == ("CRASHED", 1)


def test_poison_stays_until_it_is_to_be_deleted(agent: DeployedWorld, cli: Cli) -> None:
    bury(agent, "no message of this agent")

    (left,) = cli("redrive", "--all")
    assert (left["kind"], left["outcome"], buried(agent)) == ("poison", "left", 1)

    (deleted,) = cli("redrive", "--all", "--delete")
    assert (deleted["outcome"], buried(agent)) == ("deleted", 0)


def test_a_task_event_goes_back_to_where_it_came_from(agent: DeployedWorld, cli: Cli) -> None:
    sqs, url = aws.moto("sqs"), agent.environment("watch")["TASK_EVENTS_QUEUE_URL"]
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    dead = json.loads(policy["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
    body = json.dumps({"detail": {"startedBy": "the-run"}})
    name = dead.rpartition(":")[2]
    dead_url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    sqs.send_message(QueueUrl=dead_url, MessageBody=body)

    (redriven,) = cli("redrive", "the-run")

    assert (redriven["kind"], redriven["outcome"]) == ("task event", "sent again")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == body


def test_a_run_without_a_dead_letter_is_an_error(
    agent: DeployedWorld, call: Callable[..., Result]
) -> None:
    done = call("redrive", "no-such-run")

    assert isinstance(done.exception, CommandError)
    assert "no dead letter of no-such-run" in str(done.exception)


def test_waking_wants_a_url(agent: DeployedWorld, call: Callable[..., Result]) -> None:
    done = call("wake", "enable")

    assert isinstance(done.exception, CommandError)
    assert "deploy it with agent.url = true" in str(done.exception)


@pytest.mark.prefect3
def test_waking_is_made_once_follows_a_rotated_secret_and_is_removed(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(agent={"url": True, "name": f"waker-{datetime.now(UTC):%H%M%S%f}"})
    world.poll()
    agent = DeployedWorld(world)
    url, secret = agent.outputs["Url"], agent.outputs["UrlSecret"]
    body = {
        "automations": {"name": {"any_": [f"Wake {agent.settings().agent_name} for {world.pool}"]}}
    }
    name = f"wake-{agent.settings().agent_name}-{world.pool}"
    path = f"/block_types/slug/webhook/block_documents/name/{name}"

    def enabled() -> tuple[int, str]:
        assert run(monkeypatch, agent, "wake", "enable").exit_code == 0
        block = world.prefect.get(f"{path}?include_secrets=true")["data"]
        automations = world.prefect.post("/automations/filter", body)
        assert block["url"] == f"{url}/api/poke"
        (related,) = {a["trigger"]["match_related"]["prefect.resource.name"] for a in automations}
        assert related == world.pool
        return len(automations), block["headers"]["Authorization"]

    assert enabled() == (1, "Bearer first")
    aws.moto("secretsmanager").put_secret_value(SecretId=secret, SecretString="second")
    assert enabled() == (1, "Bearer second")
    assert run(monkeypatch, agent, "wake", "disable").exit_code == 0
    assert world.prefect.post("/automations/filter", body) == []
    assert "there was none" in run(monkeypatch, agent, "wake", "disable").stdout
