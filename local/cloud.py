"""An AWS on loopback with the agent deployed into it, by the stock CDK command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import urllib3

from local import processes
from local.prefect_server import PREFECT_BIN

PROJECT = Path(__file__).parents[1]
EMULATOR_PYTHON = PROJECT / ".venv-emulator" / "bin" / "python"
CDK = PROJECT / "node_modules" / ".bin" / "cdk"
ACCOUNT, REGION = "000000000000", "us-east-1"
JUDGEMENTS = "iam.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether IAM let a principal do something; ``resource`` is the first one asked of.

    ``principal`` is a session of a role, or a service such as ``events.amazonaws.com``.
    """

    principal: str
    action: str
    resource: str
    allowed: bool

    @property
    def role(self) -> str:
        """The name of the role."""
        return self.principal.split("/")[1] if "/" in self.principal else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """A running emulator."""

    endpoint: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return what makes the AWS tools, the CDK and ``./fargate-agent`` use this AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }

    def client(self, service: str) -> Any:
        """Make a boto3 client of the emulator."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def cdk(self, *arguments: str | Path, folder: Path = PROJECT) -> None:
        """Run the pinned CDK command line against this AWS, in ``folder``.

        Raises
        ------
        processes.ProcessFailed
            It failed; the message ends with its output.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        done = subprocess.run(
            [CDK, *arguments, "--no-notices"],
            cwd=folder,
            env={
                **kept,
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                **self.environment,
                "CDK_DISABLE_CLI_TELEMETRY": "true",
                "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise processes.ProcessFailed(
                f"cdk {' '.join(map(str, arguments))}:\n{done.stdout[-5000:]}"
            )

    def invoke(self, function: str, payload: Mapping[str, Any]) -> Any:
        """Invoke a function, and return its decoded answer.

        Raises
        ------
        processes.ProcessFailed
            The function failed; the message ends with its error.
        """
        body = json.dumps(payload).encode()
        answer = self.client("lambda").invoke(FunctionName=function, Payload=body)
        text = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            raise processes.ProcessFailed(f"{function}:\n{text}")
        return json.loads(text or "null")

    def judgements(self) -> list[Judgement]:
        """Return how IAM judged every kind of request so far, each once for a role.

        The deployer's own, made with the clients of this class, are not judged.
        """
        log = self.folder / JUDGEMENTS
        lines = log.read_text().splitlines() if log.exists() else []
        return [Judgement(**json.loads(line)) for line in lines]

    def tasks(self, cluster: str) -> list[dict[str, Any]]:
        """Describe every task of a cluster, stopped ones too."""
        ecs = self.client("ecs")
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
        ]
        return list(ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]) if arns else []

    def deploy(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Bootstrap, deploy the unmodified stack with these settings, and return its outputs."""
        # In a folder without an app, which bootstrapping would synthesize for nothing.
        self.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=self.folder)
        context = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        outputs = self.folder / "outputs.json"
        self.cdk(
            *("deploy", *context, "--require-approval", "never"),
            *("--outputs-file", outputs, "--output", self.folder / "cdk.out"),
        )
        (stack,) = json.loads(outputs.read_text()).values()
        return dict(stack)


@contextmanager
def cloud(folder: Path, *, commands: Path | None = PREFECT_BIN) -> Iterator[Cloud]:
    """Run the emulator, with a temporary folder and a virtual environment of its own.

    Parameters
    ----------
    commands
        The folder in which the containers' commands are looked up before ``PATH``.
    """
    port = processes.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    scratch = folder / "tmp"
    scratch.mkdir()
    with processes.running(
        [EMULATOR_PYTHON, PROJECT / "local" / "emulator.py"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(scratch),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "LOCAL_IAM_JUDGEMENTS": str(folder / JUDGEMENTS),
            **({"LOCAL_FARGATE_PATH": str(commands)} if commands else {}),
        },
        log=folder / "aws.log",
        ready=lambda: _healthy(endpoint),
    ):
        yield Cloud(endpoint=endpoint, folder=folder)


def _healthy(endpoint: str) -> bool:
    try:
        return urllib3.request("GET", endpoint, retries=False, timeout=2).status < 500
    except urllib3.exceptions.HTTPError:
        return False
