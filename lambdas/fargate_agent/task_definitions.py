"""Finds the revision that holds a definition's exact content, or registers one."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fargate_agent.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

HASH_TAG = "fargate-agent/content-hash"
"""This tag on a revision names the content it was registered with."""

REGISTRATION_ATTEMPTS = 5

_NAMED_VALUES = ({"name", "value"}, {"name", "valueFrom"}, {"key", "value"})
"""The keys of list items whose order means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A registered task definition.

    ``how`` is "reused" or "registered", as it is told to the run's log.
    """

    arn: str
    how: str

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


class TaskDefinitions:
    """The revisions this function knows. A warm function asks ECS nothing it asked before.

    Parameters
    ----------
    ecs
        The ECS client.
    sleep
        Waits between attempts to register, in seconds.
    """

    def __init__(self, ecs: ECSClient, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ecs = ecs
        self._sleep = sleep
        self._known: dict[str, str] = {}
        self._registering = threading.Lock()

    def ensure(self, definition: Mapping[str, Any]) -> Revision:
        """Return an active revision with exactly this content, registering it where needed.

        Raises
        ------
        botocore.exceptions.ClientError
            ECS refused; :func:`tasks.classify` tells whether another try can help.
        """
        digest = content_hash(definition)
        known = self._known.get(digest)
        if known:
            return Revision(arn=known, how="reused")
        with self._registering:  # one registration at a time is all that ECS takes of a family
            known = self._known.get(digest)  # another thread's, by now
            if known:
                return Revision(arn=known, how="reused")
            revision = self._find(definition["family"], digest) or self._register(
                definition, digest
            )
            self._known[digest] = revision.arn
            return revision

    def forget(self, arn: str) -> None:
        """Drop a revision from memory, for ECS says that it is no longer active."""
        with self._registering:
            self._known = {digest: held for digest, held in self._known.items() if held != arn}

    def _find(self, family: str, digest: str) -> Revision | None:
        try:
            answer = self._ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
        except ClientError as error:
            # ECS has no error of its own for a family without an active revision.
            if error.response["Error"]["Code"] == "ClientException":
                return None
            raise
        tags = {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
        found = answer["taskDefinition"]
        if tags.get(HASH_TAG) != digest or found.get("status") == "INACTIVE":
            return None
        return Revision(arn=found["taskDefinitionArn"], how="reused")

    def _register(self, definition: Mapping[str, Any], digest: str) -> Revision:
        tags = [*definition.get("tags", []), {"key": HASH_TAG, "value": digest}]
        for attempt in range(1, REGISTRATION_ATTEMPTS + 1):
            try:
                answer = self._ecs.register_task_definition(**{**definition, "tags": tags})
            except ClientError as error:
                if not _concurrent(error) or attempt == REGISTRATION_ATTEMPTS:
                    raise
                self._sleep(random.uniform(0.2, 0.5) * 2**attempt)
                found = self._find(definition["family"], digest)
                if found:
                    return found
            else:
                revision = Revision(
                    arn=answer["taskDefinition"]["taskDefinitionArn"], how="registered"
                )
                logger.info("registered task definition", task_definition=revision.name)
                return revision
        raise AssertionError("unreachable: the last attempt returns or raises")


def _concurrent(error: ClientError) -> bool:
    """Tell whether another registration of the same family was under way."""
    return "Too many concurrent attempts" in error.response["Error"].get("Message", "")
