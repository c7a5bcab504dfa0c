"""What is expected of the product: first what was recorded, then what the rules make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tests.parity import legacy_agent
from tests.parity.cases import Case


class Call(NamedTuple):
    """One call of boto3."""

    service: str
    operation: str
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What one flow run leads to.

    Attributes
    ----------
    run
        The flow run.
    file
        The reading of the flow's kwargs file.
    looks
        The calls that look for a revision to run.
    definition, request
        What is registered and what is run, as recorded; where the legacy agent did not come that
        far, as it would have gone on.
    registrations
        How often the definition is registered: with looks before each.
    starts
        Whether the task is run.
    outcome
        ``launched``, ``failed`` (the run is told) or ``retried`` (its message comes back).
    error
        The legacy agent's error.
    file_error
        The code of the error that reading the file led to.
    revision
        The ARN of the revision that was found; None where it is the one described or registered.
    """

    run: Mapping[str, Any]
    file: Call | None
    looks: tuple[Call, ...]
    definition: Mapping[str, Any]
    registrations: int
    request: Mapping[str, Any]
    starts: bool
    outcome: str
    error: Mapping[str, Any] | None = None
    file_error: str | None = None
    revision: str | None = None

    @property
    def calls(self) -> Iterator[Call]:
        """All calls, in order."""
        if self.file:
            yield self.file
        for _ in range(self.registrations):
            yield from self.looks
            yield Call("ecs", "RegisterTaskDefinition", self.definition)
        if not self.registrations:
            yield from self.looks
        if self.starts:
            yield Call("ecs", "RunTask", self.request)

    @property
    def container(self) -> Mapping[str, Any]:
        """The container that runs the flow."""
        return self.definition["containerDefinitions"][0]  # type: ignore[no-any-return]

    def changed(self, **changes: Any) -> Launch:
        """Return the launch with other fields."""
        return replace(self, **changes)

    def with_definition(self, **changes: Any) -> Launch:
        """Return the launch with parameters of its definition changed; ``...`` leaves one out."""
        return replace(self, definition=_changed(self.definition, changes))

    def with_container(self, **changes: Any) -> Launch:
        """Return the launch with fields of its flow's container changed."""
        _, *others = self.definition["containerDefinitions"]
        return self.with_definition(
            containerDefinitions=[_changed(self.container, changes), *others]
        )

    def with_request(self, **changes: Any) -> Launch:
        """Return the launch with parameters of its request changed; ``...`` leaves one out."""
        return replace(self, request=_changed(self.request, changes))

    def with_override(
        self, environment: Sequence[Mapping[str, str]], *, name: str | None = None
    ) -> Launch:
        """Return the launch with other variables for the flow's container, or a name for it."""
        overrides = self.request["overrides"]
        first, *others = overrides["containerOverrides"]
        named = {**first, "name": name or first["name"], "environment": list(environment)}
        changed = [named, *others]
        return self.with_request(overrides={**overrides, "containerOverrides": changed})

    @property
    def override(self) -> list[Mapping[str, str]]:
        """The variables for the flow's container."""
        return self.request["overrides"]["containerOverrides"][0]["environment"]  # type: ignore[no-any-return]

    def without_calls(self, outcome: str, *, file: bool = False, looks: int = 0) -> Launch:
        """Return the launch stopped before its first call of ECS, or after some looks.

        Parameters
        ----------
        file
            The kwargs file was read before.
        """
        return replace(
            self,
            file=self.file if file else None,
            looks=self.looks[:looks],
            registrations=0,
            starts=False,
            outcome=outcome,
        )

    def freed(self, case: Case) -> Launch:
        """Return the launch with nothing in its way any more."""
        looks = self.looks or (describe(case, self.run),)
        return replace(self, looks=looks, starts=True, outcome="launched", error=None)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a case is expected to lead to; ``refused`` by ``cdk synth``, nothing else happens."""

    refused: bool
    launches: tuple[Launch, ...] = field(default=())

    def each(self, change: Callable[[Launch], Launch]) -> Expected:
        """Return it with every launch changed."""
        return replace(self, launches=tuple(map(change, self.launches)))

    @property
    def calls(self) -> list[Call]:
        """All calls, in order."""
        return [call for launch in self.launches for call in launch.calls]

    @property
    def outcomes(self) -> list[str]:
        """One word for each flow run."""
        return [launch.outcome for launch in self.launches]


REFUSED = Expected(refused=True)

VALIDATION: Mapping[str, Any] = {
    "id": "validate-configuration",
    "flow": {"id": "validate", "name": "validate", "version": 1},
}
"""Stands for the flow run that there is none of when a configuration is validated."""


def describe(case: Case, run: Mapping[str, Any]) -> Call:
    """Return the legacy agent's look for a definition."""
    params = legacy_agent.first_calls(case, run).describe
    return Call("ecs", "DescribeTaskDefinition", params)


