"""The last lines of a container, from CloudWatch."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from fargate_agent.container_logs import MOST_LINES, ContainerLogs
from tests.support.aws import client_error
from tests.support.fake_ecs import FakeEcs, task

OPTIONS = {"awslogs-group": "/flows", "awslogs-stream-prefix": "run"}
STREAM = "run/prefect/00000000000000000000000000000001"


class FakeLogs:
    """A CloudWatch Logs of some regions, each with one stream."""

    def __init__(self, *lines: str, failure: Exception | None = None):
        self.lines = lines
        self.failure = failure
        self.regions: list[str] = []
        self.asked: list[dict[str, Any]] = []

    def __call__(self, region: str) -> Any:
        self.regions.append(region)
        return self

    def get_log_events(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if self.failure:
            raise self.failure
        return {"events": [{"message": line} for line in self.lines]}


def container(name: str = "prefect", driver: str = "awslogs", **options: str) -> dict[str, Any]:
    return {"name": name, "logConfiguration": {"logDriver": driver, "options": options}}


def last_words(
    *definitions: dict[str, Any], logs: FakeLogs, of: dict[str, Any] | None = None, **ecs: Any
) -> list[str]:
    known: Any = FakeEcs(definition={"containerDefinitions": list(definitions)}, **ecs)
    return list(ContainerLogs(known, logs).last_words(of or task(status="STOPPED")))


def test_the_last_lines_of_the_flows_own_stream_are_read():
    logs = FakeLogs("ModuleNotFoundError", "bye")

    found = last_words(container("proxy"), container(**OPTIONS), logs=logs)

    assert found == ["ModuleNotFoundError", "bye"]
    assert logs.asked == [
        {
            "logGroupName": "/flows",
            "logStreamName": STREAM,
            "limit": MOST_LINES,
            "startFromHead": False,
        }
    ]


@pytest.mark.parametrize(
    ("options", "region"), [({}, "eu-west-1"), ({"awslogs-region": "us-east-2"}, "us-east-2")]
)
def test_they_are_read_where_the_definition_sends_them_or_where_the_task_ran(
    options: dict[str, str], region: str
):
    logs = FakeLogs("bye")

    last_words(container(**{**OPTIONS, **options}), logs=logs)

    assert logs.regions == [region]


@pytest.mark.parametrize(
    "definitions",
    [
        [],
        [{"name": "prefect"}],
        [{"name": "prefect", "logConfiguration": {"logDriver": "awslogs"}}],
        [container("proxy", **OPTIONS)],
        [container(driver="awsfirelens", **OPTIONS)],
        [container(**{"awslogs-group": "/flows"})],  # on EC2: no stream that can be told
        [container(**{"awslogs-stream-prefix": "run"})],
    ],
)
def test_a_log_that_lies_nowhere_known_is_not_looked_for(definitions: list[dict[str, Any]]):
    logs = FakeLogs("bye")

    assert last_words(*definitions, logs=logs) == []
    assert logs.asked == []


def test_where_several_containers_could_be_the_flows_none_is_read():
    logs = FakeLogs("bye")
    of = task(claim=None, containers=[{"name": "a"}, {"name": "b"}])

    assert last_words(container("a", **OPTIONS), logs=logs, of=of) == []


def test_the_only_container_is_the_flows():
    logs = FakeLogs("bye")

    assert last_words(container(**OPTIONS), logs=logs, of=task(claim=None)) == ["bye"]


def test_a_task_of_which_no_definition_is_known_has_no_log():
    of = task()
    del of["taskDefinitionArn"]

    assert last_words(container(**OPTIONS), logs=FakeLogs("bye"), of=of) == []


@pytest.mark.parametrize(
    "failure",
    [
        client_error("ResourceNotFoundException", operation="GetLogEvents"),  # it never started
        client_error("AccessDeniedException", operation="GetLogEvents"),
        client_error("ThrottlingException", operation="GetLogEvents"),
        EndpointConnectionError(endpoint_url="https://logs"),
    ],
)
def test_a_log_that_cannot_be_read_keeps_nothing_else_from_happening(failure: Exception):
    assert last_words(container(**OPTIONS), logs=FakeLogs(failure=failure)) == []


def test_a_definition_that_is_gone_keeps_nothing_else_from_happening():
    failures = {"describe_task_definition": client_error("ClientException")}

    assert last_words(logs=FakeLogs("bye"), failures=failures) == []
