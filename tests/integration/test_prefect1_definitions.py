"""Definitions that Prefect 1 runs name themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from fargate_agent.tasks import InactiveDefinition
from tests.support.world1 import World1

ARN = "arn:aws:ecs:us-east-1:123456789012:task-definition/own:7"


def test_one_that_is_gone_is_told_at_once(world1: World1) -> None:
    flow = world1.flow(storage={"type": "S3"})
    config = {"type": "ECSRun", "task_definition_arn": ARN}
    run = world1.server.add_run(flow, due=datetime.now(UTC), run_config=config)
    world1.poll()

    with mock.patch("fargate_agent.launcher.run_task", side_effect=InactiveDefinition(ARN)):
        assert world1.deliver() == []

    assert world1.state(run["id"]) == "Failed"
    assert f"{ARN}, which the run names, is not active" in world1.message(run["id"])
