"""The file in S3: found, absent, out of reach or wrong."""

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import MAX_BYTES, read_external
from fargate_agent.kwargs import Kwargs
from tests.support.aws import kwargs_model, stubbed

URL = "s3://bucket/kwargs/flow/1.json"
ASKED = {"Bucket": "bucket", "Key": "kwargs/flow/1.json"}


def read(content: bytes, size: int | None = None) -> Kwargs | None:
    length = len(content) if size is None else size
    body = StreamingBody(io.BytesIO(content), len(content))
    with stubbed("s3") as (s3, script):
        script.add_response("get_object", {"Body": body, "ContentLength": length}, ASKED)
        values = read_external(s3, ASKED["Bucket"], ASKED["Key"])
    return None if values is None else kwargs_model().split(values, URL)


def read_refused(code: str) -> Any:
    with stubbed("s3") as (s3, script):
        script.add_client_error("get_object", code, expected_params=ASKED)
        return read_external(s3, ASKED["Bucket"], ASKED["Key"])


def refusal(content: bytes, size: int | None = None) -> str:
    with pytest.raises(PermanentError) as error:
        read(content, size)
    return str(error.value)


def test_a_file_is_read_and_split():
    assert read(b'{"cpu": 512, "cluster": "flows"}') == Kwargs(
        definition={"cpu": "512"}, request={"cluster": "flows"}
    )


def test_an_empty_object_asks_for_nothing():
    assert read(b"{}") == Kwargs()


def test_a_byte_order_mark_does_no_harm():
    assert read(b'\xef\xbb\xbf{"cpu": "512"}') == Kwargs(definition={"cpu": "512"})


def test_a_flow_without_a_file_has_no_external_kwargs():
    assert read_refused("NoSuchKey") is None


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "InvalidObjectState"])
def test_a_file_out_of_reach_fails_the_run_with_the_remedy(code: str):
    with pytest.raises(PermanentError) as error:
        read_refused(code)

    assert str(error.value).startswith(f"{URL}: cannot be read: {code}. ")
    assert "s3:GetObject and s3:ListBucket" in str(error.value)


@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_a_failure_of_s3_itself_is_worth_another_try(code: str):
    with pytest.raises(ClientError) as error:
        read_refused(code)

    assert error.value.response["Error"]["Code"] == code


def test_a_file_that_is_too_large_is_not_even_read():
    assert refusal(b"", MAX_BYTES + 1) == (
        f"{URL}: is 1,048,577 bytes; a kwargs file may have 1,048,576. Make it smaller."
    )


def test_a_file_of_the_largest_size_is_read():
    padded = b'{"cpu": "512"}'.ljust(MAX_BYTES)

    assert read(padded) == Kwargs(definition={"cpu": "512"})


def test_what_is_not_json_is_refused_with_line_and_column():
    assert refusal(b'{\n  "cpu": 512,\n}').startswith(f"{URL}: line 3, column 1: is not JSON: ")


def test_an_empty_file_is_not_json():
    assert refusal(b"").startswith(f"{URL}: line 1, column 1: is not JSON: ")


def test_what_is_not_utf_8_is_refused_with_the_byte():
    assert refusal(b'{"cpu": "\xff"}') == (
        f"{URL}: is not UTF-8 text (byte 9). Save it as UTF-8 JSON."
    )


def test_a_key_written_twice_is_refused_at_any_depth():
    assert refusal(b'{"overrides": {"cpu": "1", "cpu": "2"}}') == (
        f"{URL}: the key 'cpu' is written twice. Correct the file."
    )


def test_a_file_nested_too_deeply_is_refused():
    assert refusal(b"[" * 200_000) == f"{URL}: is nested too deeply. Correct the file."


@pytest.mark.parametrize(("content", "kind"), [(b"[]", "list"), (b'"x"', "str"), (b"5", "int")])
def test_a_file_must_hold_an_object(content: bytes, kind: str):
    assert refusal(content).startswith(f"{URL}: holds a JSON {kind}; it must hold an object")


def test_a_wrong_key_is_refused_with_the_files_address():
    assert refusal(b'{"clutser": "x"}').startswith(f"{URL}: clutser: not a parameter of ")


def test_a_number_of_too_many_digits_is_refused():
    assert refusal(b'{"cpu": ' + b"9" * 5000 + b"}").startswith(f"{URL}: ")
