"""Names of flows and deployments as attacks: no name leads out of the kwargs files' folder."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fargate_agent.external_kwargs import KwargsFiles
from fargate_agent.runs import FlowRun
from tests.support.aws import client_error, kwargs_model
from tests.support.values import flow_run

PREFIX = "team/kwargs"
OTHER_FLOW = "c2d2f3a4-0000-4000-8000-000000000009"
KEY = re.compile(r"team/kwargs/([a-z0-9-]+/)?[a-z0-9-]+\.json")
ATTACKS = (
    *("../../other/secret", "..", "/", "//", "a/b", "..%2f..%2fx", "%00", "a\0b", "\0"),
    *(
        "\u202egnp.exe",
        "\u200b",
        "\u2028",
        "\ufeffetl",
        "\ud800",
        "e\u0301tl",
        "\uff0e\uff0e\uff0f",
    ),
    *(
        "?",
        "🔥",
        "---",
        ".",
        " ",
        "",
        "CON",
        "~root",
        "$HOME",
        "$(id)",
        "a\r\nHost: x",
        "x" * 10_000,
    ),
    *("arn:aws:s3:::other/x", "s3://other/x", "*", "?versionId=1", "#", "{}", "%s%s%n"),
)


def keys_asked(run: FlowRun, code: str = "NoSuchKey") -> list[str]:
    """Return the keys that S3 is asked for, which answers each with an error code."""
    asked: list[str] = []

    def get_object(*, Bucket: str, Key: str) -> None:
        assert Bucket == "bucket"
        asked.append(Key)
        raise client_error(code, operation="GetObject")

    s3: Any = SimpleNamespace(get_object=get_object)
    assert KwargsFiles(s3, "bucket", PREFIX, kwargs_model()).read(run) == []
    return asked


names = st.text(max_size=200) | st.sampled_from(ATTACKS)


@settings(deadline=None, derandomize=True)
@given(flow=names, deployment=st.none() | names)
def test_whatever_the_names_only_files_below_the_prefix_are_asked_for(
    flow: str, deployment: str | None
):
    for key in keys_asked(flow_run(flow_name=flow, deployment_name=deployment)):
        assert KEY.fullmatch(key), key


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leads_out_of_the_prefix(name: str):
    (flow, *deployment) = keys_asked(flow_run(flow_name=name, deployment_name=name))

    assert all(KEY.fullmatch(key) for key in (flow, *deployment))
    assert flow.endswith("/b1d2f3a4.json")


@pytest.mark.parametrize("name", ["?", "🔥", "---", "\0", "\u202e", " "])
def test_a_flow_whose_name_leaves_nothing_has_a_file_by_its_id_and_a_deployment_none(name: str):
    assert keys_asked(flow_run(flow_name=name, deployment_name=name)) == [f"{PREFIX}/b1d2f3a4.json"]


@pytest.mark.parametrize(
    "other", ["load_orders", "LOAD ORDERS", "load\u200b orders", "Löad-orders!"]
)
def test_flows_whose_names_look_alike_have_files_of_their_own(other: str):
    first = keys_asked(flow_run(flow_name="Load orders", deployment_name=None))
    second = keys_asked(flow_run(flow_name=other, deployment_name=None, flow_id=OTHER_FLOW))

    assert first != second
    assert first[0].rpartition("/")[0] == second[0].rpartition("/")[0]


def test_a_deployment_named_as_its_flow_s_own_file_has_that_file_read_once():
    run = flow_run(deployment_name="b1d2f3a4")

    assert keys_asked(run) == [f"{PREFIX}/load-orders/b1d2f3a4.json"]


def test_a_name_too_long_for_a_key_has_no_file():
    assert keys_asked(flow_run(flow_name="x" * 2_000), "KeyTooLongError") != []


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_travels_in_a_message_as_it_is(name: str):
    run = flow_run(name=name, flow_name=name, deployment_name=name)

    body = run.to_message()

    assert FlowRun.from_message(body) == run
    assert body.isascii()
    assert not set(body) & set(map(chr, range(32)))
