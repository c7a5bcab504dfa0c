"""What a run's template refers to: blocks and variables of Prefect's server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from fargate_agent.runs import FlowRun
from tests.support.world import Block, World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start

CANARY = "canary-7f3a"


def told(world: World, deployment: str, **body: Any) -> dict[str, str]:
    """Launch a run, and return the environment that its task is told."""
    return environment(world.launched(deployment, **body))


def set_in_template(world: World, **fields: Any) -> None:
    """Set fields of the pool's template, in which the server wants every name declared."""

    def change(template: dict[str, Any]) -> None:
        template["job_configuration"].update(fields)
        for name in re.findall(r"{{ (prefect\.[\w.-]+) }}", str(fields)):
            template["variables"]["properties"][name] = {"type": "string"}

    world.customise(change)


def reads(world: World) -> list[str]:
    """Return what was read of Prefect, by GET: no claim, no report."""
    return [path for method, path in world.prefect_calls if method == "GET"]


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (lambda block: block.placeholder, CANARY),
        (lambda block: block.attribute(".value"), CANARY),
        (lambda block: f"Bearer {block.placeholder}!", f"Bearer {CANARY}!"),
    ],
    ids=["by name", "by attribute", "inside text"],
)
def test_a_secret_block_is_read(world: World, write: Callable[[Block], str], value: str) -> None:
    block = world.block(CANARY)

    assert told(world, world.deployment(env={"TOKEN": write(block)}))["TOKEN"] == value


def test_a_secret_of_several_fields_is_read_by_one_of_them(world: World) -> None:
    block = world.block({"user": "etl", "keys": ["one", {"password": CANARY}]})
    env = {"PASSWORD": block.attribute(".value.keys[1].password"), "USER": block.attribute(".user")}

    environment = told(world, world.deployment(env=env))

    assert (environment["PASSWORD"], environment["USER"]) == (CANARY, "etl")


@pytest.mark.parametrize("anonymous", [False, True], ids=["with a name", "anonymous"])
def test_a_block_is_read_by_its_id(world: World, anonymous: bool) -> None:
    block = world.block(CANARY, anonymous=anonymous)
    set_in_template(world, env=block.reference)

    assert told(world, world.deployment())["value"] == CANARY


@pytest.mark.parametrize(
    ("value", "alone", "inside"),
    [
        pytest.param("blue", "blue", "the blue one", id="text"),
        pytest.param(7, "7", "the 7 one", id="number"),
        pytest.param(
            {"a": 1}, "{'a': 1}", "the {'a': 1} one", id="table", marks=pytest.mark.prefect3
        ),
    ],
)
def test_a_variable_is_read(world: World, value: Any, alone: str, inside: str) -> None:
    placeholder = f"{{{{ prefect.variables.{world.variable(value)} }}}}"
    env = {"ALONE": placeholder, "INSIDE": f"the {placeholder} one"}

    environment = told(world, world.deployment(env=env))

    assert (environment["ALONE"], environment["INSIDE"]) == (alone, inside)


@pytest.mark.prefect3
def test_a_variable_may_hold_a_whole_table(world: World) -> None:
    name = world.variable({"COLOUR": "blue", "SIZE": 7})
    placeholder = f"{{{{ prefect.variables.{name} }}}}"
    set_in_template(world, env=placeholder)

    environment = told(world, world.deployment())

    assert (environment["COLOUR"], environment["SIZE"]) == ("blue", "7")


def test_a_missing_variable_is_empty(world: World) -> None:
    env = {"COLOUR": "{{ prefect.variables.nowhere }}"}

    assert told(world, world.deployment(env=env))["COLOUR"] == ""


@pytest.mark.parametrize("place", ["template", "pool default", "deployment", "run"])
def test_a_reference_may_stand_anywhere(world: World, place: str) -> None:
    env = {"TOKEN": world.block(CANARY).placeholder}
    body: dict[str, Any] = {}
    if place == "template":
        set_in_template(world, env=env)
    elif place == "pool default":
        world.set_default(env=env)
    elif place == "run":
        body = {"job_variables": {"env": env}}
    deployment = world.deployment(**({"env": env} if place == "deployment" else {}))

    assert told(world, deployment, **body)["TOKEN"] == CANARY


def test_a_changed_block_is_seen_by_the_very_next_run(world: World) -> None:
    block = world.block("old")
    deployment = world.deployment(env={"TOKEN": block.placeholder})

    assert told(world, deployment)["TOKEN"] == "old"
    world.change_block(block, "new")
    assert told(world, deployment)["TOKEN"] == "new"


def test_a_changed_block_is_seen_by_its_id_too(world: World) -> None:
    block = world.block("old", anonymous=True)
    set_in_template(world, env=block.reference)
    deployment = world.deployment()

    assert told(world, deployment)["value"] == "old"
    world.change_block(block, "new")
    assert told(world, deployment)["value"] == "new"


