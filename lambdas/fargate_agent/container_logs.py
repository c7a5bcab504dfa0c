"""The last lines of a container that died before its flow could say anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from fargate_agent.observability import logger
from fargate_agent.task_details import Detail, flow_container

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_logs import CloudWatchLogsClient

MOST_LINES = 100


@dataclass(frozen=True, slots=True)
class ContainerLogs:
    """Reads the logs of tasks in CloudWatch, where their definitions send them (``awslogs``).

    Parameters
    ----------
    ecs
        Knows the definitions.
    logs
        Makes a client of CloudWatch Logs in a region.
    """

    ecs: ECSClient
    logs: Callable[[str], CloudWatchLogsClient]

    def last_words(self, detail: Detail) -> Sequence[str]:
        """Return the last lines of a stopped task's flow container; none if they are not there.

        A log that cannot be read keeps nothing else from happening.
        """
        try:
            return self._last_words(detail)
        except (ClientError, BotoCoreError) as error:
            # Mostly that there is no such stream, for the container never started.
            logger.info("no container log", task_arn=detail["taskArn"], error=str(error))
            return ()

    def _last_words(self, detail: Detail) -> Sequence[str]:
        name = flow_container(detail)
        if name is None or "taskDefinitionArn" not in detail:
            return ()
        found = self.ecs.describe_task_definition(taskDefinition=detail["taskDefinitionArn"])
        options = _awslogs(name, found["taskDefinition"]["containerDefinitions"])
        prefix = options.get("awslogs-stream-prefix")
        if not prefix or "awslogs-group" not in options:
            return ()
        region = options.get("awslogs-region") or detail["taskArn"].split(":")[3]
        answer = self.logs(region).get_log_events(
            logGroupName=options["awslogs-group"],
            logStreamName=f"{prefix}/{name}/{detail['taskArn'].rpartition('/')[2]}",
            limit=MOST_LINES,
            startFromHead=False,
        )
        return [event["message"] for event in answer["events"]]


def _awslogs(container: str, definitions: Sequence[Any]) -> dict[str, str]:
    for definition in definitions:
        config = definition.get("logConfiguration", {})
        if definition["name"] == container and config.get("logDriver") == "awslogs":
            return dict(config.get("options", {}))
    return {}
