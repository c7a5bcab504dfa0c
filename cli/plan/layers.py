"""Renders a run again and again, each time with one source of values more, by the product's code.

What a layer changes comes from its source. So a value's source is known without the renderer
knowing anything of sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from cli.plan.masking import MaskedReferences, OneAccount
from cli.plan.targets import Target
from fargate_agent.accounts import Accounts
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFile, KwargsFiles
from fargate_agent.kwargs import KwargsModel
from fargate_agent.orchestrators import Orchestrator
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import RunState
from fargate_agent.profiles import Profile
from fargate_agent.profiles.prefect1 import Prefect1Profile
from fargate_agent.profiles.work_pool import WorkPoolProfile
from fargate_agent.profiles.work_pool.agent import Agent
from fargate_agent.runs import FlowRun, Launch
from fargate_agent.settings import Settings

_BARE_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"task_definition": {"containerDefinitions": [{}]}}
}
"""The least that can be rendered: what it gives comes from the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What a run is rendered with, besides its files."""

    orchestrator: Orchestrator
    accounts: Accounts
    model: KwargsModel
    settings: Settings


@dataclass(frozen=True, slots=True)
class Layer:
    """A run as it would be with one source of values and all that are weaker."""

    source: str
    profile: Profile
    run: FlowRun
    state: RunState | None

    def launch(self) -> Launch | None:
        """Render it; return None where so much makes no launch yet."""
        try:
            return self.whole()
        except PermanentError:
            return None

    def whole(self) -> Launch:
        """Render it.

        Raises
        ------
        PermanentError
            As :meth:`profiles.Profile.render`.
        """
        launch, _ = self.profile.render(self.run, self.state)
        return launch


def layers(given: Ingredients, target: Target, files: Sequence[KwargsFile]) -> list[Layer]:
    """Return the layers of a run, the weakest first; the last is all of it.

    Parameters
    ----------
    files
        The kwargs files of the run, the weaker first.
    """
    match given.orchestrator:
        case Prefect1() as prefect:
            return list(_of_prefect_1(given, prefect, target, files))
        case Prefect3() as prefect:
            return list(_of_work_pool(given, prefect, target, files))
    raise AssertionError("unreachable: there are no other orchestrators")


def masked(
    given: Ingredients, target: Target, files: Sequence[KwargsFile], real: Launch
) -> list[Layer]:
    """Return the layers with names in place of what the run's blocks hold, which may be secret.

    Parameters
    ----------
    real
        The launch as it is; it is run in the same account.
    """
    if not isinstance(given.orchestrator, Prefect3):
        return layers(given, target, files)  # Prefect 1 has no blocks
    account = given.accounts.of(real.aws_credentials)
    accounts = cast(Accounts, OneAccount(own=given.accounts.own, account=account))
    elsewhere = replace(given, accounts=accounts)
    return list(_of_work_pool(elsewhere, given.orchestrator, target, files, hides=True))


def _of_the_agent(settings: Settings) -> list[tuple[str, Settings]]:
    weak = replace(
        settings,
        agent_env={},
        agent_name="",
        api_url="",
        api_key_secret=None,
        auth_string_secret=None,
        ecs_kwargs={},
        launch_type="FARGATE",
        send_logs=True,
        stack_kwargs={},
    )
    stack = replace(weak, stack_kwargs=settings.stack_kwargs)
    return [("the agent", weak), ("the stack", stack), ("agent.toml", settings)]


def _files(files: Sequence[KwargsFile]) -> Iterator[tuple[str, KwargsFiles]]:
    """Return stand-ins of the files' reader, each of which finds one file more."""
    for count, file in enumerate(files, start=1):
        yield file.url, _given(files[:count])


def _given(files: Sequence[KwargsFile]) -> KwargsFiles:
    return cast(KwargsFiles, _GivenFiles(files))


@dataclass(frozen=True, slots=True)
class _GivenFiles:
    files: Sequence[KwargsFile]

    def read(self, run: FlowRun) -> list[KwargsFile]:
        return list(self.files)


def _of_work_pool(
    given: Ingredients,
    prefect: Prefect3,
    target: Target,
    files: Sequence[KwargsFile],
    *,
    hides: bool = False,
) -> Iterator[Layer]:
    def layer(source: str, agent: Agent, read: KwargsFiles, *knows: str) -> Layer:
        partly = cast(Prefect3, _Partly(prefect, target, frozenset(knows), hides))
        profile = WorkPoolProfile(partly, read, given.model, agent, given.accounts)
        has_variables = target.run.has_job_variables and "the flow run" in knows
        run = replace(target.run, has_job_variables=has_variables)
        return Layer(source, profile, run, target.state)

    agent = Agent.from_settings(given.settings, given.model)
    for source, settings in _of_the_agent(given.settings):
        yield layer(source, Agent.from_settings(settings, given.model), _given([]))
    known = ["the work pool", "the deployment", "the flow run"]
    for count, source in enumerate(known, start=1):
        yield layer(source, agent, _given([]), *known[:count])
    for url, read in _files(files):
        yield layer(url, agent, read, *known)


@dataclass(frozen=True, slots=True)
class _Partly:
    """Prefect 3 as if those said nothing that it does not know."""

    prefect: Prefect3
    target: Target
    knows: frozenset[str]
    hides: bool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prefect, name)

    @property
    def references(self) -> Any:
        found = self.prefect.references
        return MaskedReferences(found) if self.hides else found

    def work_pool(self, updated: str) -> dict[str, Any]:
        pool = self.prefect.work_pool(updated)
        knows = "the work pool" in self.knows
        return pool if knows else {**pool, "base_job_template": _BARE_TEMPLATE}

    def deployment(self, id: str, updated: str | None) -> dict[str, Any]:
        found = self.prefect.deployment(id, updated)
        return found if "the deployment" in self.knows else {**found, "job_variables": {}}

    def flow_run(self, id: str) -> Mapping[str, Any]:
        return self.target.row


def _of_prefect_1(
    given: Ingredients, prefect: Prefect1, target: Target, files: Sequence[KwargsFile]
) -> Iterator[Layer]:
    state = target.state
    assert state is not None  # this orchestrator reads every run
    configured = prefect.settings()
    without = replace(state, details={**state.details, "run_config": None})

    def layer(source: str, settings: Settings, state: RunState, read: KwargsFiles) -> Layer:
        configured = cast(Prefect1, _Configured(prefect, settings))
        profile = Prefect1Profile(configured, read, given.model)
        return Layer(source, profile, target.run, state)

    for source, settings in _of_the_agent(configured):
        yield layer(source, settings, without, _given([]))
    yield layer("the run config", configured, state, _given([]))
    for url, read in _files(files):
        yield layer(url, configured, state, read)


@dataclass(frozen=True, slots=True)
class _Configured:
    """Prefect 1 for an agent of these settings."""

    prefect: Prefect1
    configured: Settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prefect, name)

    def settings(self) -> Settings:
        return self.configured
