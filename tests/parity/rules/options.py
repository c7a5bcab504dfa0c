"""The agent's own options."""

from __future__ import annotations

import re
from typing import Any

from tests.parity import legacy_agent
from tests.parity.cases import Case
from tests.parity.expectation import REFUSED, Expected, Launch, fresh
from tests.parity.migration import STACK_BUCKET, must_name
from tests.parity.rules.base import Rule, always, each, of_agent, of_runs

LAUNCH_TYPES = ("FARGATE", "FARGATE_SPOT", "EC2", "EXTERNAL", "")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SWITCHES = ("enable_task_revisions", "no_cloud_logs", "use_external_kwargs")


def _typed(case: Case, expected: Expected) -> Expected:
    options = case.options
    env = options.get("env_vars") or case.config.env_vars
    right = (
        (case.launch_type is None or case.launch_type in LAUNCH_TYPES)
        and all(type(options.get(name)) in (bool, type(None)) for name in SWITCHES)
        and case.config.level in LEVELS
        and all(isinstance(value, str) for value in env.values())
        and isinstance(options.get("labels") or [], list)
    )
    if not right:
        return REFUSED
    return expected.each(lambda launch: _on_spot(case, launch))


def _on_spot(case: Case, launch: Launch) -> Launch:
    if case.launch_type != "FARGATE_SPOT":
        return launch
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    asked = launch.with_request(launchType=..., capacityProviderStrategy=strategy)
    if not case.is_environment:
        asked = asked.with_definition(requiresCompatibilities=["FARGATE"])
    return asked.freed(case)


def _named(case: Case, launch: Launch) -> Launch:
    for key, value in must_name(case).items():
        if key.endswith("RoleArn"):
            launch = launch.with_definition(**{key: launch.definition.get(key, value)})
        else:
            launch = launch.with_request(**{key: launch.request.get(key, value)})
    return launch


def _nulls(case: Case) -> dict[str, Any]:
    return {key: ... for key, value in case.kwargs.items() if value is None}


def _without_nulls(case: Case, expected: Expected) -> Expected:
    if not _nulls(case):
        return expected
    without = case.with_given(**_nulls(case))
    if case.validates:
        return expected
    return Expected(refused=False, launches=tuple(fresh(without, r) for r in case.flow_runs))


def _tidy(case: Case, launch: Launch) -> Launch:
    launch = _with_tidy_address(case, launch)
    if case.is_environment:
        return launch
    launch = _with_tidy_key(case, launch)
    error = (launch.error or {}).get("type")
    version = launch.run["flow"].get("core_version") or "0"
    if error == "TypeError" and not launch.looks and not re.match(r"\d", version):
        return launch.freed(case)
    return launch


def _with_tidy_address(case: Case, launch: Launch) -> Launch:
    """Drop slashes at the end of the API's address, in every container."""
    api = case.config.api
    tidy = {api: api.rstrip("/"), f"{api}/graphql": f"{api.rstrip('/')}/graphql"}
    if api == tidy[api]:
        return launch
    names = ("PREFECT__CLOUD__API", "PREFECT__CLOUD__GRAPHQL")
    containers = [
        {
            **container,
            "environment": [
                {**e, "value": tidy.get(e["value"], e["value"])} if e["name"] in names else e
                for e in container["environment"]
            ],
        }
        for container in launch.definition["containerDefinitions"]
    ]
    return launch.with_definition(containerDefinitions=containers)


def _with_tidy_key(case: Case, launch: Launch) -> Launch:
    options = case.options
    if not options.get("use_external_kwargs"):
        return launch
    bucket = options.get("external_kwargs_s3_bucket")
    prefix = (options.get("external_kwargs_s3_key") or "").strip("/")
    tidied = case.with_given(
        external_kwargs_s3_bucket=bucket or STACK_BUCKET, external_kwargs_s3_key=prefix
    )
    before = launch.file and launch.file.params
    key = legacy_agent.external_key(tidied, launch.run)
    assert key is not None
    if before == {"Bucket": key[0], "Key": key[1]}:
        return launch
    read = fresh(tidied, launch.run)
    if before is None:  # the legacy agent did not come that far
        return read
    return launch.changed(file=read.file, definition=read.definition, request=read.request)


OPTIONS = (
    Rule(
        name="typed options",
        why="An option has a type: the text 'False' for a switch was taken for true, and a launch "
        "type that does not exist failed each run. Either is refused when the stack is "
        "synthesized. FARGATE_SPOT is a capacity provider, and works.",
        applies=always,
        expect=_typed,
    ),
    Rule(
        name="null is left out",
        why="TOML has no null. A parameter that was given as null is left out, and so its default "
        "holds; the legacy agent sent null, which botocore refused at the first launch.",
        applies=lambda case: of_agent(case) and bool(_nulls(case)),
        expect=_without_nulls,
    ),
    Rule(
        name="named by the user",
        why="The stack makes a cluster, roles and a network for Fargate in its own region and "
        "account; for instances, or elsewhere, the user names them. The legacy agent silently "
        "took the default cluster, which is named here.",
        applies=lambda case: bool(must_name(case)),
        expect=each(_named),
    ),
    Rule(
        name="tidy prefix",
        why="Slashes at the ends of the kwargs files' prefix, or of the API's address, mean "
        "nothing; no prefix means the bucket's root, no bucket the stack's own; a core version "
        "that is no number is a recent one. The legacy agent looked past the file or crashed.",
        applies=of_runs,
        expect=each(_tidy),
    ),
)
