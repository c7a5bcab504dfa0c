"""A PostgreSQL of its own, for a Prefect server to keep its state in."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local import processes

DEBIAN = Path("/usr/lib/postgresql")


class NoPostgres(Exception):
    """There is none on this machine; the message says what was looked for."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a cluster in a temporary folder on a free port; give what Prefect connects to.

    Raises
    ------
    NoPostgres
        There is no ``postgres``, on the path or where Debian puts it.
    """
    programs = _programs()
    # Nobody else may read it, and it refuses to run as root: Debian's package makes a user.
    user = "postgres" if getpass.getuser() == "root" else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", processes.free_port()
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth", "trust"],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        listen = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", folder]
        command = [programs / "postgres", "-D", data, *listen]
        if user:
            command = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command]
        with processes.running(
            command,
            env={"PATH": os.environ["PATH"]},
            log=folder.with_suffix(".log"),
            ready=lambda: _answers(programs, port),
        ):
            made = ["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "prefect"]
            subprocess.run([programs / made[0], *made[1:]], check=True)
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/prefect"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)


def _programs() -> Path:
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = [path for path in DEBIAN.glob("*/bin") if (path / "postgres").exists()]
    if not versions:
        raise NoPostgres(f"neither postgres on the path nor {DEBIAN}/*/bin/postgres")
    return max(versions, key=lambda path: float(path.parent.name))


def _answers(programs: Path, port: int) -> bool:
    asked = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0
