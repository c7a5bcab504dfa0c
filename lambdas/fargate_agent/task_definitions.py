"""Finds the revision to run: by default that of a definition's exact content, or a new one."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fargate_agent.drift import OWN_TAGS, differences
from fargate_agent.errors import PermanentError
from fargate_agent.observability import logger
from fargate_agent.runs import MAX_TAGS, RevisionTerms

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient

HASH_TAG = f"{OWN_TAGS}content-hash"
"""This tag on a revision names the content it was registered with."""

FLOW_ID_TAG, FLOW_VERSION_TAG = "PrefectFlowId", "PrefectFlowVersion"
"""The legacy agent's tags on a revision, where ``ecs.enable_task_revisions`` is on."""

REGISTRATION_ATTEMPTS = 5

MOST_CANDIDATES = 5
"""So many older revisions are looked at before a new one is registered."""

_NAMED_VALUES = ({"name", "value"}, {"name", "valueFrom"}, {"key", "value"})
"""The keys of list items whose order means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A registered task definition.

    ``how`` is "reused" or "registered", as it is told to the run's log. ``ours`` is false of one
    that the agent did not register.
    """

    arn: str
    how: str
    ours: bool = True

    @property
    def name(self) -> str:
        """``family:revision``."""
        return self.arn.rpartition("/")[2]


def content_hash(definition: Mapping[str, Any]) -> str:
    """Name a definition's content: equal for definitions that mean the same to ECS.

    The order of keys, environment variables, secrets and tags means nothing.
    """
    text = json.dumps(_normalized(definition), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _normalized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _normalized(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_normalized(item) for item in value]
        return sorted(items, key=_name) if all(map(_is_named_value, items)) else items
    return value


def _is_named_value(item: Any) -> bool:
    """Tell whether an item is a name and its value, as environment variables and tags are."""
    return isinstance(item, dict) and item.keys() in _NAMED_VALUES


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("name", item.get("key")))


class OnDrift(Enum):
    """What becomes of a family whose latest revision is not what a run asks for."""

    REVISE = "revise"
    """An older revision of exactly this content, else a new one."""
    REUSE = "reuse"
    """The latest revision as it is, as the legacy ``FargateAgent`` did."""
    FAIL = "fail"
    """No launch but an error that names each difference, as ``FargateTaskEnvironment`` had it."""


@dataclass(frozen=True, slots=True)
class _Found:
    definition: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def arn(self) -> str:
        return str(self.definition["taskDefinitionArn"])

    @property
    def is_active(self) -> bool:
        return self.definition.get("status") != "INACTIVE"

    @property
    def secrets(self) -> frozenset[str]:
        containers = self.definition.get("containerDefinitions", [])
        return frozenset(e["name"] for c in containers for e in c.get("secrets", []))

    def belongs_to(self, owner: Mapping[str, str]) -> bool:
        """Tell whether nothing on the revision says that it is another flow's."""
        must = {key: value for key, value in owner.items() if key == FLOW_ID_TAG}
        return all(self.tags.get(key) == value for key, value in must.items()) and all(
            self.tags.get(key, value) == value for key, value in owner.items()
        )

    def differs_from(self, wanted: Mapping[str, Any]) -> list[str]:
        """Name every difference of the content."""
        return differences(wanted, {**self.definition, "tags": self.tags})

    def is_of_an_older_version(self, wanted: Mapping[str, Any]) -> bool:
        """Tell whether the wanted flow is of a later version: then no revision can be its own."""
        versions = (self.tags.get(FLOW_VERSION_TAG, "0"), tags_of(wanted).get(FLOW_VERSION_TAG, ""))
        return all(v.isdecimal() for v in versions) and int(versions[0]) < int(versions[1])


