"""The real agent of Prefect 0.14.22 works with the stand-in for Prefect 1's API.

What it believes of the API is then so of the stand-in, too, which the product's tests rely on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.support.json_http import Answer, JsonHttpServer, Request
from tests.support.moto_ecs import mend
from tests.support.prefect1_server import Prefect1Server

REQUIREMENTS = (
    *("prefect==0.14.22", "boto3", "setuptools<81", "urllib3<2", "pendulum<3"),
    *("marshmallow<3.14", "marshmallow-oneofschema<3.1", "python-box<6", "python-slugify<6"),
)
AGENT = """
from prefect.agent.fargate import FargateAgent

FargateAgent(
    name="legacy",
    labels=["fargate"],
    max_polls=4,
    cluster="default",
    cpu="256",
    memory="512",
    executionRoleArn="arn:aws:iam::123456789012:role/execution",
    networkConfiguration={"awsvpcConfiguration": {"subnets": ["%s"], "securityGroups": []}},
).start()
"""


@pytest.fixture(scope="module")
def legacy_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has the legacy agent."""
    environment = tmp_path_factory.mktemp("legacy") / "venv"
    uv, quiet = Path(sys.executable).with_name("uv"), "--quiet"
    python = environment / "bin" / "python"
    subprocess.run([uv, "venv", quiet, "--python", "3.11", environment], check=True)
    subprocess.run([uv, "pip", "install", quiet, "--python", python, *REQUIREMENTS], check=True)
    return python


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ecs]:
    """An ECS that other processes can call, without a cluster."""
    mend(monkeypatch)
    with mock_aws(), Ecs() as served:
        yield served


