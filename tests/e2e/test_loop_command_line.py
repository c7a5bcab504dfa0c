"""The command line on the deployed loop: the very program, told where AWS is, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from local.cloud import PROJECT
from local.loop import WORK_POOL, Loop

pytestmark = pytest.mark.xdist_group("loop")  # one worker shares what is slow to start


def call(loop: Loop, *arguments: str) -> tuple[int, Any]:
    """Run a command; return its exit status and what it says."""
    done = subprocess.run(
        [sys.executable, PROJECT / "fargate-agent", *arguments, "--json"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **loop.cloud.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_doctor_finds_nothing_wrong_and_a_tiny_task_runs_to_its_end(loop: Loop) -> None:
    secrets = loop.cloud.client("secretsmanager")
    arn = secrets.describe_secret(SecretId="prefect-auth-string")["ARN"]
    settings = {
        "prefect.api_url": loop.url,
        "prefect.work_pool": WORK_POOL,
        "prefect.auth_string_secret": arn,
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    status, lines = call(loop, "doctor", "--launch", *options)

    assert [line for line in lines if line["level"] == "failure"] == []
    assert status == 0
    sound = {line["check"] for line in lines if line["level"] == "ok"}
    assert {
        "settings",
        "Prefect's key",
        "last poll",
        "cluster",
        "execution role",
        "launch",
    } <= sound


def test_status_knows_the_queues_and_the_last_poll(loop: Loop) -> None:
    status, found = call(loop, "status")

    assert (status, found["unknown"]) == (0, [])
    assert found["last_poll"]
    assert found["queues"]["runs"]["dead_letters"] == 0


def test_plan_says_what_was_launched_and_where_it_came_from(loop: Loop) -> None:
    status, (made,) = call(loop, "plan", "needs-more")

    bucket = loop.outputs["KwargsBucket"]
    sources = {value["path"]: (value["value"], value["source"]) for value in made["definition"]}
    size, source = sources["memory"]
    assert (status, made["action"], made["why"]) == (0, "reuse", ["nothing differs"])
    assert size == "8192"
    assert source.startswith(f"s3://{bucket}/kwargs/needs-more/")
