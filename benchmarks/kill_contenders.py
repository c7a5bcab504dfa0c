"""Who launches runs: the real ECS worker, and this agent's functions, as processes to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.kill_aws import CLUSTER, OURS, KillAws
from infra.config import load, runtime_settings
from local import processes
from local.prefect_server import PROJECT
from tests.optional.ecs_worker import worker

POLL_SECONDS = 2
"""Both ask for due runs this often, to save time; their defaults are ten seconds."""

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": []}}


class Contender:
    """Processes by their roles, each of which can be killed and started again."""

    def __init__(
        self, folder: Path, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._commands = commands
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Contender:
        for role in self._commands:
            self.start(role)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            processes.stop(process)

    def start(self, role: str) -> None:
        """Start a process."""
        with (self._folder / f"{role}.log").open("ab") as log:
            self._running[role] = subprocess.Popen(
                self._commands[role],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, role: str) -> None:
        """Kill a process, which has no time to do anything about it."""
        process = self._running[role]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ecs_worker(folder: Path, api: str, aws: KillAws, pool: str, *, cancels: bool) -> Contender:
    """Let the real worker serve a pool.

    Parameters
    ----------
    cancels
        With ``PREFECT_WORKER_ENABLE_CANCELLATION``, which is off by default.
    """
    options = {
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "5",
    }
    command = [str(worker.python()), "-m", "prefect", "worker", "start", "--type", "ecs"]
    return Contender(
        folder,
        {"worker": [*command, "--pool", pool, "--name", pool]},
        {
            **aws.environment(),
            **(options if cancels else {}),
            "PREFECT_HOME": str(folder),
            "PREFECT_API_URL": api,
            "PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS),
            "DO_NOT_TRACK": "1",
        },
    )


def agent(folder: Path, api: str, aws: KillAws, pool: str) -> Contender:
    """Let this agent's functions serve a pool, each in a process of its own."""
    written = folder.with_suffix(".json")
    overrides = {"prefect.api_url": api, "prefect.work_pool": pool}
    written.write_text(json.dumps(runtime_settings(load(PROJECT / "agent.toml", overrides, {}))))
    return Contender(
        folder,
        {
            role: [sys.executable, "-m", "benchmarks.invoke", role, str(written)]
            for role in ("schedule", "dispatch", "watch")
        },
        {
            **aws.environment(),
            "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "lambdas")]),
            "STACK_KWARGS": json.dumps({"cluster": CLUSTER, "networkConfiguration": NETWORK}),
            "CLUSTERS": json.dumps([CLUSTER]),
            "CLAIMANT": f"{pool}/us-east-1",
            "KWARGS_BUCKET": "kwargs",
            "RUNS_QUEUE_URL": f"{aws.url}/123456789012/runs.fifo",
            "TASK_EVENTS_QUEUE_URL": f"{aws.url}/123456789012/{OURS}",
            "MAX_RECEIVES": "200",
            "POLL_SECONDS": str(POLL_SECONDS),
        },
    )
