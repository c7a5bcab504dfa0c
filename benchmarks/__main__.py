"""Runs the benchmarks, one part after the other, and writes the pages' tables.

``python -m benchmarks [PART ...]``, or ``make benchmarks PART=scale``. The parts are independent: a
result stays in ``docs/benchmarks.json`` until its part is run again, with the machine it is of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.budgets import rows
from benchmarks.report import write
from benchmarks.results import keep, load

MODULES = {
    "cold-start": "benchmarks.cold_start",
    "side-by-side": "benchmarks.side_by_side",
    "kills": "benchmarks.kills",
    "scale": "benchmarks.scale",
    "cost": "benchmarks.cost",
}
BUSY = 1.5


def run(part: str) -> None:
    """Run a part in a process of its own."""
    command = [sys.executable, "-m", MODULES[part]]
    if part != "kills":
        subprocess.run(command, check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "kills.json"
        subprocess.run([*command, "--json", written], check=True)
        keep("kills", json.loads(written.read_text())["totals"])


def main() -> None:
    """Run what is asked for, all of it by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*MODULES, "report"], default=[*MODULES])
    given = parser.parse_args()
    if os.getloadavg()[0] > BUSY:
        print(f"The load is {os.getloadavg()[0]:.1f}: times will be those of a busy machine.")
    for part in (part for part in given.parts if part in MODULES):
        began = time.monotonic()
        run(part)
        print(f"{part}: {time.monotonic() - began:.0f} s")
    write()
    table = Table("", "budget", "agent", "worker", "legacy agent", "")
    for row in rows(load()):
        table.add_row(row.what, row.budget, row.agent, row.worker, row.legacy, row.verdict)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
