"""Where results are kept: one JSON file for all parts, and plots beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.machine import describe

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "benchmarks.json"
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
}


def load() -> dict[str, Any]:
    """Return the results so far, by parts."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def keep(part: str, found: Any) -> None:
    """Replace the result of one part, and tell where it was measured."""
    made = {**load(), part: {"machine": describe(), "result": found}}
    RESULTS.write_text(json.dumps(made, indent=1, sort_keys=False) + "\n")


@contextmanager
def drawn(name: str, columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """Give a figure and its axes to draw on; it is kept as ``docs/NAME.svg``."""
    mpl.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the backend is chosen

    with mpl.rc_context(STYLE):
        size = (4.6 * columns + 1.2, 3.4)
        figure, axes = pyplot.subplots(1, columns, figsize=size, layout="constrained")
        yield figure, axes
        figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
