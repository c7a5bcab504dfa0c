"""What a template's references lead to, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.templating import MISSING


@dataclass
class FakeReferences:
    """Blocks by ``type/name``, documents by their ids, and variables by their names."""

    blocks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def block(self, type_slug: str, name: str) -> Mapping[str, Any]:
        return self._find(self.blocks, f"{type_slug}/{name}")

    def block_document(self, id: str) -> Mapping[str, Any]:
        return self._find(self.documents, id)

    def variable(self, name: str) -> Any:
        self.asked.append(name)
        return self.variables.get(name, MISSING)

    def _find(self, held: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
        self.asked.append(name)
        if name not in held:
            raise PermanentError(f"there is no block {name}")
        return held[name]
