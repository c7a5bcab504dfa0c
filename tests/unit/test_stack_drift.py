"""``doctor --drift``: what others than CloudFormation changed of the stack's resources."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.doctor import stack
from cli.doctor.findings import Finding, Level

CHANGED = {
    "LogicalResourceId": "Runs",
    "PhysicalResourceId": "runs.fifo",
    "StackResourceDriftStatus": "MODIFIED",
    "PropertyDifferences": [{"PropertyPath": "/VisibilityTimeout"}],
}


class CloudFormation:
    """Looks twice until it knows."""

    def __init__(self, status: str, drifted: list[dict[str, Any]]) -> None:
        self._statuses = ["DETECTION_IN_PROGRESS", status]
        self._drifted = drifted

    def detect_stack_drift(self, **_: Any) -> dict[str, Any]:
        return {"StackDriftDetectionId": "id"}

    def describe_stack_drift_detection_status(self, **_: Any) -> dict[str, Any]:
        return {
            "DetectionStatus": self._statuses.pop(0),
            "DetectionStatusReason": "some resources could not be read",
        }

    def describe_stack_resource_drifts(self, **_: Any) -> dict[str, Any]:
        return {"StackResourceDrifts": self._drifted}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "BETWEEN_LOOKS_SECONDS", 0)


def drift(cloudformation: Any, *, asked: bool = True) -> list[Finding]:
    agent = SimpleNamespace(stack="fargate-agent")
    subject: Any = SimpleNamespace(drift=asked, agent=agent, client=lambda _: cloudformation)
    return [*stack.drift(subject)]


def test_a_changed_resource_is_named_with_what_changed() -> None:
    (finding,) = drift(CloudFormation("DETECTION_COMPLETE", [CHANGED]))

    assert finding.level is Level.FAILURE
    assert "Runs (runs.fifo) was modified by somebody else: /VisibilityTimeout" in finding.found


def test_an_untouched_stack_is_ok() -> None:
    (finding,) = drift(CloudFormation("DETECTION_COMPLETE", []))

    assert finding.level is Level.OK


def test_a_detection_that_failed_tells_its_reason() -> None:
    (finding,) = drift(CloudFormation("DETECTION_FAILED", []))

    assert (finding.level, finding.found) == (Level.UNKNOWN, "some resources could not be read")


def test_an_endless_detection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "PATIENCE_SECONDS", -1)

    (finding,) = drift(CloudFormation("DETECTION_COMPLETE", []))

    assert (finding.level, "did not finish" in finding.found) == (Level.UNKNOWN, True)


def test_nobody_looks_unless_it_is_asked_for() -> None:
    assert drift(None, asked=False) == []
