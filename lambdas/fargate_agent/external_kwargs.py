"""Kwargs of a flow and of a deployment: JSON files in S3, which stand above all other settings."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from slugify import slugify

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import KwargsModel
from fargate_agent.runs import FlowRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_BYTES = 1024 * 1024
"""An external kwargs file may be this large."""


@dataclass(frozen=True, slots=True)
class KwargsFile:
    """What a file says, not validated yet, and where it lies."""

    url: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KwargsFiles:
    """Where the flows' files lie; ``bucket`` is None where external kwargs are switched off.

    Parameters
    ----------
    model
        Knows the kwargs, also those that are written as text.
    allow
        The paths of what a file may set (``external_kwargs.allow``); None for everything.
    """

    s3: S3Client
    bucket: str | None
    prefix: str
    model: KwargsModel
    allow: Collection[str] | None = None

    def read(self, run: FlowRun) -> list[KwargsFile]:
        """Read the files there are for a run: its flow's, then its deployment's, which is stronger.

        Raises as :func:`read_external` does.
        """
        if self.bucket is None:
            return []
        files = []
        for key in keys_of(run, self.prefix):
            values = read_external(self.s3, self.bucket, key)
            if values is not None:
                files.append(KwargsFile(f"s3://{self.bucket}/{key}", values))
                self.check(files[-1])
        return files

    def check(self, file: KwargsFile) -> None:
        """Refuse what ``external_kwargs.allow`` does not let a file set.

        Raises
        ------
        PermanentError
            Names the file, the parameter and the setting.
        """
        if self.allow is None:
            return
        for path in _paths(self.model.parsed(file.values)):
            if not any(path == allowed or path.startswith(f"{allowed}.") for allowed in self.allow):
                raise PermanentError(
                    f"{file.url}: {path}: a kwargs file may not set it. Leave it out, or name it "
                    "in external_kwargs.allow and deploy the agent again."
                )


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Name each value in kwargs by the keys that lead to it; lists have no part in the name."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _paths(item, path)
    elif path:
        yield path


def keys_of(run: FlowRun, prefix: str) -> list[str]:
    """Return the keys of the files that a run would have, the weaker first."""
    keys = [external_key(prefix, run.flow_name, run.flow_id)]
    if run.deployment_name and slugify(run.deployment_name):
        keys.append(deployment_key(prefix, run.flow_name, run.deployment_name))
    return list(dict.fromkeys(keys))


def external_key(prefix: str, flow_name: str, flow_id: str) -> str:
    """Name the object that holds a flow's kwargs, as the legacy agent did."""
    return _key(prefix, flow_name, flow_id[:8])


def deployment_key(prefix: str, flow_name: str, deployment_name: str) -> str:
    """Name the object that holds a deployment's kwargs."""
    return _key(prefix, flow_name, slugify(deployment_name))


def _key(prefix: str, flow_name: str, name: str) -> str:
    return "/".join(filter(None, [prefix.strip("/"), slugify(flow_name), f"{name}.json"]))


def read_external(s3: S3Client, bucket: str, key: str) -> dict[str, Any] | None:
    """Read a flow's kwargs file, or None where there is none.

    Raises
    ------
    PermanentError
        The object cannot be read, or is not a JSON object.
    """
    url = f"s3://{bucket}/{key}"
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "KeyTooLongError"):  # a name may be longer than S3 takes
            return None
        if code in ("AccessDenied", "NoSuchBucket", "InvalidObjectState", "KMS.DisabledException"):
            raise PermanentError(
                f"{url}: cannot be read: {code}. Let the agent's dispatch function have "
                "s3:GetObject and s3:ListBucket on it (and kms:Decrypt on its key), and check "
                "external_kwargs.bucket and its region."
            ) from error
        raise
    size = answer["ContentLength"]
    if size > MAX_BYTES:
        answer["Body"].close()
        raise PermanentError(
            f"{url}: is {size:,} bytes; a kwargs file may have {MAX_BYTES:,}. Make it smaller."
        )
    return parse(answer["Body"].read(), url)


def parse(body: bytes, url: str) -> dict[str, Any]:
    """Read a kwargs file's text.

    Raises
    ------
    PermanentError
        It is not a JSON object; names the place.
    """
    try:
        parsed = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise PermanentError(
            f"{url}: is not UTF-8 text (byte {error.start}). Save it as UTF-8 JSON."
        ) from error
    except json.JSONDecodeError as error:
        raise PermanentError(
            f"{url}: line {error.lineno}, column {error.colno}: is not JSON: {error.msg}. "
            "Correct the file."
        ) from error
    except ValueError as error:
        raise PermanentError(f"{url}: {error}. Correct the file.") from error
    except RecursionError as error:
        raise PermanentError(f"{url}: is nested too deeply. Correct the file.") from error
    if not isinstance(parsed, dict):
        raise PermanentError(
            f"{url}: holds a JSON {type(parsed).__name__}; it must hold an object, such as "
            '{"cpu": "1024", "memory": "4096"}.'
        )
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r} is written twice")
        made[key] = value
    return made
