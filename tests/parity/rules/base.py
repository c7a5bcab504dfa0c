"""What a rule is, and what rules are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.parity import ecs_model, legacy_agent
from tests.parity.cases import Case
from tests.parity.expectation import Expected, Launch


class Matching:
    """Stands for a text of which only the form can be expected; equal to each of that form.

    Parameters
    ----------
    name
        What it is, for people.
    """

    def __init__(self, name: str, matches: Callable[[str], bool]) -> None:
        self._name = name
        self._matches = matches

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, str) and self._matches(other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._name}>"


Change = Callable[[Case, Launch], Launch]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A deliberate difference.

    Attributes
    ----------
    name
        A few words.
    why
        What differs and why it is better, in a sentence or two.
    applies
        Tells of which cases it may speak.
    expect
        Makes of what is expected so far what is expected by this rule.
    universal
        It changes how every task is launched, and so touches most cases.
    """

    name: str
    why: str
    applies: Callable[[Case], bool]
    expect: Callable[[Case, Expected], Expected]
    universal: bool = False


def each(change: Change) -> Callable[[Case, Expected], Expected]:
    """Make a rule's expectation of a change to each launch."""
    return lambda case, expected: expected.each(lambda launch: change(case, launch))


def always(_: Case) -> bool:
    """Apply to all cases."""
    return True


def of_agent(case: Case) -> bool:
    """Apply to the agent's cases, its validation included."""
    return not case.is_environment


def of_flows(case: Case) -> bool:
    """Apply to the agent's flow runs."""
    return not (case.is_environment or case.validates)


def of_runs(case: Case) -> bool:
    """Apply to all flow runs."""
    return not case.validates


def of_validation(case: Case) -> bool:
    """Apply where a configuration is validated."""
    return case.validates


def of_environment(case: Case) -> bool:
    """Apply to the cases of a task environment."""
    return case.is_environment


@dataclass(frozen=True)
class Layer:
    """Kwargs of one source, as they are written.

    ``place`` is ``toml`` (with what the environment adds), ``run`` or ``file``; a file is
    ``ambiguous`` that has a key twice.
    """

    place: str
    kwargs: Mapping[str, Any]
    several: bool = False
    ambiguous: bool = False


def layers(case: Case, run: Mapping[str, Any]) -> Iterator[Layer]:
    """Return the kwargs of a flow run, the weakest first."""
    if case.is_environment:
        yield Layer("file", case.kwargs, several=True)
        return
    yield Layer("toml", settled(case))
    if case.validates:
        return
    config = run.get("run_config") or {}
    if config.get("type") == "ECSRun":
        yield Layer("run", config.get("task_definition") or {})
        yield Layer("run", config.get("run_task_kwargs") or {})
    key = legacy_agent.external_key(case, run)
    if key:
        kwargs = legacy_agent.object_of(case, key)
        text = (case.input.get("s3_objects") or {}).get("/".join(key))
        yield Layer("file", kwargs, ambiguous=bool(kwargs) and _has_a_key_twice(text))


def _has_a_key_twice(text: str) -> bool:
    found = []

    def pairs(held: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(held) != len(dict(held)))
        return dict(held)

    json.loads(text.removeprefix("\ufeff"), object_pairs_hook=pairs)
    return any(found)


def settled(case: Case) -> dict[str, Any]:
    """Return the kwargs of ``agent.toml``, with what the environment says where they are silent."""
    made = {key: value for key, value in case.kwargs.items() if value is not None}
    read = ecs_model.parsed(made)
    for key in (*legacy_agent.DEFINITION, *legacy_agent.REQUEST):
        if case.env.get(key) and not read.get(key):
            made[key] = case.env[key]
    container = dict(container_of(read))
    for key in legacy_agent.CONTAINER:
        text = case.env.get(f"containerDefinitions_{key}")
        if text and not container.get(key):
            container[key] = text
            made["containerDefinitions"] = [container]
    return made


def container_of(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the one container definition among parsed kwargs."""
    match kwargs.get("containerDefinitions"):
        case [Mapping() as container]:
            return container
    return {}


def may_call(launch: Launch) -> bool:
    """Tell whether a launch still comes to a call that changes something."""
    return bool(launch.registrations or launch.starts)


def repaired(case: Case, launch: Launch) -> Launch:
    """Free a launch whose parameters botocore refused, and does not any more."""
    if (launch.error or {}).get("type") != "ParamValidationError":
        return launch
    valid = ecs_model.is_valid(launch.definition, ecs_model.DEFINITION) and ecs_model.is_valid(
        launch.request, ecs_model.REQUEST
    )
    return launch.freed(case) if valid else launch
