"""What a plan tells of blocks: their names, and nothing that may be secret."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.plan.masking import MaskedReferences


def _block(data: dict[str, Any]) -> Any:
    references: Any = SimpleNamespace(
        at=lambda _: SimpleNamespace(
            block=lambda *_: data, block_document=lambda _: data, variable=lambda _: "shown"
        )
    )
    return MaskedReferences(references).at({})


@pytest.mark.parametrize("value", ["text", 1234, 0.5, {"a": [1, "b"]}])
def test_nothing_of_a_secret_is_shown(value: Any) -> None:
    masked = _block({"value": value}).block("secret", "pin")["value"]

    nested = {"a": ["<block secret/pin>", "<block secret/pin>"]}
    assert masked == (nested if isinstance(value, dict) else "<block secret/pin>")


def test_a_number_of_another_block_is_a_size_and_stays() -> None:
    found = _block({"cpu": 512, "spot": True, "name": "x"}).block_document("id")

    assert found == {"cpu": 512, "spot": True, "name": "<block id>"}


def test_a_variable_is_no_secret() -> None:
    assert _block({}).variable("colour") == "shown"
