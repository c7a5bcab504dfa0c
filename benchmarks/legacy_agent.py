"""The real Fargate agent of Prefect 0.14.22, in a virtual environment and a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.aws_endpoint import AwsEndpoint
from local import processes
from tests.support.prefect1_server import Prefect1Server

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = PROJECT / ".venv-legacy"
REQUIREMENTS = (
    *("prefect==0.14.22", "boto3", "setuptools<81", "urllib3<2", "pendulum<3"),
    *("marshmallow<3.14", "marshmallow-oneofschema<3.1", "python-box<6", "python-slugify<6"),
)
AGENT = """
from prefect.agent.fargate import FargateAgent

FargateAgent(
    name="legacy",
    labels=["fargate"],
    cluster="default",
    cpu="256",
    memory="512",
    executionRoleArn="arn:aws:iam::123456789012:role/execution",
    networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": []}},
).start()
"""


def python() -> Path:
    """Return an interpreter that has the agent: of a virtual environment made for it, once."""
    made, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "done"
    if not done.exists() or done.read_text() != " ".join(REQUIREMENTS):
        uv, quiet = Path(sys.executable).with_name("uv"), "--quiet"
        subprocess.run([uv, "venv", quiet, "--clear", "--python", "3.11", ENVIRONMENT], check=True)
        subprocess.run([uv, "pip", "install", quiet, "--python", made, *REQUIREMENTS], check=True)
        done.write_text(" ".join(REQUIREMENTS))
    return made


@contextmanager
def running(
    server: Prefect1Server, aws: AwsEndpoint, home: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Let the agent poll a stand-in of Prefect 1's open-source server."""
    environment: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        **aws.environment(),
        "PREFECT__BACKEND": "server",
        "PREFECT__SERVER__ENDPOINT": server.url,
        "PREFECT__CLOUD__API": server.url,
    }
    with processes.running(
        [python(), "-W", "ignore", "-c", AGENT],
        env=environment,
        log=home / "legacy.log",
        ready=lambda: any(call.operation == "get_runs_in_queue" for call in server.calls),
    ) as process:
        yield process
