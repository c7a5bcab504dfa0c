"""A function that makes one AWS call with the role of another, and says how it went."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.cloud import Cloud

ALLOWED = "allowed"
CODE = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["call"])(**event["arguments"])
    except ClientError as error:
        return "{Code}: {Message}".format(**error.response["Error"])
    return "allowed"
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """A deployed function with the role of another."""

    cloud: Cloud
    name: str

    def call(self, service: str, call: str, **arguments: Any) -> str:
        """Make one call of boto3; return ``ALLOWED``, or the error's code and message."""
        event = {"service": service, "call": call, "arguments": arguments}
        return str(self.cloud.invoke(self.name, event))


def role_of(cloud: Cloud, module: str) -> str:
    """Return the name of the role of a function of the agent, by its module."""
    return str(_function(cloud, module)["Role"]).rpartition("/")[2]


def probe(cloud: Cloud, module: str) -> Probe:
    """Deploy a probe with the role of a function of the agent, by its module."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", CODE)
    made = cloud.client("lambda").create_function(
        FunctionName=f"probe-{module}",
        Runtime="python3.13",
        Role=_function(cloud, module)["Role"],
        Handler="probe.handler",
        Code={"ZipFile": code.getvalue()},
    )
    return Probe(cloud, made["FunctionName"])


def _function(cloud: Cloud, module: str) -> Mapping[str, Any]:
    functions = cloud.client("lambda").list_functions()["Functions"]
    (found,) = [f for f in functions if f["Handler"] == f"fargate_agent.{module}.handler"]
    return dict(found)
