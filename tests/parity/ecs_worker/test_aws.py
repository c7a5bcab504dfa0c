"""The stand-in for AWS, against the one that the worker was recorded with."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.parity.ecs_worker.aws.model import Aws
from tests.parity.ecs_worker.cases import DEFAULT_FILE, Case, load


@pytest.mark.parametrize("recording", load(DEFAULT_FILE), ids=lambda case: case.id)
def test_a_recorded_call_is_answered_as_it_was(recording: Case):
    aws = Aws(recording.aws)

    for run in recording.runs:
        aws.change(run.patch.get("aws", {}))
        for call in run.output["aws_calls"]:
            if (call.get("error") or {}).get("type") != "ParamValidationError":
                assert answer_of(aws, call) == (call.get("error") or call["response"])


def answer_of(aws: Aws, call: Any) -> Any:
    # The recorded stand-in knew no client tokens.
    params = {key: value for key, value in call["params"].items() if key != "clientToken"}
    try:
        return aws.answer(call["operation"], params, call["region"])
    except ClientError as error:
        # boto3 makes a class of its own of an error that the service's model knows.
        known = call["error"]["type"] != "ClientError"
        return {
            "type": error.response["Error"]["Code"] if known else "ClientError",
            "message": str(error),
        }