class Ecs:
    """Serves moto's ECS, and keeps what it is asked: its JSON is what boto3 takes and gives."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._client = boto3.client("ecs")
        self._http = JsonHttpServer(self._answer)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return self._http.url

    def __enter__(self) -> Ecs:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def _answer(self, request: Request) -> Answer:
        operation = request.headers["X-Amz-Target"].split(".")[-1]
        given = json.loads(request.body)
        self.calls.append((operation, given))
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            answer = getattr(self._client, method)(**given)
        except ClientError as error:
            details = error.response["Error"]
            content = {"__type": details["Code"], "message": details["Message"]}
            return Answer.json(400, content)
        del answer["ResponseMetadata"]
        return Answer(200, json.dumps(answer, default=datetime.timestamp))


@pytest.mark.parametrize("token", [None, "runner-token"], ids=["open-source", "cloud"])
def test_the_legacy_agent_runs_what_is_due_and_fits(
    token: str | None, legacy_python: Path, ecs: Ecs, tmp_path: Path
):
    boto3.client("ecs").create_cluster(clusterName="default")
    with Prefect1Server(token) as server:
        flow = server.add_flow(name="Nightly ETL")

        def add(seconds: float, **run: Any) -> Any:
            return server.add_run(flow, due=at(seconds), labels=["fargate"], **run)

        now, soon, retried = add(-1), add(6), add(-60, state="Running")
        task_run = server.add_task_run(retried, due=at(-10))
        later = add(3600)
        misfit = server.add_run(flow, due=at(-1), labels=["gpu"])

        log = run_agent(legacy_python, server, ecs, tmp_path)

    print(log)
    (agent,) = server.agents
    assert (agent["type"], agent["name"], agent["labels"]) == (
        "FargateAgent",
        "legacy",
        ["fargate"],
    )
    assert agent["core_version"] == "0.14.22"
    assert agent["last_queried"] is not None
    assert len(server.calls_of("get_runs_in_queue")) == 4

    launched = [
        variable["value"]
        for operation, given in ecs.calls
        if operation == "RunTask"
        for variable in given["overrides"]["containerOverrides"][0]["environment"]
        if variable["name"] == "PREFECT__CONTEXT__FLOW_RUN_ID"
    ]
    assert sorted(launched) == sorted(run["id"] for run in (now, soon, retried))
    assert [operation for operation, _ in ecs.calls].count("RegisterTaskDefinition") >= 1

    for run in (now, soon):
        assert states(server, run) == [("Scheduled", None), ("Submitted", agent["id"])]
        assert run["agent_id"] == agent["id"]
    assert soon["state_timestamp"] >= soon["scheduled_start_time"]
    assert states(server, retried) == [("Running", None)]
    assert states(server, task_run) == [("Retrying", None), ("Submitted", agent["id"])]
    for run in (now, soon, retried):
        (line,) = server.logs(run["id"])
        assert (line["level"], line["name"]) == ("INFO", "legacy")
        assert line["message"].startswith("Submitted for execution: Task ARN: arn:aws:ecs:")
    for run in (later, misfit):
        assert states(server, run) == [("Scheduled", None)]


@pytest.mark.parametrize(("locking", "ends"), [(False, "Failed"), (True, "Submitted")])
def test_the_legacy_agent_fails_a_run_it_cannot_launch_unless_versions_are_locked(
    locking: bool, ends: str, legacy_python: Path, ecs: Ecs, tmp_path: Path
):
    with Prefect1Server() as server:
        flow = server.add_flow(version_locking=locking)
        run = server.add_run(flow, due=at(-1), labels=["fargate"])
        server.fail_next(
            "get_runs_in_queue",
            error={"message": "Operation timed out", "extensions": {"code": "API_ERROR"}},
        )

        print(run_agent(legacy_python, server, ecs, tmp_path))

    assert len(server.calls_of("get_runs_in_queue")) == 5  # API_ERROR was tried again
    assert run["state"] == ends
    (line,) = server.logs(run["id"])
    assert line["level"] == "ERROR"
    assert "Cluster not found" in line["message"]


def test_what_a_warm_run_costs_the_legacy_agent(legacy_python: Path, ecs: Ecs, tmp_path: Path):
    """Counted beside this agent's own in ``tests/integration/test_prefect1_path.py``."""
    boto3.client("ecs").create_cluster(clusterName="default")
    with Prefect1Server() as server:
        flow = server.add_flow(name="Nightly ETL")
        runs = [server.add_run(flow, due=at(-1), labels=["fargate"]) for _ in range(20)]
        run_agent(legacy_python, server, ecs, tmp_path)
        # The definition exists now, and the second agent has been told nothing of it.
        runs = [server.add_run(flow, due=at(-1), labels=["fargate"]) for _ in range(20)]
        ecs.calls.clear()
        server.calls.clear()
        run_agent(legacy_python, server, ecs, tmp_path)

    aws = Counter(operation for operation, _ in ecs.calls)
    graphql = Counter(call.operation for call in server.calls)
    print(f"{len(runs)} warm runs: AWS {dict(aws)}, GraphQL {dict(graphql)}")
    assert aws == {"DescribeTaskDefinition": 20, "RunTask": 20}
    assert graphql["set_flow_run_states"] == graphql["write_run_logs"] == 20


def at(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def states(server: Prefect1Server, row: Any) -> list[tuple[str, str | None]]:
    return [(entry["state"], entry["agent_id"]) for entry in server.history(row["id"])]


def run_agent(python: Path, server: Prefect1Server, ecs: Ecs, home: Path) -> str:
    """Let the agent poll a few times, and return what it logged."""
    (subnet, *_) = boto3.client("ec2").describe_subnets()["Subnets"]
    backend = "server" if server.token is None else "cloud"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": ecs.url,
        "PREFECT__BACKEND": backend,
        "PREFECT__SERVER__ENDPOINT": server.url,
        "PREFECT__CLOUD__API": server.url,
        "PREFECT__CLOUD__AGENT__AUTH_TOKEN": server.token or "",
        "PREFECT__CLOUD__AGENT__LEVEL": "DEBUG",
    }
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", AGENT % subnet["SubnetId"]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
