"""A real Prefect server on loopback, and a client for it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import urllib3

from fargate_agent.orchestrators.http import JsonClient
from local import processes

PROJECT = Path(__file__).parents[1]
PREFECT_BIN = PROJECT / ".venv-prefect" / "bin"


@contextmanager
def prefect_server(
    folder: Path,
    *,
    auth_string: str | None = None,
    settings: Mapping[str, str] | None = None,
    bin: Path = PREFECT_BIN,
) -> Iterator[str]:
    """Run a server with a home of its own and no telemetry; give its API's address.

    Parameters
    ----------
    folder
        For its database and its log.
    auth_string
        ``user:password`` that every call must bring.
    settings
        Further ``PREFECT_*`` settings.
    bin
        The folder of the ``prefect`` to run.
    """
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}/api"
    protection = {"PREFECT_SERVER_API_AUTH_STRING": auth_string} if auth_string else {}
    command = [bin / "prefect", "server", "start", "--host", "127.0.0.1"]
    with processes.running(
        [*command, "--port", str(port)],
        env={
            **environment(folder, url, auth_string),
            **protection,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **(settings or {}),
        },
        log=folder / "prefect.log",
        ready=lambda: _healthy(url),
    ):
        yield url


def environment(folder: Path, url: str, auth_string: str | None = None) -> dict[str, str]:
    """Return the environment of a Prefect program: nothing of this user's own settings."""
    return {
        "PATH": os.pathsep.join([str(PREFECT_BIN), os.environ["PATH"]]),
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
        **({"PREFECT_API_AUTH_STRING": auth_string} if auth_string else {}),
    }


def client(url: str, auth_string: str | None = None) -> JsonClient:
    """Make a client, the very one that the functions use."""
    encoded = base64.b64encode((auth_string or "").encode()).decode()
    return JsonClient(url, lambda _: f"Basic {encoded}" if auth_string else None)


def _healthy(url: str) -> bool:
    try:
        # With an auth string even the health check wants it; any answer will do.
        return urllib3.request("GET", f"{url}/health", retries=False, timeout=2).status < 500
    except urllib3.exceptions.HTTPError:
        return False
