"""``plan``: what it says is what a launch then does, and nothing is launched."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fargate_agent import settings
from tests.support import aws, stack_template
from tests.support.command_line import CommandLine
from tests.support.world import World
from tests.support.world1 import World1

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


@pytest.fixture
def cli(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return CommandLine(world, monkeypatch, capsys)


def _deploy(world: World, **sections: Any) -> None:
    """Change the agent's settings; what its stack made stays."""
    prefect = {"api_url": settings.load().api_url, "work_pool": world.pool}
    world.deploy(stack_template.config(prefect=prefect, **sections))


def _sources(values: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return each value and its source by its path, in the flow's container without that."""
    flow = re.compile(r"^(overrides.containerOverrides|containerDefinitions)\[(prefect|flow)\]\.")
    return {flow.sub("", v["path"]): (v["value"], v["source"]) for v in values}


def test_every_value_has_its_source(world: World, cli: CommandLine) -> None:
    _deploy(world, agent={"env": {"FROM": "agent.toml"}}, ecs={"kwargs": {"memory": "4096"}})
    world.set_default(cpu=512)
    deployment = world.deployment(env={"ITS": "deployment's"})
    url = world.put_kwargs(deployment, {"memory": "8192"})
    own = world.put_deployment_kwargs(deployment, {"ephemeralStorage": {"sizeInGiB": 40}})
    run = world.schedule(deployment, job_variables={"env": {"ITS": "run's"}})

    (plan,) = cli.json("plan", run)

    definition, request = _sources(plan["definition"]), _sources(plan["request"])
    assert definition["image"] == ("example/flows:1", "the deployment")
    assert definition["cpu"] == ("512", "the work pool")
    assert definition["memory"] == ("8192", url)
    assert definition["ephemeralStorage.sizeInGiB"] == ("40", own)
    assert definition["networkMode"] == ("awsvpc", "the agent")
    assert definition["taskRoleArn"][1] == "the stack"
    assert request["environment[FROM]"] == ("agent.toml", "agent.toml")
    assert request["environment[ITS]"] == ("run's", "the flow run")
    assert request["cluster"] == (world.cluster, "the stack")
    assert request["tags[prefect.io/flow-run-id]"] == (run, "the agent")
    assert plan["state"] == "SCHEDULED"
    assert world.tasks() == []


def test_a_plan_asks_exactly_what_the_launch_asks(world: World, cli: CommandLine) -> None:
    run = world.schedule(world.deployment(env={"ITS": "own"}))
    (plan,) = cli.json("plan", run)
    world.poll()
    world.deliver()

    (asked,) = [call.params for call in world.recorder.calls if call.operation == "RunTask"]
    registered = asked["taskDefinition"].rpartition("/")[2]
    named = {"taskDefinition": registered.replace(":1", ":NEW")}
    assert plan["run_task"] == json.loads(json.dumps({**asked, **named}))
    assert (plan["action"], plan["revision"]) == ("register", None)


def test_an_unchanged_definition_is_reused_and_a_changed_one_named(
    world: World, cli: CommandLine
) -> None:
    deployment = world.deployment()
    revision = world.launched(deployment)["taskDefinitionArn"].rpartition("/")[2]
    (unchanged,) = cli.json("plan", deployment)
    world.change_deployment(deployment, job_variables={"image": "example/flows:2"})
    (changed,) = cli.json("plan", deployment)

    assert (unchanged["action"], unchanged["revision"]) == ("reuse", revision)
    assert unchanged["why"] == ["nothing differs"]
    assert (changed["action"], changed["latest"]) == ("register", revision)
    assert changed["why"] == [
        "container 'prefect'.image is 'example/flows:2' here and 'example/flows:1' there"
    ]
    (image,) = [value for value in changed["definition"] if value["value"] != value["before"]]
    assert (image["before"], image["value"]) == ("example/flows:1", "example/flows:2")


def test_blocks_are_named_and_not_shown(world: World, cli: CommandLine) -> None:
    block, variable = world.block("canary-of-a-block"), world.variable("the blue one")
    env = {
        "TOKEN": f"Bearer {block.placeholder}",
        "HOUSE": f"{{{{ prefect.variables.{variable} }}}}",
    }
    deployment = world.deployment(env=env)

    (plan,) = cli.json("plan", deployment)
    text = cli("plan", deployment, "--request")

    shown = _sources(plan["request"])
    assert shown["environment[TOKEN]"] == (f"Bearer <block secret/{block.name}>", "the deployment")
    assert shown["environment[HOUSE]"] == ("the blue one", "the deployment")
    assert "canary" not in text + json.dumps(plan)


def test_a_block_that_is_overridden_is_not_shown_as_what_was_before(
    world: World, cli: CommandLine
) -> None:
    block = world.block("canary-of-a-block")
    world.set_default(env={"TOKEN": block.placeholder, "GONE": block.placeholder})
    deployment = world.deployment(env={"TOKEN": "the deployment's own"})

    (plan,) = cli.json("plan", deployment)

    before = {value["path"]: value["before"] for value in plan["request"]}
    told = [v for path, v in before.items() if path.endswith(("[TOKEN]", "[GONE]"))]
    assert told == [f"<block secret/{block.name}>"] * 2
    assert "canary" not in json.dumps(plan)


def test_a_flow_stands_for_its_deployments(world: World, cli: CommandLine) -> None:
    first, second = world.deployment("of two", "first"), world.deployment("of two", "second")
    flow_id = world.prefect.get(f"/deployments/{first}")["flow_id"]

    titles = {
        name: [plan["title"] for plan in cli.json("plan", name)]
        for name in ("of two", flow_id, "of two/first", "second", second)
    }

    one, other = "deployment of two/first", "deployment of two/second"
    assert sorted(titles["of two"]) == sorted(titles[flow_id]) == [one, other]
    assert titles["of two/first"] == [one]
    assert titles["second"] == titles[second] == [other]


def test_an_unknown_name_and_another_pools_run_are_told(world: World, cli: CommandLine) -> None:
    world.deployment("load-orders")
    own, world.pool = world.pool, "of-others"
    foreign = world.schedule(world.deployment())

    assert cli.fails("plan", "load-oders") == (
        f"The work pool {own!r} has no flow, deployment or flow run 'load-oders'. Did you mean "
        "'load-orders'?"
    )
    assert "is of the work pool 'of-others'" in cli.fails("plan", foreign)


def test_what_would_crash_the_run_is_told_before(world: World, cli: CommandLine) -> None:
    deployment = world.deployment(network_configuration={"subnets": ["subnet-1"]})
    url = world.put_kwargs(world.deployment("other"), {"memmory": 1}, flow="other")

    assert "'network_configuration' is set and 'vpc_id' is not" in cli.fails("plan", deployment)
    said = cli.fails("plan", "other")
    assert said.startswith("deployment other/")
    assert f": {url}: memmory: not a parameter" in said


def test_drift_that_fails_is_a_plan_too(world: World, cli: CommandLine) -> None:
    _deploy(world, ecs={"on_drift": "fail"})
    deployment = world.deployment()
    world.launched(deployment)
    world.change_deployment(deployment, job_variables={"image": "example/flows:2"})

    (plan,) = cli.json("plan", deployment)

    assert plan["action"] == "refuse"
    assert "image is 'example/flows:2' here" in plan["why"][0]


def test_a_revision_that_the_run_names_is_run_as_it_is(world: World, cli: CommandLine) -> None:
    containers = [{"name": "prefect", "image": "example/flows:1", "memory": 512}]
    registered = aws.moto("ecs").register_task_definition(
        family="named", containerDefinitions=containers, networkMode="awsvpc"
    )["taskDefinition"]["taskDefinitionArn"]
    deployment = world.deployment(task_definition_arn=registered)

    (plan,) = cli.json("plan", deployment)

    assert (plan["action"], plan["why"]) == ("named", ["the run names it"])
    assert plan["run_task"]["taskDefinition"] == registered


def test_a_finished_run_would_not_be_launched(world: World, cli: CommandLine) -> None:
    run = world.schedule(world.deployment())
    world.set_state(run, "COMPLETED")

    assert "The run is COMPLETED: nothing would be launched now." in cli("plan", run)


class TestPrefect1:
    """Flows and runs of Prefect 1."""

    @pytest.fixture
    def cli(
        self, world1: World1, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> CommandLine:
        return CommandLine(world1, monkeypatch, capsys)

    def test_a_run_is_planned_as_it_is_launched(self, world1: World1, cli: CommandLine) -> None:
        flow = world1.flow("My Flow", run_config={"type": "ECSRun", "cpu": "512"})
        url = world1.put_file("My Flow", flow["id"], {"memory": "4096"})
        run = world1.schedule(flow)

        (plan,) = cli.json("plan", run)
        (of_flow,) = cli.json("plan", "My Flow")
        world1.poll()
        world1.deliver()

        values = _sources(plan["definition"])
        assert values["memory"] == ("4096", url)
        assert _sources(plan["request"])["overrides.cpu"] == ("512", "the run config")
        assert _sources(of_flow["definition"]) == values
        (asked,) = [call.params for call in world1.recorder.calls if call.operation == "RunTask"]
        assert plan["run_task"]["overrides"] == asked["overrides"]

    def test_an_unknown_flow_is_told(self, world1: World1, cli: CommandLine) -> None:
        assert cli.fails("plan", "etl") == (
            "There is no flow and no flow run 'etl'. Correct the name."
        )
