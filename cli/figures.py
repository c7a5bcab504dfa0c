"""Figures of CloudWatch: AWS's own metrics of what the agent is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

MINUTE = timedelta(minutes=1)


def figures(
    cloudwatch: Any,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, str],
    statistic: str,
    *,
    until: datetime,
    window: timedelta,
    period: timedelta = MINUTE,
) -> list[float]:
    """Return a metric's figures, the earliest first; none where nothing was written.

    Parameters
    ----------
    statistic
        ``Sum``, ``Maximum`` and so on, of each ``period``.
    """
    points = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=until - window,
        EndTime=until,
        Period=int(period.total_seconds()),
        Statistics=[statistic],
    )["Datapoints"]
    return [point[statistic] for point in sorted(points, key=lambda point: point["Timestamp"])]
