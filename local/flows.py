"""The demo's flows: what a user's project would hold."""

from __future__ import annotations

import os
import signal
import time

from prefect import flow, runtime


@flow(log_prints=True)
def hello() -> None:
    """A plain flow: nothing of its own is configured."""
    print("Hello from a Fargate task")


@flow(log_prints=True)
def needs_more(table: str = "orders") -> None:
    """A flow whose kwargs file in S3 gives it more memory, and a variable that it prints."""
    print(f"Loading {table} with GREETING={os.environ['GREETING']}")


@flow(log_prints=True)
def uses_the_pool() -> None:
    """A flow that prints what the work pool's template gives to every run."""
    print(f"A token of {len(os.environ['TOKEN'])} letters for {os.environ['WAREHOUSE']}")


@flow
def fails_on_purpose() -> None:
    """A flow that fails: its run ends Failed, and nobody starts it again."""
    raise ValueError("on purpose")


@flow
def waits_once() -> None:
    """A flow that would wait for long when it is run first, and ends at once when run again."""
    if runtime.flow_run.run_count == 1:
        time.sleep(600)


@flow
def is_killed() -> None:
    """A flow whose container is killed, as for want of memory: it can tell nobody."""
    os.kill(os.getppid(), signal.SIGKILL)  # Prefect's runner, the container's first process
    os.kill(os.getpid(), signal.SIGKILL)
