"""The metrics that a function wrote, as CloudWatch reads them from its log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any


def metrics_in(output: str) -> dict[tuple[str, ...], list[float]]:
    """Return every value by the name of its metric and the values of its dimensions.

    Follows the specification of CloudWatch's embedded metric format.
    """
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for line in lines_in(output):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == "FargateAgent"
            for dimensions in directive["Dimensions"]:
                values = [line[dimension] for dimension in dimensions]
                for metric in directive["Metrics"]:
                    told = line[metric["Name"]]
                    found[metric["Name"], *values] += told if isinstance(told, list) else [told]
    return dict(found)


def lines_in(output: str) -> Iterator[dict[str, Any]]:
    """Return the lines that hold metrics."""
    for text in output.splitlines():
        if text.startswith("{"):
            line = json.loads(text)
            if "_aws" in line:
                yield line


def counts_in(output: str) -> dict[tuple[str, ...], float]:
    """Return what each counter comes to; of measured values, how many there are."""
    return {
        key: len(values) if key[0] == "LaunchDelay" else sum(values)
        for key, values in metrics_in(output).items()
    }
