"""A flow's kwargs file and its deployment's: which are read, and which is the stronger."""

import io
from typing import Any

import pytest
from botocore.response import StreamingBody

from fargate_agent.external_kwargs import KwargsFile, KwargsFiles, deployment_key, external_key
from fargate_agent.kwargs import stacked
from tests.support.aws import kwargs_model, stubbed
from tests.support.values import flow_run

FLOWS, DEPLOYMENTS = "kwargs/load-orders/b1d2f3a4.json", "kwargs/load-orders/nightly.json"


def read(*files: tuple[str, str | None], **run: Any) -> list[KwargsFile]:
    """Read the files, in this order; None stands for one that is not there."""
    with stubbed("s3") as (s3, script):
        for key, content in files:
            asked = {"Bucket": "bucket", "Key": key}
            if content is None:
                script.add_client_error("get_object", "NoSuchKey", expected_params=asked)
                continue
            body = StreamingBody(io.BytesIO(content.encode()), len(content))
            answer = {"Body": body, "ContentLength": len(content)}
            script.add_response("get_object", answer, asked)
        return KwargsFiles(s3, "bucket", "kwargs", kwargs_model()).read(flow_run(**run))


def test_the_flows_file_is_read_then_the_deployments():
    assert read((FLOWS, '{"cpu": 1}'), (DEPLOYMENTS, '{"cpu": 2}')) == [
        KwargsFile(f"s3://bucket/{FLOWS}", {"cpu": 1}),
        KwargsFile(f"s3://bucket/{DEPLOYMENTS}", {"cpu": 2}),
    ]


@pytest.mark.parametrize("present", [FLOWS, DEPLOYMENTS])
def test_either_may_be_missing(present: str):
    files = [(key, "{}" if key == present else None) for key in (FLOWS, DEPLOYMENTS)]

    assert [file.url for file in read(*files)] == [f"s3://bucket/{present}"]


def test_both_may_be_missing():
    assert read((FLOWS, None), (DEPLOYMENTS, None)) == []


@pytest.mark.parametrize("name", [None, "", "???", "🎉"])
def test_a_run_without_a_deployment_or_a_name_for_its_file_has_the_flows_alone(name: str | None):
    assert len(read((FLOWS, "{}"), deployment_name=name)) == 1


def test_without_a_bucket_nothing_is_read():
    with stubbed("s3") as (s3, _):
        assert KwargsFiles(s3, None, "kwargs", kwargs_model()).read(flow_run()) == []


def test_the_deployments_file_stands_above_the_flows_and_variables_merge_by_name():
    def split(file: dict[str, Any]) -> Any:
        return kwargs_model().split(file, "s3://bucket")

    def container(**variables: str) -> list[dict[str, Any]]:
        entries = [{"name": name, "value": value} for name, value in variables.items()]
        return [{"environment": entries}]

    flows = split({"cpu": 1, "memory": 1, "containerDefinitions": container(A="flow", B="flow")})
    deployments = split({"cpu": 2, "containerDefinitions": container(B="deployment")})

    both = stacked(flows, deployments)

    assert both.definition == {"cpu": "2", "memory": "1"}
    assert both.container == container(A="flow", B="deployment")[0]


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "flow", "deployment", "key"),
    [
        ("kwargs", "Load orders", "nightly", "kwargs/load-orders/nightly.json"),
        ("kwargs", "Load orders", "Nightly (EU)", "kwargs/load-orders/nightly-eu.json"),
        ("/team/kwargs/", "etl", "x", "team/kwargs/etl/x.json"),
        ("", "etl", "x", "etl/x.json"),
        ("", "etl", "../../x", "etl/x.json"),
        ("", "Größe", "Süd", "grosse/sud.json"),
    ],
)
def test_a_deployments_file_is_named_by_flow_and_deployment(
    prefix: str, flow: str, deployment: str, key: str
):
    assert deployment_key(prefix, flow, deployment) == key


def test_a_flows_file_is_named_as_ever():
    assert (
        external_key("kwargs", "Load orders", "b1d2f3a4-0000") == "kwargs/load-orders/b1d2f3a4.json"
    )
