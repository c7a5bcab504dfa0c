"""An agent that is deployed, in AWS or in the local loop: its stack, its settings, its clients."""

from __future__ import annotations

import io
import threading
import tomllib
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

    named: str = ""
    """The stack's name; without it that of the agent in ``toml``."""
    toml: Path = Path("agent.toml")
    """The settings' file on this machine, of which the deployed settings may differ."""

    @cached_property
    def stack(self) -> str:
        """The stack's name.

        Raises
        ------
        CommandError
            It is not given, and the settings' file does not tell.
        """
        return self.named or name_in(self.toml)

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
            There is no such stack, or it was never deployed in full.
        """
        told = self.description.get("Outputs", [])
        found = {item["OutputKey"]: item["OutputValue"] for item in told}
        if "DispatchFunction" not in found:
            raise CommandError(
                f"{self.stack} is {self.description['StackStatus']}, and lacks the outputs of an "
                "agent that was deployed in full. Read its events in CloudFormation's console, "
                "mend the cause, and deploy again."
            )
        return found

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
        """The stack's resources, as ``ListStackResources`` tells of them, which has them all."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return [
            resource
            for page in pages.paginate(StackName=self.stack)
            for resource in page["StackResourceSummaries"]
            if resource["ResourceStatus"] != "DELETE_COMPLETE"
        ]

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
        """Return the settings that a function runs with: those that were deployed.

        Raises
        ------
        CommandError
            They are of another version of the agent, or there are none.
        """
        try:
            return settings.read(self._settings_file, self.environment(name))
        except TypeError as error:
            raise CommandError(
                "What is deployed is of another version of the agent than this command line: "
                "deploy it ('npx cdk deploy'), or use that version's."
            ) from error

    @cached_property
    def _settings_file(self) -> str:
        """The ``settings.json`` in the functions' bundle, the same in all three.

        Raises
        ------
        CommandError
            The bundle cannot be read. Its address lets in whoever has it, and is not told.
        """
        location = self.function("dispatch")["Code"]["Location"]
        try:
            bundle = urllib3.request("GET", location).data
            with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
                return archive.read(_SETTINGS).decode()
        except (urllib3.exceptions.HTTPError, zipfile.BadZipFile, KeyError) as error:
            raise CommandError(
                f"The bundle of the function dispatch cannot be read ({type(error).__name__}): "
                "check the way from here to S3, or deploy again."
            ) from None

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


def name_in(path: Path) -> str:
    """Read ``agent.name``, and no more: the rest need not be right to look at what is deployed."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("agent", {})
    except FileNotFoundError as error:
        raise CommandError(f"{path}: no such file; name one with --agent, or a --stack") from error
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise CommandError(f"{path}: agent: must be a table, [agent]; or name a --stack")
    return str(table.get("name", "fargate-agent"))
