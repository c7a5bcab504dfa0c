"""Which revision of a task definition is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from tests.parity.ecs_worker import failures
from tests.parity.ecs_worker.aws.definitions import completed
from tests.parity.ecs_worker.comparison import normalized
from tests.parity.ecs_worker.course.caller import Caller
from tests.parity.ecs_worker.course.habits import Habits
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.worker.equality import equal

OWN_TAGS = "fargate-agent/"
HASH_TAG = f"{OWN_TAGS}content-hash"
REGISTRATIONS = 5
"""So often is a definition registered while others of its family are being registered."""


class Revisions:
    """Finds revisions as the worker does, or by their content."""

    def __init__(self, caller: Caller, habits: Habits) -> None:
        self._caller = caller
        self._habits = habits

    def named(self, plan: Plan) -> tuple[Plan, str, bool]:
        """Return the definition that the run names; it is never new."""
        assert plan.named is not None
        key = json.dumps([plan.named, plan.account.region, plan.account.key])
        held = self._caller.memory.named.get(key) if self._habits.describes_once else None
        if held is None:
            params = {"taskDefinition": plan.named}
            held = self._caller.call(plan, "DescribeTaskDefinition", params)["taskDefinition"]
            if plan.named.rpartition(":")[2].isdecimal():
                self._caller.memory.named[key] = held
        exact = self._habits.runs_what_it_described
        arn = held["taskDefinitionArn"] if exact else plan.named
        return plan.changed(definition=held), arn, False

    def found(self, plan: Plan) -> tuple[Plan, str, bool]:
        """Return the revision that the worker runs, and whether it is new."""
        cached = self._caller.memory.definitions.get(plan.cache_key)
        names = [cached] if cached else []
        if plan.matches_family:
            names.append(plan.definition["family"])
        for name in names:
            try:
                params = {"taskDefinition": name}
                held = self._caller.call(plan, "DescribeTaskDefinition", params)["taskDefinition"]
            except ClientError:
                continue
            is_active = held["status"] == "ACTIVE" or name != cached
            if is_active and equal(plan.definition, held):
                return plan, held["taskDefinitionArn"], False
        tries = failures.attempts(plan.run.case, "REGISTER_TASK_DEFINITION")
        return plan, failures.again(tries, lambda: self._register(plan)), True

    def found_by_content(self, plan: Plan) -> tuple[str, bool]:
        """Return the revision of exactly this content, and whether it is new."""
        content = json.dumps(
            [normalized(_without_tags(plan.definition)), plan.cache_key, plan.account.key],
            sort_keys=True,
            default=repr,
        )
        known = self._caller.memory.definitions.get(content)
        if known and self._habits.warm:
            return known, False
        arn = self._looked_for(plan)
        is_new = arn is None
        for attempt in range(1, REGISTRATIONS + 1):
            if arn is not None:
                break
            try:
                arn = self._register(plan)
            except ClientError as error:
                if not failures.is_concurrent(error) or attempt == REGISTRATIONS:
                    raise
                arn = self._looked_for(plan)
        assert arn is not None
        self._caller.memory.definitions[content] = arn
        return arn, is_new

    def is_own(self, arn: str, region: str) -> bool:
        """Tell whether the agent registered a revision."""
        found = self._caller.aws.definitions(region).find(arn)
        return found is not None and HASH_TAG in _tags(found.registered)

    def _looked_for(self, plan: Plan) -> str | None:
        family = plan.definition["family"]
        latest = self._described(plan, family)
        if latest is None:
            return None
        if self._is_usable(latest, plan):
            return str(latest["taskDefinition"]["taskDefinitionArn"])
        return self._searched(plan, family)

    def _searched(self, plan: Plan, family: str) -> str | None:
        """Search older revisions by the tag of their content, and look at what is found."""
        tag = failures.ANY_HASH
        params = {
            "TagFilters": [{"Key": HASH_TAG, "Values": [tag]}],
            "ResourceTypeFilters": ["ecs:task-definition"],
        }
        self._caller.call(plan, "GetResources", params)
        held = self._caller.aws.definitions(plan.account.region).families.get(family, [])
        for revision in reversed(held):
            wanted, found = plan.definition, revision.registered
            if HASH_TAG in _tags(found) and _same(wanted, found):
                described = self._described(plan, revision.arn)
                if described and self._is_usable(described, plan):
                    return revision.arn
        return None

    def _described(self, plan: Plan, name: str) -> dict[str, Any] | None:
        params = {"taskDefinition": name, "include": ["TAGS"]}
        try:
            return self._caller.call(plan, "DescribeTaskDefinition", params)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ClientException":
                return None
            raise

    def _is_usable(self, answer: Mapping[str, Any], plan: Plan) -> bool:
        held = answer["taskDefinition"]
        if held["status"] != "ACTIVE":
            return False
        tags = _tags(plan.definition), _tags(answer)
        if HASH_TAG in tags[1]:
            revision = self._caller.aws.definitions(plan.account.region).find(
                held["taskDefinitionArn"]
            )
            return revision is not None and _same(plan.definition, revision.registered)
        own = {key: value for key, value in tags[0].items() if not key.startswith(OWN_TAGS)}
        return own == tags[1] and equal(completed(_without_tags(plan.definition)), held)

    def _register(self, plan: Plan) -> str:
        answer = self._caller.call(plan, "RegisterTaskDefinition", plan.definition)
        return str(answer["taskDefinition"]["taskDefinitionArn"])


def _tags(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in definition.get("tags") or []}


def _same(wanted: Mapping[str, Any], registered: Mapping[str, Any]) -> bool:
    """Tell whether two registrations are of one content."""
    same: bool = normalized(dict(wanted)) == normalized(dict(registered))
    return same


def _without_tags(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if key != "tags"}