class TaskDefinitions:
    """The revisions this function knows. A warm function asks ECS nothing it asked before.

    Parameters
    ----------
    ecs
        The ECS client.
    tagging
        The client of the Resource Groups Tagging API, which finds older revisions by their tags.
    sleep
        Waits between attempts to register, in seconds.
    """

    def __init__(
        self,
        ecs: ECSClient,
        tagging: ResourceGroupsTaggingAPIClient,
        *,
        on_drift: OnDrift = OnDrift.REVISE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ecs = ecs
        self.tagging = tagging
        self._on_drift = on_drift
        self._sleep = sleep
        self._known: dict[str, Revision] = {}
        self._registering = threading.Lock()

    def ensure(self, definition: Mapping[str, Any], terms: RevisionTerms | None = None) -> Revision:
        """Return an active revision to run, registering one where needed.

        Parameters
        ----------
        terms
            What a revision of other content must meet, where ``ecs.on_drift`` allows for one.

        Raises
        ------
        PermanentError
            The family's latest revision differs, and ``ecs.on_drift`` is "fail".
        botocore.exceptions.ClientError
            ECS refused; :func:`tasks.classify` tells whether another try can help.
        """
        terms = terms or RevisionTerms()
        digest = content_hash({**definition, "owner": dict(terms.owner)})
        known = self._known.get(digest)
        if known:
            return known
        with self._registering:  # one registration at a time is all that ECS takes of a family
            known = self._known.get(digest)  # another thread's, by now
            if known:
                return known
            revision = self.find(definition, terms) or self._register(definition, terms)
            self._known[digest] = replace(revision, how="reused")
            return revision

    def forget(self, arn: str) -> None:
        """Drop a revision from memory, for ECS says that it is no longer active."""
        with self._registering:
            self._known = {digest: held for digest, held in self._known.items() if held.arn != arn}

    def latest(self, family: str) -> Mapping[str, Any] | None:
        """Describe a family's latest active revision, with its tags by their keys, if any."""
        found = self._describe(family)
        return {**found.definition, "tags": found.tags} if found else None

    def find(self, definition: Mapping[str, Any], terms: RevisionTerms) -> Revision | None:
        """Return the registered revision that would be run, or None where one must be registered.

        Raises as :meth:`ensure`.
        """
        latest = self._describe(definition["family"])
        if latest is None:
            return None
        if self._is_usable(latest, definition, terms):
            return Revision(arn=latest.arn, how="reused", ours=HASH_TAG in latest.tags)
        if self._on_drift is OnDrift.REVISE:
            tag = (HASH_TAG, content_hash(definition))
        elif terms.owner and not latest.is_of_an_older_version(definition):
            key = FLOW_ID_TAG if FLOW_ID_TAG in terms.owner else next(iter(terms.owner))
            tag = (key, terms.owner[key])
        else:
            return None
        for arn in self._tagged(definition["family"], *tag):
            found = self._describe(arn)
            if found and self._is_usable(found, definition, terms):
                return Revision(arn=arn, how="reused", ours=HASH_TAG in found.tags)
        return None

    def _is_usable(
        self, found: _Found, definition: Mapping[str, Any], terms: RevisionTerms
    ) -> bool:
        if not found.is_active:
            return False
        if found.tags.get(HASH_TAG) == content_hash(definition):
            return True
        if self._on_drift is OnDrift.REVISE:  # it may be another's, such as an ECS worker's
            return HASH_TAG not in found.tags and not found.differs_from(definition)
        if not found.belongs_to(terms.owner):
            return False
        missing = terms.credentials - found.secrets
        if self._on_drift is OnDrift.FAIL:
            wanted = without_secrets(definition, missing)
            drift = found.differs_from(wanted)
            if drift:
                raise PermanentError(
                    f"The task definition {found.arn.rpartition('/')[2]} differs from what this "
                    f'run asks for, and ecs.on_drift is "fail": {"; ".join(drift)}. Deregister '
                    'it, name another family, or set ecs.on_drift to "revise".'
                )
        return not missing

    def _describe(self, name: str) -> _Found | None:
        try:
            answer = self._ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])
        except ClientError as error:
            # ECS has no error of its own for a family without an active revision.
            if error.response["Error"]["Code"] == "ClientException":
                return None
            raise
        tags = {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
        return _Found(answer["taskDefinition"], tags)

    def _tagged(self, family: str, key: str, value: str) -> list[str]:
        """Return the family's revisions with a tag, the latest first, whether active or not."""
        pages = self.tagging.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": key, "Values": [value]}],
            ResourceTypeFilters=["ecs:task-definition"],
        )
        try:
            found = [item for page in pages for item in page["ResourceTagMappingList"]]
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            # A role of [aws] may lack the right: that costs a revision more, not the run.
            logger.warning("older revisions are not found: allow tag:GetResources")
            return []
        arns = [item["ResourceARN"] for item in found]
        ours = [arn for arn in arns if arn.rpartition("/")[2].rpartition(":")[0] == family]
        return sorted(ours, key=_number, reverse=True)[:MOST_CANDIDATES]

    def _register(self, definition: Mapping[str, Any], terms: RevisionTerms) -> Revision:
        given = tags_of(definition)
        ours = {key: value for key, value in terms.owner.items() if key not in given}
        ours[HASH_TAG] = content_hash(definition)
        all_tags = {**dict(list(given.items())[: MAX_TAGS - len(ours)]), **ours}
        tags = [{"key": key, "value": value} for key, value in all_tags.items()]
        for attempt in range(1, REGISTRATION_ATTEMPTS + 1):
            try:
                answer = self._ecs.register_task_definition(**{**definition, "tags": tags})
            except ClientError as error:
                if not _concurrent(error) or attempt == REGISTRATION_ATTEMPTS:
                    raise
                self._sleep(random.uniform(0.2, 0.5) * 2**attempt)
                found = self.find(definition, terms)
                if found:
                    return found
            else:
                revision = Revision(
                    arn=answer["taskDefinition"]["taskDefinitionArn"], how="registered"
                )
                logger.info("registered task definition", task_definition=revision.name)
                return revision
        raise AssertionError("unreachable: the last attempt returns or raises")


def without_secrets(definition: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a definition without some of its containers' secrets."""
    return {
        **definition,
        "containerDefinitions": [
            {
                **container,
                "secrets": [e for e in container.get("secrets", []) if e["name"] not in names],
            }
            for container in definition["containerDefinitions"]
        ],
    }


def tags_of(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return a definition's tags by their keys."""
    return {tag["key"]: tag["value"] for tag in definition.get("tags") or []}


def _number(arn: str) -> int:
    return int(arn.rpartition(":")[2])


def _concurrent(error: ClientError) -> bool:
    """Tell whether another registration of the same family was under way."""
    return "Too many concurrent attempts" in error.response["Error"].get("Message", "")
