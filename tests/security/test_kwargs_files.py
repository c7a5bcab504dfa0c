"""Kwargs files as attacks: each crashes the runs of its own flow, which are told, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles, external_key
from fargate_agent.kwargs import Kwargs
from fargate_agent.runs import FlowRun
from tests.support.aws import kwargs_model, moto
from tests.support.values import flow_run
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


def nested(depth: int, opening: str, closing: str, inner: str = "1") -> str:
    return opening * depth + inner + closing * depth


def container(field: str, text: str) -> bytes:
    return f'{{"containerDefinitions": [{{"{field}": {text}}}]}}'.encode()


ATTACKS: dict[str, bytes] = {
    "of 10 MiB": b" " * (10 * 1024 * 1024),
    "lists 10,000 deep": f'{{"tags": {nested(10_000, "[", "]")}}}'.encode(),
    "objects 10,000 deep": nested(10_000, '{"cpu":', "}").encode(),
    "text that is 10,000 lists": json.dumps({"tags": nested(10_000, "[", "]")}).encode(),
    "text that is 10,000 minus signs": json.dumps({"tags": "-" * 10_000 + "1"}).encode(),
    **{
        f"lists {depth} deep": f'{{"tags": {nested(depth, "[", "]")}}}'.encode()
        for depth in (100, 500, 900, 950, 980)
    },
    **{
        f"labels {depth} deep": container("dockerLabels", nested(depth, '{"a":', "}"))
        for depth in (100, 500, 900, 950, 980)
    },
    "a key with NUL": b'{"cpu\\u0000": "1"}',
    "a key with half a character": b'{"\\ud800": "1"}',
    "a key that turns the line": '{"\u202ecpu": "1"}'.encode(),
    "a key that looks alike": '{"\u0441pu": "1"}'.encode(),  # Cyrillic
    "a key of another case": b'{"CPU": "1"}',
    "a key of a megabyte": json.dumps({"a" * 1_000_000: 1}).encode(),
    "a dunder": b'{"__class__": {"__init__": "x"}}',
    "half a character where a number belongs": container("cpu", '"\\ud800"'),
    "a key twice": b'{"cpu": "256", "cpu": "4096"}',
    "a key twice, deep inside": container("image", '"a", "image": "b"'),
    "not a number": container("cpu", "NaN"),
    "infinite": container("memory", "Infinity"),
    "a number beyond all": container("cpu", "1e999"),
    "not a number in text": container("cpu", '"nan"'),
    "a number of 10,000 digits": container("cpu", "9" * 10_000),
    "10,000 digits in text": container("cpu", f'"{"9" * 10_000}"'),
    "a power tower": json.dumps({"tags": "10**10**10"}).encode(),
    "a call": json.dumps({"tags": "__import__('os').system('true')"}).encode(),
    "UTF-16": '{"cpu": "1"}'.encode("utf-16"),
    "zeros": b"\0" * 1000,
    "its own client token": b'{"clientToken": "mine"}',
    "another start": b'{"startedBy": "somebody"}',
    "a thousand tasks": b'{"count": 1000}',
    "another definition": b'{"taskDefinition": "admin:1"}',
}


TOLD = (
    *("of 10 MiB", "objects 10,000 deep", "labels 950 deep", "a key with NUL", "a call"),
    *("a key with half a character", "half a character where a number belongs"),
    *("a key that turns the line", "a key of a megabyte", "a thousand tasks"),
)
"""Attacks that the server and its database meet too, in what the run is told."""


def split_files(files: KwargsFiles, run: FlowRun) -> list[Kwargs]:
    return [kwargs_model().split(file.values, file.url) for file in files.read(run)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_for_good_by_the_name_of_its_file(aws: None, attack: str) -> None:
    moto("s3").create_bucket(Bucket="bucket")
    run, allowed = flow_run(), ["cpu", "tags", "containerDefinitions"]
    files = KwargsFiles(moto("s3"), "bucket", "kwargs", kwargs_model(), allowed)
    key = external_key("kwargs", run.flow_name, run.flow_id)
    moto("s3").put_object(Bucket="bucket", Key=key, Body=ATTACKS[attack])

    with pytest.raises(PermanentError) as error:
        split_files(files, run)

    assert str(error.value).startswith(f"s3://bucket/{key}: ")


def test_attacks_are_told_to_their_own_runs_and_disturb_no_other(world: World) -> None:
    runs = {}
    for number, attack in enumerate(TOLD):
        deployment = world.deployment(f"flow {number}")
        world.put_kwargs(deployment, ATTACKS[attack], flow=f"flow {number}")
        runs[attack] = world.schedule(deployment)
    good = world.schedule(world.deployment("good"))
    world.poll()

    came_back = [*world.deliver(), *world.deliver()]

    assert came_back == []
    assert world.unacknowledged() == 0
    told = {attack: world.run(run)["state"] for attack, run in runs.items()}
    assert {attack: s["type"] for attack, s in told.items() if s["type"] != "CRASHED"} == {}
    for attack, state in told.items():
        said = f"{attack}: {state['message'][:300]}"
        assert state["message"].startswith(f"s3://{world.bucket}/kwargs/flow-"), said
        assert len(state["message"]) < 20_000, said
        assert len(world.logs(runs[attack])) == 1, said
    assert [task["startedBy"] for task in world.tasks()] == [good]


@pytest.mark.parametrize(
    "text",
    ["\u202eexe.sh", "a\u200bb", "\u0430dmin", "naïve", "'; DROP TABLE", "$(id)", "{{ cpu }}"],
)
def test_a_text_of_any_kind_reaches_the_container_as_it_is_written(world: World, text: str) -> None:
    deployment = world.deployment()
    entry = {"name": "GIVEN", "value": text}
    world.put_kwargs(deployment, {"containerDefinitions": [{"environment": [entry]}]})

    task = world.launched(deployment)

    told: list[Any] = []
    definition = world.definition(task["taskDefinitionArn"])
    for place in (*definition["containerDefinitions"], *task["overrides"]["containerOverrides"]):
        told += [e["value"] for e in place.get("environment", []) if e["name"] == "GIVEN"]
    assert told == [text]
