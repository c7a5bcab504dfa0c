"""The templates of work pools that a Prefect 3 server comes with."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from local.prefect_server import PREFECT_BIN

FILE = "site-packages/prefect/server/api/collections_data/views/aggregate-worker-metadata.json"


@cache
def worker_views() -> dict[str, Any]:
    """Return those of the real server that the tests run."""
    (file,) = PREFECT_BIN.parent.glob(f"lib/python*/{FILE}")
    return dict(json.loads(file.read_text()))


def ecs_template() -> dict[str, Any]:
    """Return a copy of the one for ECS."""
    held = worker_views()["prefect-aws"]["ecs"]["default_base_job_configuration"]
    copied: dict[str, Any] = json.loads(json.dumps(held))
    return copied
