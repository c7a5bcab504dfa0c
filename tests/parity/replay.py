"""Runs the product on a case: its settings, its dispatch, Prefect's stand-in, and moto's AWS."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ParamValidationError
from botocore.loaders import create_loader
from botocore.validate import ParamValidator
from moto import mock_aws

from fargate_agent import clients, settings
from fargate_agent.dispatch import Deliveries
from fargate_agent.errors import PermanentError
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.runs import FlowRun
from fargate_agent.tasks import TaskNotStarted
from infra.config import ConfigError, load, runtime_settings
from tests.parity.cases import Case
from tests.parity.expectation import Call
from tests.parity.migration import AWS_KEYS_ARN, Migration, migrate
from tests.parity.rules.every_launch import due
from tests.support.fakes import FakeSqs
from tests.support.prefect1_server import Prefect1Server
from tests.support.values import run_message

LOADER = create_loader()

RECORDED = ("ecs", "resourcegroupstaggingapi", "s3")


@dataclass
class Replay:
    """What the product did.

    ``refusal`` is the error of ``cdk synth``. ``outcomes`` hold one word for each flow run:
    launched, failed (the run was told), or retried (its message goes back to the queue).
    """

    refusal: str | None = None
    calls: list[Call] = field(default_factory=list)
    regions: set[str] = field(default_factory=set)
    outcomes: list[str] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def replay(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """Play a case to the product."""
    made, migration = Replay(), migrate(case)
    file = tmp_path / "agent.toml"
    file.write_text(migration.toml, encoding="utf-8")
    try:
        config = load(file, {}, migration.environ)
    except ConfigError as error:
        made.refusal = str(error)
        return made
    monkeypatch.setenv("AWS_DEFAULT_REGION", case.region)
    if migration.bucket:
        monkeypatch.setenv("KWARGS_BUCKET", migration.bucket)
    written = tmp_path / "settings.json"
    written.write_text(json.dumps(runtime_settings(config)))
    monkeypatch.setattr(settings, "SETTINGS_FILE", written)
    settings.load.cache_clear()
    with Prefect1Server(case.config.token or None) as prefect, mock_aws():
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=_session()))
        monkeypatch.setattr(clients, "JsonClient", _client_of(prefect, case.config.token))
        if case.options.get("agent_config_id"):
            prefect.add_agent_config({}, id=case.options["agent_config_id"])
        aws = Aws(case, migration, made)
        aws.prepare()
        with aws.listening(monkeypatch):
            _deliver_all(case, prefect, made)
    settings.load.cache_clear()
    return made


def _client_of(prefect: Prefect1Server, token: str) -> Any:
    def client(_url: str, _authorization: Any, **_: Any) -> JsonClient:
        return JsonClient(prefect.url, lambda _: f"Bearer {token}" if token else None)

    return client


def _deliver_all(case: Case, prefect: Prefect1Server, made: Replay) -> None:
    # The recordings show launches only: who polls for what is told elsewhere.
    labels = [] if case.is_environment else case.options.get("labels") or case.config.labels
    for index, run in enumerate(case.flow_runs):
        flow = run["flow"]
        prefect.add_run(
            prefect.add_flow(
                id=flow["id"],
                name=flow["name"],
                version=flow["version"],
                core_version=flow.get("core_version"),
                storage=flow.get("storage") or {},
                environment=flow.get("environment"),
            ),
            id=run["id"],
            due=due(index),
            name=run["name"],
            labels=labels,
            run_config=run.get("run_config"),
            version=run["version"],
        )
    launcher = Launcher.from_settings(settings.load())
    launcher.accounts.own.definitions._sleep = lambda _: None
    if case.validates:
        made.outcomes.append(_validated(launcher))
        return
    deliveries = Deliveries(launcher, FakeSqs(), "queue", 5, 10)  # type: ignore[arg-type]
    found = launcher.orchestrator.due_runs(datetime.now(UTC)).runs
    assert [run.id for run in found] == [run["id"] for run in case.flow_runs]
    for run in found:
        made.claims[run.id] = run.claim_id
        made.outcomes.append(_delivered(deliveries, run, prefect))
        made.messages += [line["message"] for line in prefect.logs(run.id)]


def _session() -> botocore.session.Session:
    """Return a session that shares what it knows of AWS, for parsing that takes long."""
    session = botocore.session.Session()
    session.register_component("data_loader", LOADER)
    return session


def _validated(launcher: Launcher) -> str:
    try:
        launcher.rehearse()
    except (ClientError, PermanentError, TaskNotStarted):
        return "failed"
    return "launched"


def _delivered(deliveries: Deliveries, run: FlowRun, prefect: Prefect1Server) -> str:
    try:
        deliveries.deliver(run_message(run), Reads(deliveries.launcher.orchestrator, [run.id]))
    except Exception as error:
        return f"retried: {error!r}" if _is_a_bug(error) else "retried"
    state = prefect.run(run.id)["state"]
    return {"Submitted": "launched", "Failed": "failed"}.get(state, state)


def _is_a_bug(error: Exception) -> bool:
    """Tell whether an error is none that the outside world raises."""
    bugs = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
    return isinstance(error, bugs)


@dataclass
class Aws:
    """moto, with the case's faults, and with a ``RunTask`` that needs no instances or subnets."""

    case: Case
    migration: Migration
    made: Replay

    def __post_init__(self) -> None:
        self._count: Counter[str] = Counter()
        outcomes = zip(self.case.output["calls"], self.case.output["outcomes"], strict=True)
        errors = [
            (operation, params, outcome["error"])
            for (_, operation, params), outcome in outcomes
            if isinstance(outcome, dict)
        ]
        self._no_clusters = {p.get("cluster") for _, p, e in errors if e.startswith("ClusterNot")}
        self._no_buckets = {p.get("Bucket") for _, p, e in errors if e == "NoSuchBucket"}

    def prepare(self) -> None:
        """Make what was there before."""
        ecs, s3 = (boto3.client(name, region_name=self.case.region) for name in ("ecs", "s3"))
        for definition in self.case.existing:
            ecs.register_task_definition(**definition)
        for name in self.case.deregistered:
            ecs.deregister_task_definition(taskDefinition=name)
        named = {self.migration.bucket} - {None, *self._no_buckets}
        for bucket in {*named, *(bucket for bucket, _ in self.migration.objects)}:
            elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": self.case.region}}
            s3.create_bucket(
                Bucket=bucket, **({} if self.case.region == "us-east-1" else elsewhere)
            )
        for (bucket, key), body in self.migration.objects.items():
            s3.put_object(Bucket=bucket, Key=key, Body=body)
        if self.case.options.get("aws_access_key_id"):
            names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            keys = {name: self.case.options.get(name) for name in names}
            self._keys = json.dumps(keys)

    @contextmanager
    def listening(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Record all calls made inside, and answer some in moto's place."""
        original = BaseClient._make_api_call

        def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            service = client.meta.service_model.service_name
            if service == "secretsmanager" and params.get("SecretId") == AWS_KEYS_ARN:
                return {"SecretString": self._keys}
            if service not in RECORDED:
                return original(client, operation, params)
            self.made.calls.append(Call(service, operation, deepcopy(params)))
            self.made.regions.add(client.meta.region_name)
            self._count[operation] += 1
            self._interleave(lambda **kw: original(client, "RegisterTaskDefinition", kw), operation)
            shape = client.meta.service_model.operation_model(operation).input_shape
            report = ParamValidator().validate(params, shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
            fault = self.case.fault(operation)
            if fault and self._strikes(fault):
                return _answer_of(fault, operation)
            if operation == "RunTask":
                return self._run_task(params)
            if operation == "DescribeTaskDefinition" and ":" not in params["taskDefinition"]:
                params = {**params, "taskDefinition": self._active(client, original, params)}
            return original(client, operation, params)

        with monkeypatch.context() as patched:
            patched.setattr(BaseClient, "_make_api_call", call)
            yield

    def _active(self, client: Any, call: Any, params: Any) -> str:
        """Return a family's latest active revision; moto describes a deregistered one as well."""
        family = params["taskDefinition"]
        asked = {"familyPrefix": family, "status": "ACTIVE"}
        arns = call(client, "ListTaskDefinitions", asked)["taskDefinitionArns"] if family else []
        own = [arn for arn in arns if arn.rpartition("/")[2].rpartition(":")[0] == family]
        if not own:
            message = "Unable to describe task definition."
            raise _error("DescribeTaskDefinition", "ClientException", message)
        return max(own, key=lambda arn: int(arn.rpartition(":")[2]))

    def _strikes(self, fault: Any) -> bool:
        count = self._count[fault["operation"]]
        nth, times = fault.get("nth"), fault.get("times")
        if nth is not None:
            return count in (nth if isinstance(nth, list) else [nth])
        return times is None or count <= times

    def _interleave(self, register: Any, operation: str) -> None:
        for step in self.case.input.get("interleave") or []:
            before = step["before"]
            if (before["operation"], before.get("nth", 1)) == (operation, self._count[operation]):
                register(**step["register"])

    def _run_task(self, params: Any) -> Any:
        cluster = params.get("cluster", "default")
        if cluster in self._no_clusters:
            raise _error("RunTask", "ClusterNotFoundException", "Cluster not found.")
        if params.get("launchType", "FARGATE") not in ("EC2", "EXTERNAL", "FARGATE"):
            raise _error("RunTask", "InvalidParameterException", "launch type should be one of")
        name = cluster.rpartition("/")[2]
        arn = f"arn:aws:ecs:{self.case.region}:123456789012:task/{name}/{uuid.uuid4().hex}"
        return {"tasks": [{"taskArn": arn}], "failures": []}


def _answer_of(fault: Any, operation: str) -> Any:
    if "response" in fault:
        return json.loads(json.dumps(fault["response"]))
    error = fault["error"]
    raise _error(operation, error["Code"], error.get("Message", ""), error.get("HTTPStatusCode"))


def _error(operation: str, code: str, message: str, status: int | None = None) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status or 400},
    }
    return ClientError(answer, operation)
