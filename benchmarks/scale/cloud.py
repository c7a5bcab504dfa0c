"""AWS with its limits, and the tasks that it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.scale.limits import Limits
from tests.faults.back_pressure.aws import Aws, Json
from tests.faults.back_pressure.buckets import TokenBucket

INVALID = {"__type": "InvalidParameterException", "message": "taskId longer than 36."}


@dataclass
class LargeCloud(Aws):
    """As :class:`Aws`, with every limit of ECS, and tags of tasks.

    Parameters
    ----------
    limits
        What the account may do.
    on_call
        Called before each answer, with the operation.
    on_ticks
        Takes the messages that are sent to the queue of ticks.
    on_start
        Called with each task that is started.
    """

    limits: Limits = field(default_factory=Limits)
    on_call: Callable[[str], None] = lambda _: None
    on_ticks: Callable[[list[Json]], None] = lambda _: None
    on_start: Callable[[Json], None] = lambda _: None
    throttles: Counter[str] = field(default_factory=Counter)
    """Calls that were throttled, by operation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        made = [
            (self.limits.run_task, "RunTask"),
            (self.limits.register, "RegisterTaskDefinition", "DeregisterTaskDefinition"),
            (self.limits.describe_definition, "DescribeTaskDefinition"),
            (self.limits.tasks_read, "DescribeTasks", "ListTasks"),
        ]
        self._buckets: dict[str, TokenBucket] = {}
        for rate, *operations in made:
            bucket = TokenBucket(*rate, self.clock.time)
            self._buckets |= dict.fromkeys(operations, bucket)
        self.run_task_calls = TokenBucket(10**9, 10**9, self.clock.time)  # it is among the others
        self.fargate_tasks = TokenBucket(*self.limits.fargate_tasks, self.clock.time)
        self._by_arn: dict[str, Json] = {}

    def _call(self, operation: str, given: Json) -> Json:
        self.on_call(operation)
        bucket = self._buckets.get(operation)
        if bucket and not bucket.has_one():
            self.throttles[operation] += 1
            return self._throttle()
        if bucket:
            bucket.take()
        answer = super()._call(operation, given)
        if operation == "RunTask" and "__type" in answer:
            self.throttles["Fargate"] += 1
        return answer

    def _SendMessageBatch(self, given: Json) -> Json:
        if given["QueueUrl"].endswith("ticks"):
            self.on_ticks(given["Entries"])
            sent = [
                {"Id": e["Id"], "MessageId": "", "MD5OfMessageBody": ""} for e in given["Entries"]
            ]
            return {"Successful": sent, "Failed": []}
        return super()._SendMessageBatch(given)

    def _task(self, given: Json) -> Json:
        task = {
            **super()._task(given),
            "tags": given.get("tags", []),
            "desiredStatus": "RUNNING",
            "containers": [{"name": "prefect"}],
        }
        self._by_arn[task["taskArn"]] = task
        self.on_start(task)
        return task

    def _ListTasks(self, given: Json) -> Json:
        if "startedBy" in given:
            return super()._ListTasks(given)
        return {"taskArns": []}

    def _DescribeTasks(self, given: Json) -> Json:
        found = [self._by_arn[arn] for arn in given["tasks"] if arn in self._by_arn]
        return {"tasks": found, "failures": []}
