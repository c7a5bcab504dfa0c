"""Errors of AWS."""

from __future__ import annotations

from tests.parity.cases import Case
from tests.parity.expectation import Launch
from tests.parity.rules.base import Rule, each, may_call, of_flows

STAYS = frozenset(
    {
        *("AccessDenied", "AccessDeniedException", "BlockedException", "ClientException"),
        *("ClusterNotFoundException", "InvalidParameterException", "UnsupportedFeatureException"),
        *("PlatformTaskDefinitionIncompatibilityException", "PlatformUnknownException"),
    }
)
"""Errors of ECS that another try cannot mend."""

FILE_STAYS = frozenset(
    {"AccessDenied", "InvalidObjectState", "KMS.DisabledException", "NoSuchBucket"}
)
"""The same of S3."""

PASSING = (
    *("Too many concurrent attempts", "reached the limit", "limit exceeded"),
    *("Capacity is unavailable", "Rate exceeded", "service linked role"),
)
"""What such an error says that passes none the less."""

REGISTRATIONS = 5
"""So often is a definition registered while others of its family are being registered."""


def _passes(code: str, message: str) -> bool:
    return code not in STAYS or any(words in message for words in PASSING)


def _file(_: Case, launch: Launch) -> Launch:
    code = launch.file_error
    if code in (None, "NoSuchKey") or launch.file is None:
        return launch
    return launch.without_calls("failed" if code in FILE_STAYS else "retried", file=True)


def _look(case: Case, launch: Launch) -> Launch:
    for count, look in enumerate(launch.looks, start=1):
        error = (case.fault(look.operation) or {}).get("error")
        if error is None or error["Code"] == "ClientException":
            continue
        if look.operation == "GetResources" and error["Code"] == "AccessDeniedException":
            continue  # the right to search may be missing: then one more revision, here as well
        stays = look.service == "ecs" and not _passes(error["Code"], error.get("Message", ""))
        return launch.without_calls("failed" if stays else "retried", file=True, looks=count)
    return launch


def _register(case: Case, launch: Launch) -> Launch:
    error = (case.fault("RegisterTaskDefinition") or {}).get("error")
    if error is None or not launch.registrations:
        return launch
    message = error.get("Message", "")
    if not _passes(error["Code"], message):
        return launch
    again = "Too many concurrent attempts" in message
    times = REGISTRATIONS if again else launch.registrations
    return launch.changed(outcome="retried", registrations=times)


def _run(case: Case, launch: Launch) -> Launch:
    fault = case.fault("RunTask")
    if fault is None or not launch.starts:
        return launch
    error = fault.get("error")
    if error:
        passes = _passes(error["Code"], error.get("Message", ""))
        return launch.changed(outcome="retried" if passes else "failed")
    if fault["response"].get("tasks"):
        return launch
    reasons = "; ".join(str(f.get("reason")) for f in fault["response"].get("failures", []))
    return launch.changed(outcome="failed" if "MISSING" in reasons else "retried")


def _launch(case: Case, launch: Launch) -> Launch:
    if case.validates:
        return launch
    return _run(case, _register(case, launch)) if may_call(launch) else launch


FAULTS = (
    Rule(
        name="S3 errors are errors",
        why="Only NoSuchKey means that a flow has no file. A missing bucket or right is told to "
        "the run and all else is tried again; the legacy agent ran the flow with its defaults.",
        applies=of_flows,
        expect=each(_file),
    ),
    Rule(
        name="only not found means not found",
        why="A look for a definition that fails finds nothing out: it is tried again later, or "
        "told. The legacy agent registered one more revision.",
        applies=lambda case: any(
            f["operation"] not in ("RunTask", "GetObject") for f in case.faults
        ),
        expect=each(_look),
    ),
    Rule(
        name="what passes is tried again",
        why="Throttling, lack of capacity and registrations of the same family at the same time "
        "pass, so the run waits for its next try; the legacy agent failed it.",
        applies=lambda case: bool(case.faults),
        expect=each(_launch),
    ),
)
