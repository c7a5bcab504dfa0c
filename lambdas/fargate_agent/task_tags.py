"""The tags of tasks, which ECS's events of them do not tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from fargate_agent.observability import logger
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import CLAIM_ENV
from fargate_agent.task_details import Detail, flow_run_id, told

MOST_HELD = 1000


@dataclass(frozen=True, slots=True)
class TaskTags:
    """Remembers the tags of the tasks that were last heard of."""

    tasks: RunningTasks
    _held: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def learn(self, details: Iterable[Detail]) -> None:
        """Ask ECS for the tags of tasks that are new, all of a batch in one call a cluster."""
        unknown: dict[str, list[str]] = defaultdict(list)
        for detail in details:
            if detail["taskArn"] not in self._held:
                unknown[detail["clusterArn"]].append(detail["taskArn"])
        for cluster, arns in unknown.items():
            try:
                for task in self.tasks.describe(cluster, dict.fromkeys(arns)):
                    tags = {tag["key"]: tag["value"] for tag in task.get("tags", [])}
                    self._held[task["taskArn"]] = tags
            except (ClientError, BotoCoreError) as error:
                logger.warning("no tags", cluster=cluster, error=str(error))
        for arn in list(self._held)[:-MOST_HELD]:
            del self._held[arn]

    def of(self, detail: Detail) -> Mapping[str, str]:
        """Return a task's tags; where ECS has none, as of one that was stopped, its run alone."""
        tags = self._held.get(detail["taskArn"], {})
        if told(detail, CLAIM_ENV):
            return {"prefect.io/flow-run-id": str(flow_run_id(detail)), **tags}
        return tags
