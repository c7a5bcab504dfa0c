"""The real ECS worker, in a virtual environment and a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RECORDER = Path(__file__).with_name("record.py")
REQUIREMENTS = ("prefect-aws==0.7.12", "prefect==3.8.8", "boto3==1.43.117", "fastapi==0.150.0")

Json = dict[str, Any]


PROJECT = Path(__file__).parents[3]
ENVIRONMENT = PROJECT / ".venv-worker"


def python() -> Path:
    """Return an interpreter that has the worker: of a virtual environment made for it, once.

    ``WORKER_PYTHON`` may name another that has it already.
    """
    if given := os.environ.get("WORKER_PYTHON"):
        return Path(given)
    made, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "done"
    if not done.exists() or done.read_text() != " ".join(REQUIREMENTS):
        uv, quiet = Path(sys.executable).with_name("uv"), "--quiet"
        subprocess.run([uv, "venv", quiet, "--clear", "--python", "3.11", ENVIRONMENT], check=True)
        subprocess.run([uv, "pip", "install", quiet, "--python", made, *REQUIREMENTS], check=True)
        done.write_text(" ".join(REQUIREMENTS))
    return made


class RealWorker:
    """Says what the real worker does with the ``input`` of a case."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.meta = self._read()

    def record(self, given: Json) -> Json:
        """Return the ``output`` of a case."""
        assert self._process.stdin
        print(json.dumps(given), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> Json:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the recorder ended: what it wrote to standard error tells why"
        return dict(json.loads(line))


@contextmanager
def running() -> Iterator[RealWorker]:
    """Run the recorder beside this process."""
    with subprocess.Popen(
        [python(), RECORDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield RealWorker(process)
        finally:
            assert process.stdin
            process.stdin.close()
