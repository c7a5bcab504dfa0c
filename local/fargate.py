"""Plays Fargate: runs a task's containers as processes on this machine.

A container here is its command, with the environment ECS would give it, in a process group and a
home of its own. Its image is not pulled: the commands are looked up in the folder named by
``LOCAL_FARGATE_PATH`` first. Standard library only, for it runs inside the emulator's process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STOP_TIMEOUT_SECONDS = 30
"""Between SIGTERM and SIGKILL, as ECS's default ``stopTimeout``."""

SLOTS = threading.BoundedSemaphore(int(os.environ.get("LOCAL_FARGATE_SLOTS", "4")))
"""A task waits in PROVISIONING while this many run: this machine has no more capacity."""


@dataclass(slots=True)
class Container:
    """One container of a task: what to run, and what became of it."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    essential: bool
    log: Callable[[str], None]
    process: subprocess.Popen[str] | None = None


@dataclass(slots=True)
class LocalTask:
    """The processes of one task.

    A container without a command would run its image's own, which is not here: it counts as
    running until the task stops.
    """

    containers: list[Container]
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="task-")))

    def start(self) -> None:
        """Start every container.

        Raises
        ------
        OSError
            A command does not exist here.
        """
        for container in self.containers:
            if not container.command:
                continue
            path = os.pathsep.join(
                filter(None, [os.environ.get("LOCAL_FARGATE_PATH"), os.environ.get("PATH")])
            )
            container.process = subprocess.Popen(
                # A real task runs on another machine: here it gives way to the agent under test.
                ["nice", "-n", "19", *container.command],
                env={
                    "PATH": path,
                    "HOME": str(self.home),
                    "PREFECT_HOME": str(self.home / "prefect"),
                    "PYTHONUNBUFFERED": "1",
                    **container.environment,
                },
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            threading.Thread(target=_forward, args=(container,), daemon=True).start()

    def wait(self) -> dict[str, int]:
        """Wait until an essential container has exited; stop the others; return all exit codes."""
        essential = [c.process for c in self.containers if c.essential and c.process]
        done = threading.Event()
        for process in essential:
            threading.Thread(target=lambda p=process: (p.wait(), done.set()), daemon=True).start()
        if essential:
            done.wait()
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        return {c.name: _exit_code(c.process) for c in self.containers if c.process}

    def stop(self) -> None:
        """Ask every process to end, and end it."""
        running = [c.process for c in self.containers if c.process and c.process.poll() is None]
        for process in running:
            _signal(process, signal.SIGTERM)
        for process in running:
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()

    def kill(self) -> None:
        """End every process now."""
        for container in self.containers:
            if container.process and container.process.poll() is None:
                _signal(container.process, signal.SIGKILL)


def _forward(container: Container) -> None:
    output = container.process.stdout if container.process else None
    for line in output or ():
        container.log(line.rstrip("\n"))


def _exit_code(process: subprocess.Popen[str]) -> int:
    code = process.wait()
    return 128 - code if code < 0 else code  # a signal, as a container's runtime reports it


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
