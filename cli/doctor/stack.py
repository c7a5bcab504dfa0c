"""The stack: what became of its last deployment, and whether what runs is what is written here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cli.doctor.findings import Finding, failure, ok, unknown, warning
from cli.doctor.subject import Subject
from infra.config import runtime_settings

PATIENCE_SECONDS = 300
BETWEEN_LOOKS_SECONDS = 2

_AGAIN = "Read its events in CloudFormation's console, mend the cause, and deploy again."


def status(subject: Subject) -> Iterator[Finding]:
    """Tell what became of the last deployment."""
    described = subject.agent.description
    state, reason = described["StackStatus"], described.get("StackStatusReason", "")
    told = f"{subject.agent.stack}: {state}" + (f": {reason}" if reason else "")
    if state in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        yield ok("stack", told)
    elif state == "UPDATE_ROLLBACK_COMPLETE":
        yield warning("stack", f"{told}: what runs is what was deployed before", _AGAIN)
    elif state.endswith("_IN_PROGRESS"):
        yield warning("stack", told, "Wait for the deployment to end, and run doctor again.")
    else:
        yield failure("stack", told, _AGAIN)


def settings(subject: Subject) -> Iterator[Finding]:
    """Compare what is deployed with what is written here."""
    if subject.config is None:
        yield unknown("settings", "not compared: there is no valid settings' file here")
        return
    # As the bundle holds them: plain JSON.
    here = json.loads(json.dumps(runtime_settings(subject.config)))
    there = {key: _plain(getattr(subject.settings, key)) for key in here}
    differing = [_difference(key, there[key], here[key]) for key in here if there[key] != here[key]]
    if differing:
        yield warning(
            "settings",
            f"deployed and written here differ: {'; '.join(differing)}",
            "Deploy ('npx cdk deploy'), or tell doctor the -c options that you deploy with.",
        )
    else:
        yield ok("settings", "what is deployed is what is written here")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _difference(key: str, there: Any, here: Any) -> str:
    """Name what differs. The values of tables, which may hold the tasks' environment, are kept."""
    if isinstance(there, Mapping) or isinstance(here, Mapping):
        there, here = there or {}, here or {}
        names = sorted(n for n in {*there, *here} if there.get(n) != here.get(n))
        return f"{key} ({', '.join(names)})"
    return f"{key} ({there!r} deployed, {here!r} here)"


def drift(subject: Subject) -> Iterator[Finding]:
    """Tell which resources were changed by others than CloudFormation, if that is asked for."""
    if not subject.drift:
        return
    cloudformation, name = subject.client("cloudformation"), "stack's drift"
    id = cloudformation.detect_stack_drift(StackName=subject.agent.stack)["StackDriftDetectionId"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        asked = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=id)
        if asked["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        if time.monotonic() > deadline:
            yield unknown(name, f"CloudFormation did not finish in {PATIENCE_SECONDS} s")
            return
        time.sleep(BETWEEN_LOOKS_SECONDS)
    if asked["DetectionStatus"] == "DETECTION_FAILED":
        yield unknown(name, asked.get("DetectionStatusReason", "the detection failed"))
        return
    drifted = cloudformation.describe_stack_resource_drifts(
        StackName=subject.agent.stack, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"]
    )["StackResourceDrifts"]
    for resource in drifted:
        yield failure(
            name,
            f"{resource['LogicalResourceId']} ({resource.get('PhysicalResourceId', '')}) was "
            f"{resource['StackResourceDriftStatus'].lower()} by somebody else" + _changes(resource),
            "Undo that, or write it into agent.toml and deploy.",
        )
    if not drifted:
        yield ok(name, "every resource is as it was deployed")


def _changes(resource: Mapping[str, Any]) -> str:
    paths = [change["PropertyPath"] for change in resource.get("PropertyDifferences", [])]
    return f": {', '.join(paths)}" if paths else ""