def test_a_changed_block_within_another_is_seen_by_the_very_next_run(world: World) -> None:
    key = {"aws_access_key_id": "AKIA"}
    inner = world.block({**key, "aws_secret_access_key": "old"}, "aws-credentials")
    outer = world.block({"bucket_name": "b", "credentials": inner.reference}, "s3-bucket")
    token = outer.attribute(".credentials.aws_secret_access_key")
    deployment = world.deployment(env={"TOKEN": token})

    assert told(world, deployment)["TOKEN"] == "old"
    world.change_block(inner, {**key, "aws_secret_access_key": "new"})
    assert told(world, deployment)["TOKEN"] == "new"


def test_a_changed_variable_is_seen_by_the_very_next_run(world: World) -> None:
    name = world.variable("old")
    deployment = world.deployment(env={"COLOUR": f"{{{{ prefect.variables.{name} }}}}"})

    assert told(world, deployment)["COLOUR"] == "old"
    world.change_variable(name, "new")
    assert told(world, deployment)["COLOUR"] == "new"


def test_a_variable_made_later_is_seen_by_the_very_next_run(world: World) -> None:
    name = world.variable("soon")
    world.prefect.send("DELETE", f"/variables/name/{name}")
    deployment = world.deployment(env={"COLOUR": f"{{{{ prefect.variables.{name} }}}}"})

    assert told(world, deployment)["COLOUR"] == ""
    world.prefect.post("/variables/", {"name": name, "value": "now"})
    assert told(world, deployment)["COLOUR"] == "now"
    world.prefect.send("DELETE", f"/variables/name/{name}")
    assert told(world, deployment)["COLOUR"] == ""


@pytest.mark.prefect3
def test_a_steady_state_run_reads_nothing(world: World) -> None:
    deployment = everything(world)
    world.launched(deployment)
    run = world.schedule(deployment)
    world.poll()
    world.prefect_calls.clear()

    world.deliver()

    assert reads(world) == []
    called = [(method, path.partition("/flow_runs/")[2]) for method, path in world.prefect_calls]
    assert called == [
        ("POST", f"{run}/set_state"),
        ("PATCH", run),
        ("POST", "filter"),
        ("POST", ""),  # its log
        ("PATCH", f"{run}/labels"),
    ]


def test_a_missing_variable_is_asked_for_once_in_a_launch(world: World) -> None:
    world.launched(world.deployment(env={"COLOUR": "{{ prefect.variables.nowhere }}"}))

    assert reads(world).count("/variables/name/nowhere") == 1


def test_a_poll_makes_three_calls_more_however_much_is_referred_to(world: World) -> None:
    polled(world, [world.deployment()])  # the flow's name is asked for once
    plain = polled(world, [world.deployment()])
    deployments = [everything(world) for _ in range(3)]

    calls = polled(world, deployments)

    filters = ["/block_documents/filter", "/block_documents/filter", "/variables/filter"]
    assert sorted(path for path in calls if path not in plain) == filters
    assert len(calls) == len(plain) + 3


def polled(world: World, deployments: list[str]) -> list[str]:
    """Poll runs of deployments; return what was called."""
    world.poll()
    for deployment in deployments:
        world.schedule(deployment)
    world.prefect_calls.clear()
    assert world.poll() == len(deployments)
    calls = [path for _, path in world.prefect_calls]
    world.deliver()
    return calls


def test_runs_that_refer_to_nothing_cost_no_call(world: World) -> None:
    world.schedule(world.deployment())
    world.poll()

    paths = {path for _, path in world.prefect_calls}
    assert not paths & {"/block_documents/filter", "/variables/filter"}


def test_a_deleted_block_crashes_its_own_run_with_its_name(world: World) -> None:
    block = world.block(CANARY)
    lost, good = world.deployment(env={"TOKEN": block.placeholder}), world.deployment()
    world.launched(lost)
    world.prefect.send("DELETE", f"/block_documents/{block.id}")
    lost_run, good_run = world.schedule(lost), world.schedule(good)
    world.poll()

    assert world.deliver() == []

    assert world.run(lost_run)["state_type"] == "CRASHED"
    assert f"The block '{block.name}' of type 'secret'" in world.message(lost_run)
    assert world.task_of(good_run)


def test_a_block_deleted_by_its_id_is_told_by_its_id(world: World) -> None:
    block = world.block(CANARY)
    world.set_default(labels=block.reference)
    run = world.schedule(world.deployment())
    world.prefect.send("DELETE", f"/block_documents/{block.id}")
    world.poll()
    world.deliver()

    assert f"The block of the id {block.id}" in world.message(run)


def test_an_attribute_that_a_block_lacks_is_named(world: World) -> None:
    block = world.block(CANARY)
    run = world.schedule(world.deployment(env={"TOKEN": block.attribute(".value.password")}))
    world.poll()
    world.deliver()

    assert "asks for 'value.password', which the block does not have" in world.message(run)
    assert CANARY not in world.message(run)


