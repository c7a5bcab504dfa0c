"""boto3 keyword arguments for ECS as users write them: parsed, validated, split.

The accepted keys are botocore's own, from its model of ``register_task_definition`` and
``run_task``: what boto3 learns to send, a user may write the same day.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from botocore.validate import ParamValidator

from fargate_agent.errors import PermanentError

if TYPE_CHECKING:
    from botocore.model import ListShape, Shape, StructureShape
    from mypy_boto3_ecs import ECSClient

AGENTS_OWN = frozenset({"clientToken", "count", "referenceId", "startedBy", "taskDefinition"})
"""``run_task`` keys that hold the agent's guarantees together, so no user may set them."""

CHOICES = frozenset({"capacityProviderStrategy", "launchType"})
"""Two ways to say what runs a task, of which either takes the place of both."""

VARIABLES = ("environment", "secrets")
"""A container's two kinds of variables. ECS takes a name only once, in either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kwargs:
    """ECS kwargs, each where it belongs.

    ``definition`` goes to ``register_task_definition``, ``request`` to ``run_task`` (a key of both,
    as ``tags``, to both), and ``container`` into the definition of the flow's container.
    """

    definition: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)


def merged(*layers: Kwargs) -> Kwargs:
    """Lay kwargs over each other, the weakest first: a key replaces the whole value below it."""
    definition: dict[str, Any] = {}
    request: dict[str, Any] = {}
    container: dict[str, Any] = {}
    for layer in layers:
        if CHOICES & layer.request.keys():  # ECS takes only one of these
            request = {key: value for key, value in request.items() if key not in CHOICES}
        definition |= layer.definition
        request |= layer.request
        container |= layer.container
    return Kwargs(definition=definition, request=request, container=container)


def stacked(*layers: Kwargs) -> Kwargs:
    """Lay kwargs over each other as :func:`merged` does, but the container's variables by name."""
    stack = merged(*layers)
    named: dict[str, tuple[str, Any]] = {}
    for layer in layers:
        for key in VARIABLES:
            named |= {entry["name"]: (key, entry) for entry in layer.container.get(key, [])}
    lists = {key: [e for kind, e in named.values() if kind == key] for key in VARIABLES}
    rest = {key: value for key, value in stack.container.items() if key not in VARIABLES}
    container = {**rest, **{key: entries for key, entries in lists.items() if entries}}
    return Kwargs(definition=stack.definition, request=stack.request, container=container)


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
        containers = cast("ListShape", self._definition.members["containerDefinitions"])
        self._container = cast("StructureShape", containers.member)

    def is_text(self, key: str) -> bool:
        """Tell whether a key's value is a string."""
        shape = self._shape(key)
        return shape is not None and str(shape.type_name) == "string"

    def knows(self, path: str) -> bool:
        """Tell whether a dotted path, such as ``containerDefinitions.image``, names a parameter."""
        key, *rest = path.split(".")
        shape: Any = self._shape(key)
        for name in rest:
            while shape is not None and shape.type_name == "list":
                shape = shape.member
            is_structure = shape is not None and shape.type_name == "structure"
            shape = shape.members.get(name) if is_structure else None
        return shape is not None

    def parsed(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the kwargs with what was written as text in place of a list, table or number.

        The legacy agent took Python literals, for its command line knew text only. Here JSON is
        taken too, and what ECS wants as text stays text: ``cluster=12345`` names a cluster.
        An integer ``cpu`` or ``memory`` becomes the string that ECS wants.
        """
        made = {key: _literal(value, self._shape(key)) for key, value in kwargs.items()}
        for size in ("cpu", "memory"):
            if isinstance(made.get(size), int) and not isinstance(made[size], bool):
                made[size] = str(made[size])
        containers = made.get("containerDefinitions")
        if isinstance(containers, list | tuple):
            fields = self._container.members
            made["containerDefinitions"] = [
                {key: _literal(value, fields.get(key)) for key, value in container.items()}
                if isinstance(container, Mapping)
                else container
                for container in containers
            ]
        return made

    def of_agent(self, stack: Mapping[str, Any], user: Mapping[str, Any], source: str) -> Kwargs:
        """Return what every run is started with: the stack's kwargs under the user's.

        Raises
        ------
        PermanentError
            As :meth:`split`; ``cdk synth`` would have said so.
        """
        return merged(self.split(stack, "the stack's defaults"), self.split(user, source))

    def split(
        self, kwargs: Mapping[str, Any], source: str, *, several_containers: bool = False
    ) -> Kwargs:
        """Parse and validate kwargs and split them between the two calls and the flow's container.

        Parameters
        ----------
        source
            Named in errors: an object's URL, or a file and table.
        several_containers
            Take any number of container definitions and leave them in the definition.

        Raises
        ------
        PermanentError
            A key is unknown or the agent's own, a value has the wrong type, or there is not
            exactly one container definition.
        """
        kwargs = _without_the_agents_own(self.parsed(kwargs), source)
        for key, value in kwargs.items():
            self._check(key, value, source)
        containers = kwargs.get("containerDefinitions", [{}])
        for container in containers:
            _check_names(container, source)
        if not several_containers:
            kwargs.pop("containerDefinitions", None)
            if len(containers) != 1:
                raise PermanentError(
                    f"{source}: containerDefinitions: holds {len(containers)} definitions; it must "
                    "hold exactly one, which is merged into the container that runs the flow."
                )
        return Kwargs(
            definition={k: v for k, v in kwargs.items() if k in self._definition.members},
            request={k: v for k, v in kwargs.items() if k in self._request.members},
            container={} if several_containers else containers[0],
        )

    def check(self, definition: Mapping[str, Any] | None, request: Mapping[str, Any]) -> None:
        """Check what is about to be asked of ECS, so that nothing is registered in vain.

        Parameters
        ----------
        definition
            None where the run names a registered one.

        Raises
        ------
        PermanentError
            A parameter is unknown, missing or of the wrong type.
        """
        problems = _problems({**request, "taskDefinition": ""}, self._request)
        if definition is not None:
            problems = _problems(definition, self._definition) or problems
            containers = definition["containerDefinitions"]
            lacking = [
                f"containerDefinitions[{index}] has no {key}"
                for index, container in enumerate(containers)
                for key in ("name", "image")
                if not container.get(key)
            ]
            problems = problems or "; ".join(lacking)
        if problems:
            raise PermanentError(
                f"ECS would refuse the request: {problems}. Correct what is named, in the work "
                "pool, the deployment, the run or the S3 kwargs file."
            )

    def _shape(self, key: str) -> Shape | None:
        return self._definition.members.get(key) or self._request.members.get(key)

    def _check(self, key: str, value: Any, source: str) -> None:
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


def _literal(value: Any, shape: Shape | None) -> Any:
    if not isinstance(value, str) or shape is None:
        return value
    if shape.type_name == "string":
        return _unquoted(value)
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            continue
    return value


def _unquoted(text: str) -> str:
    """Take the quotes off a text that was written as a Python literal, and leave any other."""
    if len(text) < 2 or text[0] not in "'\"" or text[0] != text[-1]:
        return text
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text


def _without_the_agents_own(kwargs: dict[str, Any], source: str) -> dict[str, Any]:
    """Leave out what says no more than the agent does; all else that is its own is an error."""
    left = {**kwargs}
    if left.get("count") == 1 and left["count"] is not True:
        del left["count"]
    if "family" in left and left.get("taskDefinition") == left["family"]:
        del left["taskDefinition"]
    for key in sorted(AGENTS_OWN & left.keys()):
        raise PermanentError(
            f"{source}: {key}: the agent sets this itself, so that no run is started twice. "
            "Remove it."
        )
    return left


def _check_names(container: Mapping[str, Any], source: str) -> None:
    for key in ("environment", "secrets"):
        for index, entry in enumerate(container.get(key, [])):
            if not entry.get("name"):
                raise PermanentError(
                    f"{source}: containerDefinitions: {key}[{index}] has no name. Add it."
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
