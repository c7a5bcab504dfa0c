"""Where the kwargs files lie: one object for a flow, one for a deployment, all versions kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError
from cli.plan.targets import Target, deployments_in_pool, targets
from fargate_agent.external_kwargs import (
    MAX_BYTES,
    KwargsFile,
    KwargsFiles,
    deployment_key,
    external_key,
    keys_of,
    parse,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a file; ``is_deletion`` where it was removed."""

    id: str
    modified: datetime
    size: int
    is_latest: bool
    is_deletion: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a flow's or a deployment's file lies, and the runs that read it."""

    title: str
    key: str
    targets: list[Target]


@dataclass(frozen=True, slots=True)
class KwargsObjects:
    """The files of one agent, by the functions' own reader."""

    files: KwargsFiles

    @property
    def bucket(self) -> str:
        """The bucket.

        Raises
        ------
        CommandError
            External kwargs are switched off.
        """
        if self.files.bucket is None:
            raise CommandError(
                "external_kwargs.enabled is false: the agent reads no kwargs files. Set it to true "
                "and deploy again."
            )
        return self.files.bucket

    def url(self, key: str) -> str:
        """Return an object's URL, as errors name it."""
        return f"s3://{self.bucket}/{key}"

    def place(self, agent: DeployedAgent, what: str) -> Place:
        """Find the file of a flow, or of a deployment as ``flow/deployment``.

        Raises
        ------
        CommandError
            The agent serves no such flow or deployment.
        """
        found = targets(agent, what)
        run = found[0].run
        if "/" in what and run.deployment_name:
            key = deployment_key(self.files.prefix, run.flow_name, run.deployment_name)
            if key not in keys_of(run, self.files.prefix):
                raise CommandError(
                    f"The deployment's name {run.deployment_name!r} makes no key: only its flow "
                    "can have a file."
                )
            return Place(title=f"deployment {what}", key=key, targets=found)
        if what not in (run.flow_name, run.flow_id):
            raise CommandError(
                f"{what!r} is no flow. A deployment is named with its flow: "
                f"{run.flow_name}/{run.deployment_name}"
            )
        key = external_key(self.files.prefix, run.flow_name, run.flow_id)
        return Place(title=f"flow {run.flow_name}", key=key, targets=found)

    def read(self, key: str, version: str | None = None) -> bytes | None:
        """Return an object's bytes, or None where there is none."""
        asked = {"VersionId": version} if version else {}
        try:
            return bytes(self._s3.get_object(Bucket=self.bucket, Key=key, **asked)["Body"].read())
        except self._s3.exceptions.NoSuchKey:
            return None

    def put(self, key: str, body: bytes) -> str | None:
        """Write an object; return its version where the bucket keeps such."""
        answer = self._s3.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType="application/json"
        )
        version: str | None = answer.get("VersionId")
        return version

    def remove(self, key: str) -> None:
        """Remove an object; a bucket with versions keeps those before."""
        self._s3.delete_object(Bucket=self.bucket, Key=key)

    def keeps_versions(self, key: str) -> bool:
        """Tell whether an object that is there can be brought back once it is removed."""
        found = self._s3.head_object(Bucket=self.bucket, Key=key)
        return bool(found.get("VersionId", "null") != "null")

    def versions(self, key: str) -> list[Version]:
        """Return an object's versions, the latest first."""
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=key
        )
        found = [
            Version(
                id=item["VersionId"],
                modified=item["LastModified"],
                size=item.get("Size", 0),
                is_latest=item["IsLatest"],
                is_deletion=kind == "DeleteMarkers",
            )
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for item in page.get(kind, [])
            if item["Key"] == key
        ]
        return sorted(found, key=lambda version: (version.is_latest, version.modified))[::-1]

    def all(self, agent: DeployedAgent) -> Iterator[dict[str, Any]]:
        """Return every file under the prefix, with whose it is where that is known."""
        known = self._owners(agent)
        prefix = self.files.prefix.strip("/")
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{prefix}/" if prefix else ""
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield {
                    "url": self.url(item["Key"]),
                    "of": known.get(item["Key"]),
                    "modified": item["LastModified"],
                    "size": item["Size"],
                }

    def _owners(self, agent: DeployedAgent) -> dict[str, str]:
        owners: dict[str, str] = {}
        for run in deployments_in_pool(agent):
            owners[external_key(self.files.prefix, run.flow_name, run.flow_id)] = run.flow_name
            own = deployment_key(self.files.prefix, run.flow_name, run.deployment_name or "")
            owners[own] = f"{run.flow_name}/{run.deployment_name}"
        return owners

    @property
    def _s3(self) -> Any:
        return self.files.s3


def checked(
    body: bytes, source: str, files: KwargsFiles, *, several_containers: bool = False
) -> KwargsFile:
    """Read and check a file by itself, as a launch would.

    Parameters
    ----------
    source
        Named in errors.
    several_containers
        As a ``FargateTaskEnvironment`` of Prefect 1 takes.

    Raises
    ------
    CommandError, PermanentError
        It would crash the runs that read it.
    """
    if len(body) > MAX_BYTES:
        raise CommandError(
            f"{source}: is {len(body):,} bytes; a kwargs file may have {MAX_BYTES:,}. Make it "
            "smaller."
        )
    file = KwargsFile(source, parse(body, source))
    files.check(file)
    files.model.split(file.values, source, several_containers=several_containers)
    return file
