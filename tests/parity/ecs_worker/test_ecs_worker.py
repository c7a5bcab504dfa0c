"""The product against the real ECS worker: what it was recorded to call, by the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.ecs_worker.cases import Case
from tests.parity.ecs_worker.comparison import difference
from tests.parity.ecs_worker.replay import replay
from tests.parity.ecs_worker.rules_applied import expected_of
from tests.parity.ecs_worker.variations import variations


def test_a_recorded_case(ecs_worker_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compare(ecs_worker_case, tmp_path, monkeypatch)


@pytest.mark.parametrize("variation", variations(), ids=lambda case: case.id)
def test_a_variation(variation: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    compare(variation, tmp_path, monkeypatch)


def compare(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = expected_of(case).played

    replayed = replay(case, tmp_path, monkeypatch)

    for number, (did, wanted) in enumerate(zip(replayed, expected, strict=True), start=1):
        different = difference(did.calls, wanted.calls)
        assert not different, f"run {number}, {different}\n{did.message}"
        assert did.outcome == wanted.outcome, did.message
        assert bool(did.message) is (did.outcome != "launched")
        assert did.outcome == "launched" or wanted.cause.lower() in did.message.lower()
        if wanted.cluster:
            assert did.infrastructure == f"{wanted.cluster}::{did.tasks[-1]}"
