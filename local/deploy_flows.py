"""Deploys the demo's flows to a work pool, as a user would. Runs in Prefect's environment."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import Flow

NAME = "demo"


def deploy(work_pool: str, entrypoints: list[str]) -> None:
    """Deploy each flow of ``flows.py``; its code is on this machine, so no image is built."""
    for entrypoint in entrypoints:
        flow = Flow.from_source(
            source=str(Path(__file__).parent), entrypoint=f"flows.py:{entrypoint}"
        )
        flow.deploy(
            name=NAME,
            work_pool_name=work_pool,
            build=False,
            push=False,
            print_next_steps=False,
        )


if __name__ == "__main__":
    deploy(sys.argv[1], sys.argv[2:])
