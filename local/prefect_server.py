"""A real Prefect server on loopback, and a client for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from fargate_agent.orchestrators.http import JsonClient
from local import processes

PROJECT = Path(__file__).parents[1]
PREFECT_BIN = PROJECT / ".venv-prefect" / "bin"


@contextmanager
def prefect_server(folder: Path, *, settings: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server with a home of its own and no telemetry; give its API's address.

    Parameters
    ----------
    folder
        For its database and its log.
    settings
        Further ``PREFECT_*`` settings.
    """
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [PREFECT_BIN / "prefect", "server", "start", "--host", "127.0.0.1"]
    with processes.running(
        [*command, "--port", str(port)],
        env={
            **environment(folder, url),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **(settings or {}),
        },
        log=folder / "prefect.log",
        ready=lambda: _healthy(url),
    ):
        yield url


def environment(folder: Path, url: str) -> dict[str, str]:
    """Return the environment of a Prefect program: nothing of this user's own settings."""
    return {
        "PATH": os.pathsep.join([str(PREFECT_BIN), os.environ["PATH"]]),
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
    }


def client(url: str) -> JsonClient:
    """Make a client, the very one that the functions use."""
    return JsonClient(url, lambda _: None)


def _healthy(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/health", retries=False, timeout=2).status == 200
    except urllib3.exceptions.HTTPError:
        return False
