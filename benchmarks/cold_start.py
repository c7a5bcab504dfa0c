"""Measures what a cold start is made of: the bundle's size, each handler's import and memory.

Every figure is of a process of its own, with the bundle and what Lambda's runtime has (boto3), on
this machine; a Lambda with 256 MB has a sixth of a core.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.bundling import build
from infra.config import load, runtime_settings
from local.cloud import EMULATOR_PYTHON, PROJECT

PROCESSES = 7
HANDLERS = {"poll": "_poller", "dispatch": "_deliveries", "watch": "_prefect"}
"""Each function's module, and what makes its clients at its first invocation."""

_MEASURE = """
import json, re, sys, time
started = time.perf_counter()
sys.path.insert(0, sys.argv[1])
__import__("fargate_agent." + sys.argv[2])
imported = time.perf_counter()
getattr(sys.modules["fargate_agent." + sys.argv[2]], sys.argv[3])()
ready = time.perf_counter()
# Not ru_maxrss, which remembers the process that this one was forked from.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps({"import": imported - started, "clients": ready - imported, "mb": peak / 1024}))
"""


def sizes(bundle: Path) -> tuple[int, int]:
    """Return the bundle's size in bytes, zipped and not."""
    with tempfile.TemporaryFile() as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            files = [file for file in bundle.rglob("*") if file.is_file()]
            for file in files:
                zipped.write(file, file.relative_to(bundle))
        return archive.tell(), sum(file.stat().st_size for file in files)


def import_of(bundle: Path, handler: str) -> dict[str, float]:
    """Start a handler in a new process: seconds to import it, to make its clients; megabytes."""
    done = subprocess.run(
        [EMULATOR_PYTHON, "-B", "-c", _MEASURE, bundle, handler, HANDLERS[handler]],
        env={"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder)
        config = load(PROJECT / "agent.toml", {"prefect.api_url": "http://127.0.0.1:4200/api"})
        build(bundle, json.dumps(runtime_settings(config)))
        zipped, unzipped = sizes(bundle)
        console.print(f"{platform.machine()}, Python {platform.python_version()}")
        console.print(f"bundle: {zipped / 1e6:.2f} MB zipped, {unzipped / 1e6:.2f} MB unzipped")
        table = Table("handler", "import, median of 7", "clients", "peak memory")
        # Lambda keeps no byte code of ours: it is compiled once here, as after a first start.
        subprocess.run([EMULATOR_PYTHON, "-m", "compileall", "-q", bundle], check=True)
        for handler in HANDLERS:
            taken = [import_of(bundle, handler) for _ in range(PROCESSES)]
            table.add_row(
                handler,
                f"{1000 * statistics.median(t['import'] for t in taken):.0f} ms",
                f"{1000 * statistics.median(t['clients'] for t in taken):.0f} ms",
                f"{max(t['mb'] for t in taken):.0f} MB",
            )
        console.print(table)


if __name__ == "__main__":
    main()
