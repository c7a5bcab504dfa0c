"""What one run asks of ECS, apart from which revision is found and what AWS answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.parity.ecs_worker.aws.model import Aws
from tests.parity.ecs_worker.cases import ACCESS_KEY, REGION, Given, Json, Run
from tests.parity.ecs_worker.worker import calls
from tests.parity.ecs_worker.worker.configuration import Configuration, configuration
from tests.parity.ecs_worker.worker.templating import Refusal

BUGS = (Refusal, AttributeError, KeyError, TypeError, ValueError)
"""What ends the worker's launch: all but the first where it did not expect what it was given."""

Mend = Callable[[Configuration], Configuration]


@dataclass(frozen=True, kw_only=True)
class Account:
    """As whom and where AWS is called; ``role`` are the parameters to assume one with."""

    region: str = REGION
    key: str = ACCESS_KEY
    endpoint: str | None = None
    role: Mapping[str, Any] | None = None
    elsewhere: bool = False
    """Credentials of the job's own lead there."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one run.

    Attributes
    ----------
    given
        What it follows from; ``mends`` are then applied to the filled-in template.
    refusal
        Why nothing is called at all; ``cause`` is a word that the run must be told then.
    named
        The task definition that the run names.
    definition
        What is registered otherwise.
    request
        What is run, without the definition's ARN and a network that is looked up.
    tells
        Why ``request`` cannot be made, which shows late.
    looks_up
        Whether the subnets of a VPC are asked for: of ``vpc_id``, or of the default one.
    network
        What the user wrote to go with that VPC.
    deregisters
        Whether a new revision is marked as one that is deregistered after the run.
    matches_family
        Whether the latest revision of the family may be taken.
    cluster
        What the worker names in the infrastructure's id in place of the cluster's ARN.
    unfit
        Why the definition that the run names cannot be run.
    fits
        The definition and the launch type go together, whatever the worker says.
    marks_by
        The variable that names a definition to be deregistered.
    """

    run: Run
    given: Given
    mends: tuple[Mend, ...] = ()
    refusal: str | None = None
    cause: str = ""
    account: Account = field(default_factory=Account)
    job: Configuration = field(default_factory=dict)
    named: str | None = None
    definition: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    tells: str | None = None
    looks_up: bool = False
    vpc_id: str | None = None
    network: Json | None = None
    deregisters: bool = False
    matches_family: bool = False
    cluster: str | None = None
    unfit: str | None = None
    fits: bool = False
    marks_by: str | None = None

    def marked(self, asked: dict[str, Any], arn: str) -> dict[str, Any]:
        """Mark a request whose new definition is deregistered after the run."""
        asked = {**asked, "tags": [*asked.get("tags", []), calls.DEREGISTERED]}
        if not self.marks_by:
            return asked
        told = {"name": self.marks_by, "value": arn}
        return _with_variables(asked, self.flow_name, [told])

    @property
    def cache_key(self) -> str:
        """Whose definition the worker remembers."""
        return str((self.given.deployment or self.given.flow)["id"])

    def mended(self, *, given: Given | None = None, mend: Mend | None = None) -> Plan:
        """Return the plan that follows from other inputs."""
        mends = (*self.mends, mend) if mend else self.mends
        return derived(self.run, given or self.given, mends)

    def changed(self, **changes: Any) -> Plan:
        """Return the plan with other fields."""
        return replace(self, **changes)

    def with_definition(self, **changes: Any) -> Plan:
        """Return it with parameters of the definition changed; ``...`` leaves one out."""
        return replace(self, definition=_changed(self.definition, changes))

    def with_request(self, **changes: Any) -> Plan:
        """Return it with parameters of the request changed; ``...`` leaves one out."""
        return replace(self, request=_changed(self.request, changes))

    @property
    def flow_name(self) -> str:
        """The name of the container that runs the flow, as far as the definition tells."""
        named = self.job.get("container_name")
        names = [c.get("name") for c in self.definition.get("containerDefinitions", [])]
        if named or not names:
            return str(named or calls.FLOW)
        return calls.FLOW if calls.FLOW in names else str(names[0])

    def with_container(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Plan:
        """Return it with the definition of the flow's container changed."""
        made = [
            change(dict(c)) if c.get("name") == self.flow_name else c
            for c in self.definition.get("containerDefinitions", [])
        ]
        return self.with_definition(containerDefinitions=made) if made else self

    def with_overrides(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Plan:
        """Return it with the overrides of every container changed."""
        overrides = self.request.get("overrides") or {}
        made = [change(dict(c)) for c in overrides.get("containerOverrides") or []]
        if "containerOverrides" not in overrides:
            return self
        return self.with_request(overrides={**overrides, "containerOverrides": made})


def recorded(run: Run) -> Plan:
    """Return a run's plan as it was recorded; what the worker did not come to, as it follows."""
    plan = derived(run, run.given, ())
    by_operation: dict[str, dict[str, Any]] = {}
    for call in run.output["aws_calls"]:
        by_operation.setdefault(call["operation"], call["params"])
    if "RegisterTaskDefinition" in by_operation:
        plan = plan.changed(definition=by_operation["RegisterTaskDefinition"])
    if "RunTask" in by_operation:
        asked = dict(by_operation["RunTask"])
        del asked["taskDefinition"]
        if plan.looks_up:
            asked.pop("networkConfiguration", None)
        asked["tags"] = [tag for tag in asked.get("tags", []) if tag != calls.DEREGISTERED]
        plan = plan.changed(request=asked)
    return plan


def derived(run: Run, given: Given, mends: tuple[Mend, ...]) -> Plan:
    """Return the plan that follows from what the worker is given."""
    plan = Plan(run=run, given=given, mends=mends)
    if given.lost_its_deployment:
        return plan.changed(refusal="no deployment", cause="eployment")
    try:
        job = configuration(given, _chained(mends))
    except BUGS as refusal:
        return plan.changed(refusal=str(refusal), cause=getattr(refusal, "cause", ""))
    account = _account(job)
    if account is None:
        return plan.changed(refusal="no AWS credentials", job=job)
    named = job["task_run_request"].get("taskDefinition") or None
    plan = plan.changed(
        job=job,
        account=account,
        named=named,
        vpc_id=job.get("vpc_id"),
        network=job["network_configuration"] or None,
        deregisters=job["auto_deregister_task_definition"],
        matches_family=job["match_latest_revision_in_family"],
        cluster=job.get("cluster"),
    )
    try:
        made = {} if named else calls.definition(given, job, account.region)
    except BUGS as refusal:
        return plan.changed(refusal=str(refusal), cause=getattr(refusal, "cause", ""))
    if named:
        found = Aws(run.case.aws).definitions(account.region).find(named)
        if found is None:
            return plan
        made = found.definition
    return with_made(plan.changed(definition=made), made)


def with_made(plan: Plan, made: Json) -> Plan:
    """Return the plan of a run whose definition is known, registered or described."""
    looks_up = calls.wants_look_up(made, plan.job)
    try:
        asked = calls.request(plan.job, made, plan.named or "", None, is_new=False)
    except BUGS as refusal:
        return plan.changed(looks_up=looks_up, tells=str(refusal))
    asked.pop("taskDefinition")
    if looks_up:
        asked.pop("networkConfiguration", None)
    return plan.changed(looks_up=looks_up, request=asked)


def _chained(mends: tuple[Mend, ...]) -> Mend:
    def mend(job: Configuration) -> Configuration:
        for one in mends:
            job = one(job)
        return job

    return mend


def _account(job: Configuration) -> Account | None:
    """Return whose account the job's credentials are of, None where they are null."""
    block = job.get("aws_credentials", {})
    if block is None:
        return None
    role = None
    if block.get("assume_role_arn"):
        more = {k: v for k, v in (block.get("assume_role_kwargs") or {}).items() if v is not None}
        role = {"RoleArn": block["assume_role_arn"], **more}
    return Account(
        region=block.get("region_name") or REGION,
        key=block.get("aws_access_key_id") or ACCESS_KEY,
        endpoint=(block.get("aws_client_parameters") or {}).get("endpoint_url"),
        role=role,
        elsewhere=any(value not in (None, {}, "") for value in block.values()),
    )


def _with_variables(
    asked: Mapping[str, Any], flow: str, variables: list[dict[str, str]]
) -> dict[str, Any]:
    containers = [
        {**c, "environment": [*c.get("environment", []), *variables]} if c["name"] == flow else c
        for c in asked["overrides"]["containerOverrides"]
    ]
    return {**asked, "overrides": {**asked["overrides"], "containerOverrides": containers}}


def _changed(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**mapping, **changes}.items() if value is not ...}
