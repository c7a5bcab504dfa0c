"""What is different at every launch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from fargate_agent.runs import claim_id
from tests.parity.cases import Case
from tests.parity.expectation import Expected, Launch
from tests.parity.migration import SECRET_ARN
from tests.parity.rules.base import Matching, Rule, always, each, of_runs
from tests.parity.rules.revisions import TOKEN, WHOLE_FLOW_ID

CLAIM = "FARGATE_AGENT_CLAIM_ID"
HASH_TAG = "fargate-agent/content-hash"

DUE = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first of a case's runs is due; the others follow by milliseconds."""


ANY_HASH = Matching("a SHA-256", lambda value: re.fullmatch(r"[0-9a-f]{64}", value) is not None)
"""Which, ``tests/unit/test_content_hash.py`` tells."""


def due(index: int) -> datetime:
    """Return when a run of a case is due."""
    return DUE + timedelta(milliseconds=index)


def _secret(case: Case, launch: Launch) -> Launch:
    secrets = list(launch.container.get("secrets") or [])
    if case.config.token and TOKEN not in {entry["name"] for entry in secrets}:
        secrets.append({"name": TOKEN, "valueFrom": SECRET_ARN})
    taken = {entry["name"] for entry in secrets}
    plain = [e for e in launch.container["environment"] if e.get("name") not in taken]
    told = [e for e in launch.override if e["name"] not in {TOKEN, *taken}]
    return launch.with_container(environment=plain, secrets=secrets or ...).with_override(told)


def _claim(_: Case, expected: Expected) -> Expected:
    claimed = []
    for index, launch in enumerate(expected.launches):
        run_id = launch.run["id"]
        claim = claim_id(run_id, due(index))
        told = launch.override
        identity = sum(entry["name"].startswith("PREFECT__CONTEXT__") for entry in told)
        told[identity:identity] = [{"name": CLAIM, "value": claim}]
        changed = launch.with_request(clientToken=claim, startedBy=run_id)
        claimed.append(changed.with_override(told))
    return Expected(refused=expected.refused, launches=tuple(claimed))


def _tag(_: Case, launch: Launch) -> Launch:
    tags: dict[str, Any] = {t["key"]: t["value"] for t in launch.definition.get("tags") or []}
    if launch.container["name"] not in ("flow-container", "test-container"):
        tags.setdefault(WHOLE_FLOW_ID, launch.run["flow"]["id"])
    tags[HASH_TAG] = ANY_HASH
    return launch.with_definition(tags=[{"key": k, "value": v} for k, v in tags.items()])


def _exact(_: Case, launch: Launch) -> Launch:
    return launch.with_request(taskDefinition=launch.revision) if launch.starts else launch


EVERY_LAUNCH = (
    Rule(
        name="secret by reference",
        why="The API token is a secrets entry of the container, read by ECS from Secrets Manager; "
        "it stood in plain text in each task's overrides. ECS takes a name only once, so a plain "
        "variable of that name is left out.",
        applies=of_runs,
        expect=each(_secret),
        universal=True,
    ),
    Rule(
        name="claim",
        why="A task is started with a client token that names its run's claim, so that no retry "
        "starts a second; startedBy and a variable let events and people find the run.",
        applies=of_runs,
        expect=_claim,
        universal=True,
    ),
    Rule(
        name="content tag",
        why="A registered definition is tagged with the hash of its content, and with its flow's "
        "id where flows may share a family: so a stale or foreign one is told apart.",
        applies=always,
        expect=each(_tag),
        universal=True,
    ),
    Rule(
        name="exact revision",
        why="The revision that was found or registered is run, not the family's latest: somebody "
        "may have registered another in between.",
        applies=always,
        expect=each(_exact),
        universal=True,
    ),
)
