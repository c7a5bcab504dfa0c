"""Starts and stops the programs of the local loop, so that none outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 90
STOP_SECONDS = 15


class ProcessFailed(Exception):
    """A program ended, or did not get ready. The message ends with the last lines of its log."""


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    ready: Callable[[], bool],
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, from when it is ready until the block ends.

    Raises
    ------
    ProcessFailed
        It ended before it was ready, or was not ready within :data:`READY_SECONDS`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(ready, process=process, log=log)
            yield process
        finally:
            stop(process)


def wait_until(
    condition: Callable[[], bool],
    *,
    process: subprocess.Popen[bytes],
    log: Path,
    seconds: float = READY_SECONDS,
) -> None:
    """Poll until the condition holds.

    Raises
    ------
    ProcessFailed
        It does not in time, or the process is gone.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            what = "ended" if process.poll() is not None else "was not ready in time"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise ProcessFailed(f"{process.args} {what}:\n{tail}")
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and all it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.1)
