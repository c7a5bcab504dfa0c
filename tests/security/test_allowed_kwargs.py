"""``external_kwargs.allow``: a file sets nothing else, whichever way it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles, external_key
from tests.support import stack_template
from tests.support.aws import kwargs_model, moto
from tests.support.values import flow_run
from tests.support.world import World
from tests.support.world1 import World1

ALLOW = ["cpu", "memory", "containerDefinitions.environment"]
EVIL = "evil.example/miner:latest"
OVERRIDE = {"containerOverrides": [{"name": "prefect", "command": ["sh"]}]}

FORBIDDEN: dict[str, tuple[dict[str, Any], str]] = {
    "an image": ({"containerDefinitions": [{"image": EVIL}]}, "containerDefinitions.image"),
    "an image beside what is allowed": (
        {"cpu": 512, "containerDefinitions": [{"environment": [], "image": EVIL}]},
        "containerDefinitions.image",
    ),
    "an image as JSON text": (
        {"containerDefinitions": json.dumps([{"image": EVIL}])},
        "containerDefinitions.image",
    ),
    "an image as Python text": (
        {"containerDefinitions": repr([{"image": EVIL}])},
        "containerDefinitions.image",
    ),
    "an image as a tuple in text": (
        {"containerDefinitions": repr(({"image": EVIL},))},
        "containerDefinitions.image",
    ),
    "an image as text within text": (
        {"containerDefinitions": json.dumps(json.dumps([{"image": EVIL}]))},
        "containerDefinitions",
    ),
    "an image in a second container": (
        {"containerDefinitions": [{"environment": []}, {"name": "other", "image": EVIL}]},
        "containerDefinitions.",
    ),
    "a command": ({"containerDefinitions": [{"command": ["sh"]}]}, "containerDefinitions.command"),
    "a secret": (
        {"containerDefinitions": [{"secrets": '[{"name": "A", "valueFrom": "arn"}]'}]},
        "containerDefinitions.secrets.",
    ),
    "no container at all": ({"containerDefinitions": []}, "containerDefinitions"),
    "an override": ({"overrides": OVERRIDE}, "overrides.containerOverrides."),
    "an override as text": ({"overrides": json.dumps(OVERRIDE)}, "overrides.containerOverrides."),
    "an empty override": ({"overrides": {}}, "overrides"),
    "a role": ({"taskRoleArn": "arn:aws:iam::123456789012:role/admin"}, "taskRoleArn"),
    "a role by an override": ({"overrides": {"taskRoleArn": "r"}}, "overrides.taskRoleArn"),
    "a cluster": ({"cluster": "foreign"}, "cluster"),
    "a family": ({"family": "another"}, "family"),
    "nothing": ({"cluster": None}, "cluster"),
    "a key that only begins as an allowed one": ({"cpuArchitecture": "x"}, "cpuArchitecture"),
    "the way to an allowed one as a key": (
        {"containerDefinitions": [{"environment.image": EVIL}]},
        "containerDefinitions",
    ),
    "a key with a dot": ({"containerDefinitions.environment": [], "image": 1}, "image"),
    "an empty key": ({"": {"image": EVIL}}, "image"),
}


@pytest.fixture
def read(aws: None) -> Callable[[dict[str, Any]], Any]:
    """Give a function that reads a file as an agent with these settings does."""
    moto("s3").create_bucket(Bucket="bucket")
    files = KwargsFiles(moto("s3"), "bucket", "kwargs", kwargs_model(), ALLOW)
    run = flow_run()

    def read(content: dict[str, Any]) -> Any:
        key = external_key("kwargs", run.flow_name, run.flow_id)
        moto("s3").put_object(Bucket="bucket", Key=key, Body=json.dumps(content).encode())
        (file,) = files.read(run)
        return kwargs_model().split(file.values, file.url)

    return read


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_is_not_allowed_is_refused(read: Callable[[dict[str, Any]], Any], case: str) -> None:
    content, path = FORBIDDEN[case]

    with pytest.raises(PermanentError) as error:
        read(content)

    url = "s3://bucket/kwargs/load-orders/b1d2f3a4.json"
    assert str(error.value).startswith(f"{url}: {path}")
    assert EVIL not in str(error.value)


def test_what_is_allowed_is_taken_in_every_form(read: Callable[[dict[str, Any]], Any]) -> None:
    entry = {"name": "A", "value": "1"}
    for containers in ([{"environment": [entry]}], json.dumps([{"environment": [entry]}])):
        split = read({"cpu": 512, "memory": "1024", "containerDefinitions": containers})
        assert split.definition == {"cpu": "512", "memory": "1024"}
        assert split.container == {"environment": [entry]}


@pytest.mark.xdist_group("prefect")
@pytest.mark.parametrize("of_deployment", [False, True])
def test_a_run_is_told_what_its_file_may_not_set(
    world: World, prefect_url: str, of_deployment: bool
) -> None:
    prefect = {"api_url": prefect_url, "work_pool": world.pool}
    world.deploy(stack_template.config(prefect=prefect, external_kwargs={"allow": ALLOW}))
    deployment = world.deployment()
    put = world.put_deployment_kwargs if of_deployment else world.put_kwargs
    url = put(deployment, {"containerDefinitions": repr([{"image": EVIL}])})
    run = world.schedule(deployment)
    world.poll()

    assert world.deliver() == []

    assert world.run(run)["state_type"] == "CRASHED"
    assert world.message(run).startswith(f"{url}: containerDefinitions.image: ")
    assert "external_kwargs.allow" in world.message(run)
    assert world.tasks() == []
    assert world.requests("RegisterTaskDefinition") == []


@pytest.mark.parametrize("kind", ["run config", "task environment"])
def test_a_run_of_prefect_1_is_told_what_its_file_may_not_set(world1: World1, kind: str) -> None:
    world = world1
    world.deploy(world.settings(external_kwargs={"allow": [*ALLOW, "family"]}))
    file = {"family": "etl", "containerDefinitions": repr([{"image": EVIL, "name": "first"}])}
    if kind == "task environment":
        flow = world.task_environment(file)
    else:
        flow = world.flow()
        world.put_kwargs(flow, file)
    run = world.schedule(flow)
    world.poll()

    assert world.deliver() == []

    assert world.state(run) == "Failed"
    assert "containerDefinitions.image" in world.message(run)
    assert world.tasks() == []
    assert world.params("RegisterTaskDefinition") == []
