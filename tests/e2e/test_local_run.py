"""``python -m local run --max-polls N``: the agent of a settings file, on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.prefect1_server import Prefect1Server

pytestmark = pytest.mark.xdist_group("local-run")

PROJECT = Path(__file__).parents[2]
TOKEN = "canary-token"
SETTINGS = """
[agent]
labels = ["here"]
poll_interval_seconds = 5

[prefect]
version = 1
api_url = "{url}"
api_key_secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token-AbCdEf"

[ecs.kwargs]
cluster = "flows"
containerDefinitions = [{{ environment = [{{ name = "GREETING", value = "agent.toml" }}] }}]
"""


def run(folder: Path, settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    agent = folder / "agent.toml"
    agent.write_text(settings)
    commands = PROJECT / "local" / "prefect1" / "bin"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PREFECT"))}
    return subprocess.run(
        [sys.executable, "-m", "local", "run", "--agent", agent, "--max-polls", "2"],
        cwd=PROJECT,
        env={
            **kept,
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'lambdas'}",
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_polls_launch_what_is_due_and_what_comes_due_and_then_it_ends(tmp_path: Path) -> None:
    with Prefect1Server(token=TOKEN) as server:
        flow = server.add_flow(name="hello", storage={"type": "Local"})
        now = datetime.now(UTC)
        due = server.add_run(flow, due=now, labels=["here"])
        soon = server.add_run(flow, due=now + timedelta(seconds=50), labels=["here"])
        elsewhere = server.add_run(flow, due=now, labels=["there"])

        done = run(tmp_path, SETTINGS.format(url=server.url), PREFECT_API_KEY=TOKEN)

        assert done.returncode == 0, done.stdout + done.stderr
        assert "Poll 2 of 2" in done.stdout
        assert {id: server.run(id)["state"] for id in (due["id"], soon["id"])} == {
            due["id"]: "Success",
            soon["id"]: "Success",
        }
        assert server.run(elsewhere["id"])["state"] == "Scheduled"
        assert any("GREETING=agent.toml" in log["message"] for log in server.logs(due["id"]))
        assert TOKEN not in done.stdout


def test_a_secret_whose_value_is_not_given_is_told_with_the_remedy(tmp_path: Path) -> None:
    done = run(tmp_path, SETTINGS.format(url="http://127.0.0.1:1"))

    assert done.returncode == 1
    assert "prefect.api_key_secret" in done.stdout
    assert "set PREFECT_API_KEY" in done.stdout


def test_settings_that_are_wrong_end_it_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, "[prefect]\nversion = 1\napi_url = 'http://x'\nlabel = 'a'\n")

    assert done.returncode == 1
    assert "prefect.label: no such setting" in done.stdout
