"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

LOAD_BEFORE = round(os.getloadavg()[0], 2)
"""When the process began: later it is the benchmark's own."""


def describe() -> dict[str, Any]:
    """Return the machine, its software and its load before, as they are told with each result."""
    return {
        "cores": os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory, GB": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "packages": {name: version(name) for name in ("boto3", "aws-lambda-powertools", "urllib3")},
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load before": LOAD_BEFORE,
    }


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
