"""Blocks and variables of a Prefect server, read once for each version of them.

A poll tells the versions of what its runs refer to, so that a launch reads again only what has
changed since this function read it; and what was changed before a run was created is never older
in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.http import ApiError, JsonClient
from fargate_agent.runs import is_current
from fargate_agent.shared_calls import SharedCalls
from fargate_agent.templating import MISSING

FILTER_SIZE = 200
"""The most items that a filter returns at once."""


class References:
    """What templates refer to, on one server. Names are :func:`templating.references_in`'s."""

    def __init__(self, api: JsonClient) -> None:
        self._api = api
        self._held: dict[str, tuple[str | None, dict[str, Any] | None]] = {}
        self._calls = SharedCalls()

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """Return when each was last changed, in at most three calls; what is gone is missing."""
        kinds: dict[str, set[str]] = {}
        for name in names:
            kind, _, rest = name.partition(".")
            kinds.setdefault(kind, set()).add(rest)
        return {
            **self._versions_of_blocks(kinds.get("blocks", set())),
            **self._versions_of_documents(kinds.get("block_documents", set())),
            **self._versions_of_variables(kinds.get("variables", set())),
        }

    def at(self, versions: Mapping[str, str]) -> ReferencesAt:
        """Return what reads these versions, or later ones."""
        return ReferencesAt(self, versions)

    def read(self, name: str, path: str, version: str | None) -> dict[str, Any] | None:
        """Return what a path holds, from memory where that is of this version or a later one."""

        def read() -> dict[str, Any] | None:
            known, held = self._held.get(name, (None, None))
            if held is not None and is_current(known, version):
                return held
            found = self._read(path)
            self._held[name] = (found["updated"] if found else None, found)
            return found

        found: dict[str, Any] | None = self._calls.make((name, version), read)
        return found

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.get(path)
        except ApiError as error:
            if error.status not in (404, 405, 422):  # the latter where the name cannot be one
                raise
            return None
        return found

    def _versions_of_blocks(self, names: set[str]) -> dict[str, str]:
        pairs = [name.split(".", 1) for name in names]
        if not pairs:
            return {}
        found = self._filter(
            "block_documents",
            block_documents={"name": {"any_": sorted({name for _, name in pairs})}},
            block_types={"slug": {"any_": sorted({slug for slug, _ in pairs})}},
        )
        versions = {
            f"{block['block_type']['slug']}.{block['name']}": block["updated"]
            for block in found
            if not _has_others_in_it(block)
        }
        return {f"blocks.{name}": versions[name] for name in names & versions.keys()}

    def _versions_of_documents(self, ids: set[str]) -> dict[str, str]:
        ids = set(filter(is_uuid, ids))  # one that is none would have the server refuse them all
        if not ids:
            return {}
        asked = {"id": {"any_": sorted(ids)}, "is_anonymous": None}
        found = self._filter("block_documents", block_documents=asked)
        return {
            f"block_documents.{block['id']}": block["updated"]
            for block in found
            if not _has_others_in_it(block)
        }

    def _versions_of_variables(self, names: set[str]) -> dict[str, str]:
        if not names:
            return {}
        found = self._filter("variables", variables={"name": {"any_": sorted(names)}})
        return {f"variables.{variable['name']}": variable["updated"] for variable in found}

    def _filter(self, kind: str, **asked: Any) -> list[dict[str, Any]]:
        return list(self._api.post(f"/{kind}/filter", {**asked, "limit": FILTER_SIZE}))


@dataclass(frozen=True, slots=True)
class ReferencesAt:
    """Reads what one run's template refers to; see :class:`templating.References`.

    What has no version is read once for the run.
    """

    references: References
    versions: Mapping[str, str]
    _read_already: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def block(self, type_slug: str, name: str) -> Mapping[str, Any]:
        """Return a block's data."""
        path = f"/block_types/slug/{_quoted(type_slug)}/block_documents/name/{_quoted(name)}"
        found = self._read(f"blocks.{type_slug}.{name}", f"{path}?include_secrets=true")
        if found is None:
            raise _gone(f"block {name!r} of type {type_slug!r}")
        return dict(found["data"])

    def block_document(self, id: str) -> Mapping[str, Any]:
        """Return the data of a block by its id."""
        path = f"/block_documents/{_quoted(id)}?include_secrets=true"
        found = self._read(f"block_documents.{id}", path)
        if found is None:
            raise _gone(f"block of the id {id}")
        return dict(found["data"])

    def variable(self, name: str) -> Any:
        """Return a variable's value, or :data:`templating.MISSING`."""
        found = self._read(f"variables.{name}", f"/variables/name/{_quoted(name)}")
        return MISSING if found is None else found["value"]

    def _read(self, name: str, path: str) -> dict[str, Any] | None:
        if name not in self._read_already:
            found = self.references.read(name, path, self.versions.get(name))
            self._read_already[name] = found
        return self._read_already[name]


def _has_others_in_it(block: Mapping[str, Any]) -> bool:
    """Tell whether a block refers to others: its own version does not tell of their changes."""
    return bool(block.get("block_document_references"))


def is_uuid(text: str) -> bool:
    """Tell whether a text is a UUID, as all ids of Prefect are."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _gone(what: str) -> PermanentError:
    return PermanentError(
        f"The {what}, which the work pool, the deployment or the run refers to, does not exist. "
        "Create it, or correct the reference."
    )
