"""The recorded cases of the real legacy agent, as values."""

from __future__ import annotations

import gzip
import json
from ast import literal_eval
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

DEFAULT_FILE = Path(__file__).with_name("legacy_cases.json")

FURTHER_FILE = DEFAULT_FILE.with_name("further_cases.json.gz")
"""Variations of those cases, recorded from the same version of the agent."""

FLOW_ID = "aaaaaaaa-0000-4000-8000-000000000001"
"""Of a task environment's flow, whose id was not recorded: nothing depended on it."""

ACCOUNT = "123456789012"

OPTIONS = frozenset(
    {
        *("agent_address", "agent_config_id", "botocore_config", "enable_task_revisions"),
        *("env_vars", "external_kwargs_s3_bucket", "external_kwargs_s3_key", "labels"),
        *("launch_type", "max_polls", "name", "no_cloud_logs", "region_name"),
        *("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
        *("executor", "metadata", "on_exit", "on_start", "use_external_kwargs"),
    }
)
"""Constructor arguments of the agent and the environment that are no ECS parameters."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One recorded case.

    ``input`` is what the legacy program was given, ``output`` what it did.
    """

    id: str
    topic: str
    input: Json
    output: Json

    @property
    def is_environment(self) -> bool:
        """Whether a ``FargateTaskEnvironment`` was recorded, and not the agent."""
        return bool(self.input["kind"] == "environment")

    @property
    def validates(self) -> bool:
        """Whether ``validate_configuration`` was called."""
        return bool(self.input.get("validate_configuration"))

    @property
    def given(self) -> Json:
        """All constructor arguments."""
        return self.input["env_kwargs" if self.is_environment else "agent_kwargs"]  # type: ignore[no-any-return]

    @property
    def options(self) -> Json:
        """The constructor arguments that are no ECS parameters."""
        return {key: value for key, value in self.given.items() if key in OPTIONS}

    @property
    def kwargs(self) -> Json:
        """The constructor arguments that are passed on to boto3, as they were written."""
        return {key: value for key, value in self.given.items() if key not in OPTIONS}

    @property
    def env(self) -> Mapping[str, str]:
        """The process environment."""
        return self.input.get("env") or {}

    @property
    def config(self) -> Config:
        """What of Prefect's own configuration the environment set."""
        return Config(self.env)

    @property
    def revisions(self) -> bool:
        """Whether task revisions were enabled, which the legacy agent took any text for."""
        return bool(self.options.get("enable_task_revisions"))

    @property
    def launch_type(self) -> Any:
        """What was asked for, FARGATE by default."""
        return self.options.get("launch_type", "FARGATE")

    @property
    def region(self) -> str:
        """Where the tasks were run."""
        return (
            self.options.get("region_name")
            or self.env.get("REGION_NAME")
            or (self.options.get("botocore_config") or {}).get("region_name")
            or self.env.get("AWS_DEFAULT_REGION")
            or "us-east-1"
        )

    @cached_property
    def flow_runs(self) -> Sequence[Json]:
        """The flow runs that were deployed, in order; of an environment its one run."""
        if not self.is_environment:
            return self.input["flow_runs"]  # type: ignore[no-any-return]
        flow = self.input["flow"]
        environment = {
            "type": "FargateTaskEnvironment",
            "metadata": self.options.get("metadata") or {},
            "labels": self.options.get("labels") or [],
        }
        return [
            {
                "id": self.input.get("context", {}).get("flow_run_id", "unknown"),
                "version": 1,
                "name": "r1",
                "run_config": None,
                "flow": {
                    "id": FLOW_ID,
                    "version": 1,
                    "core_version": "0.14.22",
                    "storage": {},
                    **flow,
                    "environment": environment,
                },
            }
        ]

    @property
    def existing(self) -> Sequence[Json]:
        """The definitions registered before, in order."""
        return self.input.get("preexisting_task_definitions") or []

    @property
    def deregistered(self) -> Sequence[str]:
        """Which of them were then deregistered, as ``family:revision``."""
        return self.input.get("deregister") or []

    @property
    def faults(self) -> Sequence[Json]:
        """The errors and answers that were put in AWS's place."""
        return self.input.get("faults") or []

    def fault(self, operation: str) -> Json | None:
        """Return what was put in the place of an operation's answers."""
        return next((f for f in self.faults if f["operation"] == operation), None)

    def with_given(self, **changes: Any) -> Case:
        """Return the case with other constructor arguments; an argument of ``...`` is left out."""
        made = {**self.given, **changes}
        made = {key: value for key, value in made.items() if value is not ...}
        name = "env_kwargs" if self.is_environment else "agent_kwargs"
        return replace(self, input={**self.input, name: made})


@dataclass(frozen=True)
class Config:
    """Prefect's configuration, from ``PREFECT__*`` variables, as both sides understand it."""

    env: Mapping[str, str]

    @property
    def backend(self) -> str:
        return self.env.get("PREFECT__BACKEND") or "cloud"

    @property
    def api(self) -> str:
        if self.backend != "server":
            return self.env.get("PREFECT__CLOUD__API") or "https://api.prefect.io"
        host = self.env.get("PREFECT__SERVER__HOST") or "http://localhost"
        port = self.env.get("PREFECT__SERVER__PORT") or "4200"
        endpoint = self.env.get("PREFECT__SERVER__ENDPOINT") or f"{host}:{port}"
        return self.env.get("PREFECT__CLOUD__API") or endpoint

    @property
    def level(self) -> str:
        return self.env.get("PREFECT__LOGGING__LEVEL") or "INFO"

    @property
    def extra_loggers(self) -> list[str]:
        return list(_value(self.env.get("PREFECT__LOGGING__EXTRA_LOGGERS"), []))

    @property
    def labels(self) -> list[str]:
        return list(_value(self.env.get("PREFECT__CLOUD__AGENT__LABELS"), []))

    @property
    def env_vars(self) -> dict[str, Any]:
        return dict(_value(self.env.get("PREFECT__CLOUD__AGENT__ENV_VARS"), {}))

    @property
    def name(self) -> str | None:
        return self.env.get("PREFECT__CLOUD__AGENT__NAME")

    @property
    def send_logs(self) -> bool:
        return self.env.get("PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "true").lower() != "false"

    @property
    def token(self) -> str:
        """The API token; what the recordings had where the environment named none."""
        names = ("PREFECT__CLOUD__AGENT__AUTH_TOKEN", "PREFECT__CLOUD__AUTH_TOKEN")
        return next((self.env[name] for name in names if name in self.env), "TEST_TOKEN")


def _value(text: str | None, default: Any) -> Any:
    return literal_eval(text) if text else default


def load(path: Path) -> list[Case]:
    """Read a file of cases, compressed or plain."""
    data = path.read_bytes()
    held = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return [Case(c["id"], c["topic"], c["input"], c["output"]) for c in held["cases"]]
