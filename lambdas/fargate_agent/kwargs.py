"""boto3 keyword arguments for ECS as users write them: split, validated, read from S3.

The accepted keys are botocore's own, from its model of ``register_task_definition`` and
``run_task``: what boto3 learns to send, a user may write the same day.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from slugify import slugify

from fargate_agent.errors import PermanentError

if TYPE_CHECKING:
    from botocore.model import StructureShape
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client

MAX_BYTES = 1024 * 1024
"""An external kwargs file may be this large."""

AGENTS_OWN = frozenset({"clientToken", "count", "referenceId", "startedBy", "taskDefinition"})
"""``run_task`` keys that hold the agent's guarantees together, so no user may set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kwargs:
    """ECS kwargs, each where it belongs.

    ``definition`` goes to ``register_task_definition``, ``request`` to ``run_task`` (a key of both,
    as ``tags``, to both), and ``container`` into the definition of the flow's container.
    """

    definition: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)


class KwargsModel:
    """What botocore knows of the two calls: which keys there are, and of which types.

    Parameters
    ----------
    ecs
        Any ECS client; only its service model is used, nothing is called.
    """

    def __init__(self, ecs: ECSClient) -> None:
        self._definition = _input(ecs, "RegisterTaskDefinition")
        self._request = _input(ecs, "RunTask")

    def is_text(self, key: str) -> bool:
        """Tell whether a key's value is a string."""
        for shape in (self._definition, self._request):
            if key in shape.members:
                return str(shape.members[key].type_name) == "string"
        return False

    def split(self, kwargs: Mapping[str, Any], source: str) -> Kwargs:
        """Validate kwargs and split them between the two calls and the flow's container.

        An integer ``cpu`` or ``memory`` becomes the string that ECS wants.

        Parameters
        ----------
        source
            Named in errors: an object's URL, or a file and table.

        Raises
        ------
        PermanentError
            A key is unknown or the agent's own, a value has the wrong type, or there is not
            exactly one container definition.
        """
        kwargs = {**kwargs}
        for size in ("cpu", "memory"):
            if isinstance(kwargs.get(size), int) and not isinstance(kwargs[size], bool):
                kwargs[size] = str(kwargs[size])
        for key, value in kwargs.items():
            self._check(key, value, source)
        containers = kwargs.pop("containerDefinitions", [{}])
        if len(containers) != 1:
            raise PermanentError(
                f"{source}: containerDefinitions: holds {len(containers)} definitions; it must "
                "hold exactly one, which is merged into the container that runs the flow."
            )
        return Kwargs(
            definition={k: v for k, v in kwargs.items() if k in self._definition.members},
            request={k: v for k, v in kwargs.items() if k in self._request.members},
            container=containers[0],
        )

    def _check(self, key: str, value: Any, source: str) -> None:
        if key in AGENTS_OWN:
            raise PermanentError(
                f"{source}: {key}: the agent sets this itself, so that no run is started twice. "
                "Remove it."
            )
        if key in self._definition.members:
            problems = _problems(
                {"family": "", "containerDefinitions": [], key: value}, self._definition
            )
        elif key in self._request.members:
            problems = _problems({"taskDefinition": "", key: value}, self._request)
        else:
            known = {*self._definition.members, *self._request.members} - AGENTS_OWN
            raise PermanentError(
                f"{source}: {key}: not a parameter of register_task_definition or run_task. "
                f"{did_you_mean(key, known)}"
            )
        if problems:
            raise PermanentError(
                f"{source}: {key}: {problems}. Correct it; the form is that of boto3's ECS client."
            )


def _input(ecs: ECSClient, operation: str) -> StructureShape:
    return cast("StructureShape", ecs.meta.service_model.operation_model(operation).input_shape)


def _problems(params: Mapping[str, Any], shape: StructureShape) -> str:
    return without_values(ParamValidator().validate(params, shape).generate_report())


def without_values(report: str) -> str:
    """Keep of botocore's validation errors the places and types: a value may be a secret."""
    return re.sub(r"value: .*?, (?=type: <class '|valid min)", "", " ".join(report.split()))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest what a misspelt name stands for, as the last sentence of an error."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else "Remove it, or correct its name."


def external_key(prefix: str, flow_name: str, flow_id: str) -> str:
    """Name the object that holds a flow's kwargs, as the legacy agent did."""
    return "/".join(filter(None, [prefix.strip("/"), slugify(flow_name), f"{flow_id[:8]}.json"]))


def read_external(s3: S3Client, model: KwargsModel, bucket: str, key: str) -> Kwargs | None:
    """Read a flow's kwargs file, or None where there is none.

    Raises
    ------
    PermanentError
        The object cannot be read, or is not a JSON object of known kwargs.
    """
    url = f"s3://{bucket}/{key}"
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchKey":
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
    return model.split(_parse(answer["Body"].read(), url), url)


def _parse(body: bytes, url: str) -> dict[str, Any]:
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
