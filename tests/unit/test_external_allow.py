"""What a kwargs file may set, where ``external_kwargs.allow`` says so."""

import io
import json
from collections.abc import Collection
from typing import Any

import pytest
from botocore.response import StreamingBody

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles
from tests.support.agent_toml import VALID, read, refusal
from tests.support.aws import kwargs_model, stubbed
from tests.support.values import flow_run

URL = "s3://bucket/kwargs/load-orders/b1d2f3a4.json"


def accepted(file: dict[str, Any], allow: Collection[str] | None) -> dict[str, Any]:
    """Read a flow's file where files may set this."""
    body = json.dumps(file).encode()
    with stubbed("s3") as (s3, script):
        stream = StreamingBody(io.BytesIO(body), len(body))
        script.add_response("get_object", {"Body": stream, "ContentLength": len(body)})
        files = KwargsFiles(s3, "bucket", "kwargs", kwargs_model(), allow)
        (found,) = files.read(flow_run(deployment_name=None))
    return found.values


def refused(file: dict[str, Any], allow: Collection[str]) -> str:
    with pytest.raises(PermanentError) as error:
        accepted(file, allow)
    return str(error.value)


ENVIRONMENT = [{"name": "A", "value": "1"}]
CONTAINER = {"containerDefinitions": [{"environment": ENVIRONMENT}]}
IMAGE = {"containerDefinitions": [{"environment": ENVIRONMENT, "image": "evil:1"}]}
EPHEMERAL = {"ephemeralStorage": {"sizeInGiB": 50}}


@pytest.mark.parametrize(
    ("file", "allow"),
    [
        ({"cpu": 1024, "taskRoleArn": "any"}, None),
        ({}, []),
        ({"cpu": 1024}, ["cpu"]),
        ({"cpu": 1024, "memory": 4096}, ["memory", "cpu"]),
        (EPHEMERAL, ["ephemeralStorage"]),
        (EPHEMERAL, ["ephemeralStorage.sizeInGiB"]),
        (CONTAINER, ["containerDefinitions"]),
        (CONTAINER, ["containerDefinitions.environment"]),
        (IMAGE, ["containerDefinitions.image", "containerDefinitions.environment"]),
        ({"containerDefinitions": json.dumps([{"environment": ENVIRONMENT}])}, None),
        (
            {"containerDefinitions": json.dumps([{"environment": ENVIRONMENT}])},
            ["containerDefinitions.environment"],
        ),
    ],
)
def test_what_is_allowed_is_read_as_it_is(file: dict[str, Any], allow: list[str] | None):
    assert accepted(file, allow) == file


@pytest.mark.parametrize(
    ("file", "allow", "path"),
    [
        ({"cpu": 1024}, [], "cpu"),
        ({"cpu": 1024, "memory": 4096}, ["cpu"], "memory"),
        ({"taskRoleArn": "arn:aws:iam::1:role/admin"}, ["cpu"], "taskRoleArn"),
        ({"cpuArchitecture": 1}, ["cpu"], "cpuArchitecture"),  # no prefix of a name is a path
        (IMAGE, ["containerDefinitions.environment"], "containerDefinitions.image"),
        (
            {"containerDefinitions": [{"cpu": 1}, {"image": "evil:1"}]},
            ["containerDefinitions.cpu"],
            "containerDefinitions.image",
        ),
        (
            {"containerDefinitions": json.dumps([{"image": "evil:1"}])},
            ["containerDefinitions.environment"],
            "containerDefinitions.image",
        ),
        ({"containerDefinitions": []}, ["cpu"], "containerDefinitions"),
        ({"overrides": {}}, ["cpu"], "overrides"),
        ({"overrides": {"taskRoleArn": None}}, ["overrides.cpu"], "overrides.taskRoleArn"),
        ({"overrides": {"cpu": "1", "memory": "2"}}, ["overrides.cpu"], "overrides.memory"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_file_the_path_and_the_remedy(
    file: dict[str, Any], allow: list[str], path: str
):
    assert refused(file, allow) == (
        f"{URL}: {path}: a kwargs file may not set it. Leave it out, or name it in "
        "external_kwargs.allow and deploy the agent again."
    )


# -- the setting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["cpu", "memory"],
        ["containerDefinitions", "containerDefinitions.environment"],
        ["containerDefinitions.logConfiguration.logDriver"],
        ["overrides.containerOverrides.environment", "networkConfiguration.awsvpcConfiguration"],
    ],
)
def test_the_paths_of_parameters_may_be_allowed(paths: list[str]):
    assert read(f"{VALID}[external_kwargs]\nallow = {paths!r}\n").external_kwargs.allow == paths


@pytest.mark.parametrize(
    "path",
    ["", "cpuu", "image", "containerDefinitions.imagee", "containerDefinitions.0", "cpu.x", "."],
)
def test_a_path_that_names_no_parameter_is_refused_with_an_example(path: str):
    message = refusal(f"{VALID}[external_kwargs]\nallow = ['cpu', '{path}']\n")

    assert message.startswith(f"FILE: external_kwargs.allow: {path!r} is no parameter of ")
    assert "containerDefinitions.environment" in message
    assert "\n" not in message
