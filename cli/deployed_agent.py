"""An agent that is deployed, in AWS or in the local loop: its stack, its settings, its clients."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from cli.errors import CommandError
from fargate_agent import clients, settings
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.settings import Settings

_MAKING = threading.Lock()
"""One session's clients are made one after the other."""

_SETTINGS = f"fargate_agent/{settings.SETTINGS_FILE.name}"


@dataclass(frozen=True, eq=False)
class DeployedAgent:
    """One agent's stack.

    Where AWS is (profile, region, and for the local loop the endpoint) boto3 takes from the
    environment.
    """

    stack: str
    toml: Path = Path("agent.toml")
    """The settings' file on this machine, of which the deployed settings may differ."""

    def client(self, service: str, config: Config | None = None) -> Any:
        """Make a boto3 client with the caller's own credentials."""
        with _MAKING:
            return boto3.client(service, config=config)  # type: ignore[call-overload]

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs, by their names.

        Raises
        ------
        CommandError
            There is no such stack.
        """
        return {item["OutputKey"]: item["OutputValue"] for item in self.description["Outputs"]}

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """The stack, as ``DescribeStacks`` tells of it.

        Raises
        ------
        CommandError
            There is no such stack.
        """
        cloudformation = self.client("cloudformation")
        try:
            (found,) = cloudformation.describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise CommandError(
                f"There is no stack {self.stack!r} in {cloudformation.meta.region_name}: deploy it "
                "('npx cdk deploy'), or name another account or region (--profile, --region), "
                "another stack (--stack) or settings file (--agent)."
            ) from error
        return dict(found)

    @cached_property
    def resources(self) -> list[Mapping[str, Any]]:
        """The stack's resources, as ``DescribeStackResources`` tells of them."""
        asked = self.client("cloudformation").describe_stack_resources(StackName=self.stack)
        return list(asked["StackResources"])

    def function(self, name: str) -> Mapping[str, Any]:
        """Return what ``GetFunction`` tells of ``poll``, ``dispatch`` or ``watch``."""
        if name not in self._functions:
            output = self.outputs[f"{name.capitalize()}Function"]
            self._functions[name] = self.client("lambda").get_function(FunctionName=output)
        return self._functions[name]

    @cached_property
    def _functions(self) -> dict[str, Mapping[str, Any]]:
        return {}

    def environment(self, name: str) -> Mapping[str, str]:
        """Return a function's environment variables."""
        configuration = self.function(name)["Configuration"]
        return dict(configuration.get("Environment", {}).get("Variables", {}))

    def settings(self, name: str = "dispatch") -> Settings:
        """Return the settings that a function runs with: those that were deployed."""
        return settings.read(self._settings_file, self.environment(name))

    @cached_property
    def _settings_file(self) -> str:
        """The ``settings.json`` in the functions' bundle, the same in all three."""
        location = self.function("dispatch")["Code"]["Location"]
        bundle = urllib3.request("GET", location).data
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            return archive.read(_SETTINGS).decode()

    @cached_property
    def api(self) -> JsonClient:
        """The client of Prefect's API, with the key that the agent uses."""
        return clients.api(self.settings())

    @cached_property
    def orchestrator(self) -> Orchestrator:
        """The Prefect that the agent serves, with the key that the agent uses.

        As ``poll`` has it, for that is who names the claims.
        """
        return clients.orchestrator(self.settings("poll"))
