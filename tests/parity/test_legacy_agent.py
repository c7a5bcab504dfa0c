"""The product against the real legacy agent: what it was recorded to call, by the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.cases import Case
from tests.parity.comparison import difference, expected_of
from tests.parity.replay import replay


def test_a_recorded_case(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compare(case, tmp_path, monkeypatch)


def test_a_further_case(further_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compare(further_case, tmp_path, monkeypatch)


def compare(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = expected_of(case)

    did = replay(case, tmp_path, monkeypatch)

    refused = did.refusal is not None
    assert refused is expected.refused, did.refusal
    different = difference(did.calls, expected.calls)
    assert not different, f"{different}\n{did.messages}"
    assert did.outcomes == expected.outcomes, did.messages
    assert did.regions <= {case.region}
