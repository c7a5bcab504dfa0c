"""What ECS and the tagging API say of one account's task definitions, call for call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.stub import Stubber

from fargate_agent.task_definitions import TaskDefinitions
from tests.support.aws import stubbed

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/"


class Revisions:
    """The script of the calls that are expected, and of their answers."""

    def __init__(self, ecs: Any, tagging: Any, calls: Stubber, searches: Stubber) -> None:
        self._clients = ecs, tagging
        self._calls = calls
        self._searches = searches

    def definitions(self, **options: Any) -> TaskDefinitions:
        """Make what is tested."""
        return TaskDefinitions(*self._clients, **options)

    def describes(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        *,
        asked: str | None = None,
        **definition: Any,
    ) -> None:
        """Expect a question for ``asked``, by default the family; answer ``family:revision``."""
        told = {"taskDefinitionArn": ARN + name, "status": "ACTIVE", **definition}
        self._calls.add_response(
            "describe_task_definition",
            {"taskDefinition": told, "tags": as_list(tags or {})},
            {"taskDefinition": asked or name.partition(":")[0], "include": ["TAGS"]},
        )

    def registers(self, name: str, definition: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Expect a registration with these very tags."""
        self._calls.add_response(
            "register_task_definition",
            {"taskDefinition": {"taskDefinitionArn": ARN + name}},
            {**definition, "tags": as_list(tags)},
        )

    def refuses(self, method: str, code: str, message: str) -> None:
        """Expect a call of ECS and refuse it."""
        self._calls.add_client_error(method, code, message)

    def refuses_to_search(self, code: str) -> None:
        """Expect a search by tag and refuse it."""
        self._searches.add_client_error("get_resources", code)

    def knows_no_family(self) -> None:
        """Expect a question for a family and answer as ECS does where there is none."""
        message = "Unable to describe task definition."
        self.refuses("describe_task_definition", "ClientException", message)

    def searches(self, key: str, value: str, *pages: Sequence[str]) -> None:
        """Expect a search by tag; answer the pages of names, ``family:revision``."""
        asked = {
            "TagFilters": [{"Key": key, "Values": [value]}],
            "ResourceTypeFilters": ["ecs:task-definition"],
        }
        for number, page in enumerate(pages or [()], start=1):
            found = [{"ResourceARN": ARN + name} for name in page]
            more = str(number) if number < len(pages) else ""
            answer = {"ResourceTagMappingList": found, "PaginationToken": more}
            self._searches.add_response("get_resources", answer, dict(asked))
            asked["PaginationToken"] = more


@contextmanager
def revisions() -> Iterator[Revisions]:
    """Give the script; afterwards, every expected call must have been made."""
    with (
        stubbed("ecs") as (ecs, calls),
        stubbed("resourcegroupstaggingapi") as (tagging, searches),
    ):
        yield Revisions(ecs, tagging, calls, searches)


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Write tags as ECS takes them."""
    return [{"key": key, "value": value} for key, value in tags.items()]
