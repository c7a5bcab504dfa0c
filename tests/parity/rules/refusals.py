"""What is refused before anything is called."""

from __future__ import annotations

from collections.abc import Callable

from tests.parity import ecs_model
from tests.parity.cases import Case
from tests.parity.expectation import REFUSED, Expected, Launch
from tests.parity.rules.base import Layer, Rule, always, layers, settled


def _refusing(
    is_refused: Callable[[Layer], bool],
) -> Callable[[Case, Expected], Expected]:
    def expect(case: Case, expected: Expected) -> Expected:
        if not case.is_environment and is_refused(Layer("toml", settled(case))):
            return REFUSED
        return expected.each(lambda launch: one(case, launch))

    def one(case: Case, launch: Launch) -> Launch:
        refused = {layer.place for layer in layers(case, launch.run) if is_refused(layer)}
        if launch.outcome == "failed" and not launch.looks:
            return launch
        if "run" in refused:
            return launch.without_calls("failed")
        return launch.without_calls("failed", file=True) if refused else launch

    return expect


def _one_task(case: Case, expected: Expected) -> Expected:
    refused = _refusing(lambda layer: bool(ecs_model.not_ours_to_set(layer.kwargs)))(case, expected)
    return refused.each(_alone)


def _alone(launch: Launch) -> Launch:
    ours = launch.request.get("startedBy") == "validate-configuration"
    return launch.with_request(count=..., **({} if ours else {"startedBy": ...}))


def _checked(case: Case, expected: Expected) -> Expected:
    return _refusing(_is_wrong)(case, expected.each(_of_known_types))


def _of_known_types(launch: Launch) -> Launch:
    """Refuse a flow whose storage or environment the legacy agent could not load either."""
    unknown = (launch.error or {}).get("type") == "ValidationError"
    return launch.without_calls("failed") if unknown else launch


def _is_wrong(layer: Layer) -> bool:
    roles = [layer.kwargs.get(key) for key in ("executionRoleArn", "taskRoleArn")]
    short = layer.place == "toml" and any(r and not str(r).startswith("arn:") for r in roles)
    wrong = ecs_model.wrong(layer.kwargs, several=layer.several)
    return short or layer.ambiguous or bool(wrong)


REFUSALS = (
    Rule(
        name="unknown keys are errors",
        why="A key that ECS does not have is a mistake, and is told: by cdk synth, or to the run "
        "where it stands in an S3 file. The legacy agent dropped it silently.",
        applies=always,
        expect=_refusing(lambda layer: bool(ecs_model.unknown(layer.kwargs))),
    ),
    Rule(
        name="one task a run",
        why="count and startedBy belong to the agent, which starts exactly one task for a run: a "
        "stray count=3 in the environment started three. count=1 says nothing, and is not sent.",
        applies=always,
        expect=_one_task,
    ),
    Rule(
        name="checked before any call",
        why="Values that botocore's own model refuses stop cdk synth, or the run before its first "
        "call of ECS; the legacy agent failed half-way, often with a definition registered. "
        "A role is named by its ARN in agent.toml, for the agent may pass just that one; a key is "
        "written once in a kwargs file.",
        applies=always,
        expect=_checked,
    ),
)
