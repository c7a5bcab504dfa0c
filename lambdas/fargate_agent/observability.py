"""What the functions tell of themselves: one JSON line a decision, and metrics.

Both go through standard output to CloudWatch Logs, the metrics in its embedded metric format
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html):
no call, and nothing to be allowed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from fargate_agent.runs import FlowRun
    from fargate_agent.settings import Settings

logger = Logger(service="fargate-agent")


def about(run: FlowRun) -> dict[str, Any]:
    """Return the fields by which a line names a run and the claim that it is launched under."""
    return {"flow_run_id": run.id, "claim_id": run.claim_id}


NAMESPACE = "FargateAgent"
AGENT, CAUSE = "agent", "cause"
"""The dimensions. CloudWatch bills every name with every value of them, so each metric has the
agent's name alone; crashes are counted by their cause as well."""


class Metric(Enum):
    """What is counted or measured. The infrastructure names metrics by these too."""

    RUNS_ENQUEUED = "RunsEnqueued"
    """Once for each scheduling of a run; a function that starts anew may count it again."""
    RUNS_LAUNCHED = "RunsLaunched"
    LAUNCH_DELAY = "LaunchDelay"
    """From the time that a run was scheduled for to the answer of RunTask, in seconds."""
    CLAIMS_LOST = "ClaimsLost"
    """Another agent has the run, or it is to be run no longer."""
    DEFINITIONS_REGISTERED = "DefinitionsRegistered"
    DEFINITIONS_REUSED = "DefinitionsReused"
    TRANSIENT_FAILURES = "TransientFailures"
    """Launches that failed and will be tried again."""
    PERMANENT_FAILURES = "PermanentFailures"
    """Launches that failed for good; the run was told."""
    CRASHES = "Crashes"
    RELAUNCHES = "Relaunches"
    RECONCILED = "Reconciled"
    """Runs that the healing pass crashed, cancelled, relaunched or enqueued again."""

    @property
    def unit(self) -> str:
        """CloudWatch's name of the unit."""
        return "Seconds" if self is Metric.LAUNCH_DELAY else "Count"


@dataclass(frozen=True, slots=True)
class Metrics:
    """Collects what happens during an invocation, from any thread, and writes it at the end.

    Powertools' own collection loses values when two threads add the first of a name.

    Parameters
    ----------
    agent
        The name of the agent.
    """

    agent: str
    on: bool = True
    _collected: deque[tuple[Metric, float, str | None]] = field(default_factory=deque)

    @classmethod
    def from_settings(cls, settings: Settings) -> Metrics:
        """Return those of a deployed agent."""
        return cls(settings.agent_name, on=settings.metrics)

    def add(self, metric: Metric, value: float = 1, *, cause: str | None = None) -> None:
        """Count an event, or keep a measured value.

        Parameters
        ----------
        cause
            Counts it by this too.
        """
        if self.on:
            self._collected.append((metric, value, cause))  # which threads may do at once

    def flush(self) -> None:
        """Write what was collected: a line for all of it, and one for each cause."""
        values: dict[str | None, dict[Metric, list[float]]] = defaultdict(lambda: defaultdict(list))
        while self._collected:
            metric, value, cause = self._collected.popleft()
            values[cause][metric].append(value)
        for cause, of_cause in values.items():
            lines = EphemeralMetrics(namespace=NAMESPACE)
            lines.add_dimension(AGENT, self.agent)
            if cause:
                lines.add_dimensions(**{AGENT: self.agent, CAUSE: cause})
            for metric, found in of_cause.items():
                for value in [sum(found)] if metric.unit == "Count" else found:
                    lines.add_metric(metric.value, metric.unit, value)
            lines.flush_metrics()


NO_METRICS = Metrics("", on=False)


@contextmanager
def observed(context: LambdaContext, metrics: Metrics) -> Iterator[None]:
    """Name the invocation in its log lines, and write its metrics however it ends."""
    logger.append_keys(function_request_id=context.aws_request_id)
    try:
        yield
    finally:
        metrics.flush()
