"""Recorded cases of the real ECS worker: what it was given, and what it did, as plain values."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

DEFAULT_FILE = Path(__file__).with_name("cases.json.gz")

ACCOUNT = "123456789012"
DEPLOYMENT_ID = "d1000000-0000-4000-8000-000000000001"
REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "AKIAWORKER", "worker-secret"
"""What the worker's own environment held of AWS."""

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What decides how one flow run is launched; rules change it to mend the worker's faults."""

    worker_name: str
    worker_id: str | None
    env: Mapping[str, str]
    work_pool: Json
    template: Json
    deployment: Json | None
    flow: Json
    flow_run: Json
    blocks: Sequence[Json]
    variables: Json
    server_version: str
    default_image: str

    @property
    def run_id(self) -> str:
        """The flow run's id."""
        return str(self.flow_run["id"])

    @property
    def lost_its_deployment(self) -> bool:
        """Whether the run is of a deployment that exists no more."""
        return bool(self.flow_run.get("deployment_id")) and self.deployment is None

    @property
    def job_variables(self) -> tuple[Json, Json]:
        """The deployment's job variables, and the flow run's."""
        of_deployment = (self.deployment or {}).get("job_variables") or {}
        return of_deployment, self.flow_run.get("job_variables") or {}

    def changed(self, **changes: Any) -> Given:
        """Return it with other fields."""
        return replace(self, **changes)

    def with_job_variables(self, deployment: Json, flow_run: Json) -> Given:
        """Return it with other job variables."""
        held = None if self.deployment is None else {**self.deployment, "job_variables": deployment}
        return replace(self, deployment=held, flow_run={**self.flow_run, "job_variables": flow_run})


@dataclass(frozen=True)
class Run:
    """One of a case's consecutive flow runs; ``patch`` is what had changed before it."""

    case: Case
    index: int
    patch: Json
    output: Json

    @cached_property
    def given(self) -> Given:
        """Everything that decides how it is launched."""
        told = self.case.input
        deployment = told["deployment"]
        if deployment is not None:
            deployment = {"id": DEPLOYMENT_ID, **deployment, **self.patch.get("deployment", {})}
        flow_run = _merged(told["flow_run"], self.patch.get("flow_run", {}))
        return Given(
            worker_name=told["worker"]["name"],
            worker_id=told["worker"]["id"],
            env=told["worker"]["env"],
            work_pool=told["work_pool"],
            template=self.patch.get("base_job_template", told["base_job_template"]),
            deployment=deployment,
            flow=told["flow"],
            flow_run={"id": f"e1000000-0000-4000-8000-{self.index + 1:012}", **flow_run},
            blocks=told["blocks"],
            variables=told["variables"],
            server_version=self.case.meta["prefect"],
            default_image=self.case.meta["default_image"],
        )

    @property
    def deployment_updated(self) -> str:
        """When the deployment was last changed; the recorded stand-in told the same ever after."""
        told = datetime.fromisoformat(self.given.deployment["updated"])  # type: ignore[index]
        held = [run.given.deployment for run in self.case.runs[: self.index + 1]]
        changes = [i for i, (before, now) in enumerate(pairwise(held), 1) if before != now]
        later = timedelta(seconds=max(changes, default=0))
        return (told + later).astimezone(UTC).isoformat()

    @property
    def in_a_new_process(self) -> bool:
        """Whether the worker was started anew before this run."""
        return bool(self.patch.get("new_worker"))


@dataclass(frozen=True)
class Case:
    """One recorded case, with what its file says of all cases."""

    id: str
    topic: str
    input: Json
    output: Json
    meta: Json

    @cached_property
    def runs(self) -> Sequence[Run]:
        """The flow runs, in order."""
        pairs = zip(self.input["runs"], self.output["runs"], strict=True)
        return [Run(self, index, patch, output) for index, (patch, output) in enumerate(pairs)]

    @property
    def worker_env(self) -> Mapping[str, str]:
        """The worker's environment."""
        return self.input["worker"]["env"]  # type: ignore[no-any-return]

    @property
    def aws(self) -> Json:
        """What AWS held before."""
        return self.input["aws"]  # type: ignore[no-any-return]


def load(path: Path) -> list[Case]:
    """Read a file of cases, compressed or plain."""
    data = path.read_bytes()
    held = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return [Case(c["id"], c["topic"], c["input"], c["output"], held["meta"]) for c in held["cases"]]


def _merged(below: Json, above: Json) -> dict[str, Any]:
    """Lay one table over another, at every depth."""
    made = {**below}
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _merged(made[key], value) if both else value
    return made