def fresh(case: Case, run: Mapping[str, Any]) -> Launch:
    """Return a launch of which nothing was recorded, as the legacy agent would have made it."""
    model = legacy_agent.first_calls(case, run)
    read = model.key and Call("s3", "GetObject", {"Bucket": model.key[0], "Key": model.key[1]})
    return Launch(
        run=run,
        file=read or None,
        looks=(describe(case, run),),
        definition=model.register,
        registrations=1,
        request=model.run,
        starts=True,
        outcome="launched",
    )


def recorded(case: Case) -> Expected:
    """Return what the legacy agent did, as an expectation."""
    if case.output["init_error"]:
        return REFUSED
    if case.is_environment:
        return Expected(refused=False, launches=(_environment(case),))
    if case.validates:
        return Expected(refused=False, launches=(_validation(case),))
    return Expected(
        refused=False,
        launches=tuple(
            _launch(case, run, [step], step["error"])
            for run, step in zip(case.flow_runs, case.output["runs"], strict=True)
        ),
    )


def _environment(case: Case) -> Launch:
    steps = case.output["runs"]
    errors = [step["error"] for step in steps if step["error"]]
    return _launch(case, case.flow_runs[0], steps, errors[0] if errors else None)


def _validation(case: Case) -> Launch:
    (step,) = case.output["runs"]
    by_operation = {call.operation: call.params for call in calls_of(case, step)}
    model = legacy_agent.first_calls(case, VALIDATION)
    return Launch(
        run=VALIDATION,
        file=None,
        looks=(),
        definition=by_operation.get("RegisterTaskDefinition", model.register),
        registrations=1,
        request=by_operation.get("RunTask", {**model.run, "overrides": {"containerOverrides": []}}),
        starts="RunTask" in by_operation,
        outcome="failed" if step["error"] else "launched",
        error=step["error"],
    )


def _launch(
    case: Case,
    run: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    error: Mapping[str, Any] | None,
) -> Launch:
    calls = [call for step in steps for call in calls_of(case, step)]
    outcomes = [outcome for step in steps for outcome in _of_step(case.output["outcomes"], step)]
    file_errors = [
        outcome["error"] if outcome["error"] != "ClientError" else _code(outcome["message"])
        for call, outcome in zip(calls, outcomes, strict=True)
        if call.operation == "GetObject" and isinstance(outcome, dict)
    ]
    by_operation = {
        name: [call for call in calls if call.operation == name]
        for name in ("GetObject", "RegisterTaskDefinition", "RunTask")
    }
    read, registered, started = by_operation.values()
    looks = tuple(
        call for call in calls if call.operation in ("DescribeTaskDefinition", "GetResources")
    )
    assert len(calls) == len(looks) + len(read) + len(registered) + len(started)
    model = legacy_agent.first_calls(case, run)
    return Launch(
        run=run,
        file=read[0] if read else None,
        looks=looks,
        definition=registered[0].params if registered else model.register,
        registrations=len(registered),
        request=started[0].params if started else model.run,
        starts=bool(started),
        outcome="failed" if error else "launched",
        error=error,
        file_error=file_errors[0] if file_errors else None,
    )


def calls_of(case: Case, step: Mapping[str, Any]) -> list[Call]:
    """Return the recorded calls of one step."""
    return [Call(*call) for call in _of_step(case.output["calls"], step)]


def _of_step(held: Sequence[Any], step: Mapping[str, Any]) -> Sequence[Any]:
    first = step["first_call"]
    return held[first : first + step["n_calls"]]


def _code(message: str) -> str:
    """Return the code that an error's message names."""
    return message.partition("(")[2].partition(")")[0]


def _changed(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**mapping, **changes}.items() if value is not ...}
