"""What the endpoints of a Prefect 3 server answer with, but for plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.json_http import Answer
from tests.support.prefect3_state import Row
from tests.support.prefect3_users import Prefect3Users

Store = Prefect3Users
Body = Mapping[str, Any]

NOTHING = Answer(204, "")


def created(row: Any) -> Answer:
    """Answer with what was made."""
    return Answer.json(201, row)


def shown(run: Row) -> Row:
    """Return a run with what the server works out whenever it is read."""
    return {**run, "estimated_run_time": run["total_run_time"], "estimated_start_time_delta": 0.0}