NONSENSE: dict[str, dict[str, Any]] = {
    "an id that is none": {"extra": {"$ref": {"block_document_id": "nonsense"}}},
    "an id that is a table": {"extra": {"$ref": {"block_document_id": {"a": 1}}}},
    "an empty reference": {"extra": {"$ref": {}}},
    "a reference to text": {"extra": {"$ref": "#/definitions/AwsCredentials"}},
    "no block": {"extra": "{{ prefect.blocks. }}"},
    "a type without a block": {"extra": "{{ prefect.blocks.secret }}"},
    "dots": {"extra": "{{ prefect.blocks.... }}"},
    "no variable": {"extra": "{{ prefect.variables. }}"},
    "a long name": {"extra": "{{ prefect.variables." + 500 * "x" + " }}"},
    "a type in capitals": {"extra": "{{ prefect.blocks.SECRET.x }}"},
    "dotted into text": {"extra": "text", "extra.more": "text"},
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_in_one_run_does_not_stop_the_others(world: World, case: str) -> None:
    block = world.block(CANARY)
    deployment = world.deployment(env={"TOKEN": block.placeholder})
    world.launched(deployment)
    world.schedule(deployment, job_variables=NONSENSE[case])
    good = world.schedule(deployment)
    world.prefect_calls.clear()

    assert world.poll() == 2
    assert world.deliver() == []

    assert environment(world.task_of(good))["TOKEN"] == CANARY
    assert not [path for path in reads(world) if "block" in path or "variables" in path]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{{ prefect.blocks.secret }}", "names no block"),
        ("{{ prefect.blocks.secret.nowhere }}", "The block 'nowhere' of type 'secret'"),
        ("{{ prefect.blocks.nothing.nowhere }}", "The block 'nowhere' of type 'nothing'"),
    ],
)
def test_nonsense_that_a_run_uses_is_told_to_it_alone(world: World, value: str, words: str) -> None:
    deployment = world.deployment()
    bad = world.schedule(deployment, job_variables={"env": {"X": value}})
    good = world.schedule(deployment)
    world.poll()

    assert world.deliver() == []

    assert world.run(bad)["state_type"] == "CRASHED"
    assert words in world.message(bad)
    assert world.task_of(good)


@pytest.mark.parametrize("name", [500 * "x", "", ".."], ids=["long", "none", "dots"])
def test_a_variable_with_a_name_that_cannot_be_is_empty(world: World, name: str) -> None:
    env = {"X": f"{{{{ prefect.variables.{name} }}}}"}

    assert told(world, world.deployment(), job_variables={"env": env})["X"] == ""


def test_an_id_that_is_none_is_told(world: World) -> None:
    set_in_template(world, env={"$ref": {"block_document_id": "nonsense"}})
    run = world.schedule(world.deployment())
    world.poll()
    assert world.deliver() == []

    assert "The block of the id nonsense" in world.message(run)


def test_a_secret_is_in_the_overrides_of_its_own_run_and_nowhere_else(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    token = world.block(CANARY).placeholder
    deployment = world.deployment(env={"TOKEN": token}, command=f"prefect --token {token}")
    run, other = world.schedule(deployment), world.schedule(world.deployment())
    world.poll()
    records = world.receive()
    assert world.dispatch(records) == []

    assert CANARY in str(world.request_of(run))
    assert CANARY not in str(world.request_of(other))
    sent = [call for call in world.recorder.calls if call.operation != "RunTask"]
    assert CANARY not in str([records, sent, world.logs(run), world.run(run)])
    assert CANARY not in str(world.definition(world.task_of(run)["taskDefinitionArn"]))
    assert CANARY not in caplog.text + "".join(capfd.readouterr())


def test_a_secret_that_makes_no_task_is_not_repeated(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    block = world.block(CANARY)

    container = {"image": "{{ image }}", "memoryReservation": block.placeholder}
    set_in_template(world, task_definition={"containerDefinitions": [container]})
    run = world.schedule(world.deployment())
    world.poll()
    assert world.deliver() == []

    assert world.run(run)["state_type"] == "CRASHED"
    assert CANARY not in world.message(run) + caplog.text


def everything(world: World) -> str:
    """Deploy with a block by its name, another by its id, and a variable."""
    reference = world.block("data").reference
    world.set_default(labels=reference)
    env = {
        "TOKEN": world.block(CANARY).placeholder,
        "COLOUR": f"{{{{ prefect.variables.{world.variable('blue')} }}}}",
    }
    return world.deployment(env=env)


def test_messages_name_what_a_run_refers_to_and_when_it_changed(world: World) -> None:
    block, name = world.block(CANARY), world.variable(CANARY)
    env = {"TOKEN": block.placeholder, "COLOUR": f"{{{{ prefect.variables.{name} }}}}"}
    world.schedule(world.deployment(env=env))
    world.poll()

    (record,) = world.receive()
    run = FlowRun.from_message(record["body"])
    assert run.references.keys() == {f"blocks.secret.{block.name}", f"variables.{name}"}
    assert CANARY not in record["body"]
