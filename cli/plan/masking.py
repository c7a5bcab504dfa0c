"""Names in place of what blocks hold: a plan is shown on screens, and blocks hold secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fargate_agent.accounts import Account
from fargate_agent.orchestrators.references import References, ReferencesAt


@dataclass(frozen=True, slots=True)
class MaskedReferences:
    """Stands in for :class:`references.References`."""

    references: References

    def at(self, versions: Mapping[str, str]) -> _MaskedAt:
        """Return what reads these versions."""
        return _MaskedAt(self.references.at(versions))


@dataclass(frozen=True, slots=True)
class _MaskedAt:
    at: ReferencesAt

    def block(self, type_slug: str, name: str) -> Any:
        return _masked(self.at.block(type_slug, name), f"{type_slug}/{name}")

    def block_document(self, id: str) -> Any:
        return _masked(self.at.block_document(id), id)

    def variable(self, name: str) -> Any:
        return self.at.variable(name)  # which is no secret to Prefect either


_OF_SECRETS = {"value"}
"""The fields of a block of the type ``secret``, of which a number is as secret as a text."""


def _masked(data: Mapping[str, Any], block: str) -> Any:
    """Replace every text in a block's data, and in a secret's every number; its form stays."""
    kinds = (str, int, float) if data.keys() == _OF_SECRETS else (str,)
    return _replaced(data, f"<block {block}>", kinds)


def _replaced(value: Any, name: str, kinds: tuple[type, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(item, name, kinds) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, name, kinds) for item in value]
    return name if isinstance(value, kinds) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class OneAccount:
    """Stands in for :class:`accounts.Accounts` where the credentials are masked."""

    own: Account
    account: Account

    def of(self, credentials: object) -> Account:
        """Return the account that the real credentials lead to."""
        return self.account
