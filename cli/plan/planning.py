"""Makes a plan: the revision that would be run, the request, and every value with its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cli.deployed_agent import DeployedAgent
from cli.plan.layers import Ingredients, Layer, layers, masked
from cli.plan.leaves import leaves_of_definition, leaves_of_request
from cli.plan.targets import Target
from fargate_agent import clients
from fargate_agent.drift import differences
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFile
from fargate_agent.kwargs import KwargsModel
from fargate_agent.launcher import request_of
from fargate_agent.runs import Launch
from fargate_agent.task_definitions import HASH_TAG, Revision, TaskDefinitions, content_hash
from fargate_agent.tasks import run_task_request

HIDDEN = "(hidden: it may come from a block)"
ANOTHER = "(hidden: another)"

Action = Literal["reuse", "register", "named", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of the definition or the request; None where there is none."""

    path: str
    value: str | None
    before: str | None
    """In the latest registered revision, or in a run of the pool without anything of its own."""
    source: str

    @property
    def change(self) -> str:
        """``+`` new, ``-`` gone, ``~`` another; a space where it is the same."""
        if self.value == self.before:
            return " "
        return "+" if self.before is None else "-" if self.value is None else "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the launch of one run would do."""

    title: str
    state: str | None
    """Of the run in Prefect, where it exists."""
    action: Action
    """What would become of the task definition."""
    why: Sequence[str]
    revision: str | None
    """The revision that would be run, where it exists."""
    latest: str | None
    """The latest registered one of the family."""
    definition: Sequence[Value]
    request: Sequence[Value]
    run_task: Mapping[str, Any]
    """The exact keyword arguments."""


def ingredients(agent: DeployedAgent) -> Ingredients:
    """Return what the agent renders runs with, but with the caller's own rights."""
    settings = agent.settings()
    accounts = clients.accounts(settings)
    return Ingredients(
        orchestrator=agent.orchestrator,
        accounts=accounts,
        model=KwargsModel(accounts.own.ecs),
        settings=settings,
    )


def plan(given: Ingredients, target: Target, files: Sequence[KwargsFile]) -> Plan:
    """Plan one run.

    Parameters
    ----------
    files
        Its kwargs files, the weaker first.

    Raises
    ------
    PermanentError
        The run asks for something that cannot be launched; the text tells what to correct.
    """
    found = layers(given, target, files)
    launch = found[-1].whole()
    rendered = [layer.launch() for layer in found[:-1]]
    launches = [*zip([layer.source for layer in found], [*rendered, launch], strict=True)]
    hiding = masked(given, target, files, launch)
    shown = hiding[-1].launch()
    plain = _plainest(found)
    definitions = given.accounts.of(launch.aws_credentials).definitions
    action, why, revision, latest = _decide(definitions, launch)
    same = latest is not None and _is_registered_as(latest, launch)
    registered = leaves_of_definition(launch.definition if same else latest or {})
    name = latest["taskDefinitionArn"].rpartition("/")[2] if latest else None
    named = revision or Revision(arn=f"{launch.definition.get('family')}:NEW", how="registered")
    request = request_of(shown or launch, named)
    return Plan(
        title=target.title,
        state=target.state.type if target.state and not target.is_new else None,
        action=action,
        why=why,
        revision=revision.name if revision else None,
        latest=name,
        definition=_values(
            _Told(_of_definition(launch), _of_definition(shown)),
            _as_registered(registered if launch.definition else {}, launch, shown),
            _sources(launches, _of_definition),
            gone=name or "",
        ),
        request=_values(
            _Told(_of_request(launch), _of_request(shown)),
            _Told(_of_request(rendered[plain]), _of_request(hiding[plain].launch())),
            _sources(launches, _of_request),
            gone=found[plain].source,
        ),
        run_task=run_task_request(
            request if shown else {"hidden": HIDDEN},
            definition_arn=named.arn,
            claim_id=target.run.claim_id,
            flow_run_id=target.run.id,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """Values by their paths, and what of them may be shown."""

    real: Mapping[str, str]
    shown: Mapping[str, str]

    def tell(self, path: str) -> str | None:
        """Return what may be told of a value; None where there is none."""
        return self.shown.get(path, HIDDEN) if path in self.real else None


def _of_definition(launch: Launch | None) -> dict[str, str]:
    return leaves_of_definition(launch.definition) if launch else {}


def _of_request(launch: Launch | None) -> dict[str, str]:
    return leaves_of_request(launch.request) if launch else {}


def _plainest(found: Sequence[Layer]) -> int:
    """Return which layer a run has that brings nothing of its own."""
    sources = [layer.source for layer in found]
    return sources.index("the work pool" if "the work pool" in sources else "agent.toml")


def _as_registered(registered: Mapping[str, str], launch: Launch, shown: Launch | None) -> _Told:
    """Hide what may be an older value of a block: an environment's, and what a block gives now."""
    real, told = _of_definition(launch), _of_definition(shown)
    known = {
        path: value
        for path, value in registered.items()
        if ".environment[" not in path and real.get(path) == told.get(path)
    }
    return _Told(registered, known)


def _sources(
    launches: Sequence[tuple[str, Launch | None]], leaves: Callable[[Launch | None], dict[str, str]]
) -> dict[str, str]:
    """Name for each value the last source that changed it."""
    sources: dict[str, str] = {}
    before: dict[str, str] = {}
    for source, launch in launches:
        now = leaves(launch)
        sources |= {path: source for path, value in now.items() if before.get(path) != value}
        before = now
    return sources


def _values(now: _Told, before: _Told, sources: Mapping[str, str], *, gone: str) -> list[Value]:
    """Lay what would be asked for beside what there is.

    Parameters
    ----------
    gone
        Where a value stands that is no longer asked for.
    """
    made = []
    for path in sorted({*now.real, *before.real}):
        same = now.real.get(path) == before.real.get(path)
        made.append(
            Value(
                path=path,
                value=now.tell(path),
                before=now.tell(path) if same else _differing(before.tell(path), now.tell(path)),
                source=sources.get(path, gone),
            )
        )
    return made


def _differing(before: str | None, value: str | None) -> str | None:
    """Tell what was before so that it does not read as the same, as two values of one block."""
    return ANOTHER if before is not None and before == value else before


def _decide(
    definitions: TaskDefinitions, launch: Launch
) -> tuple[Action, list[str], Revision | None, Mapping[str, Any] | None]:
    if launch.definition_arn:
        named = Revision(arn=launch.definition_arn, how="named by the run", ours=False)
        return "named", ["the run names it"], named, None
    latest = definitions.latest(launch.definition["family"])
    if latest is None:
        why = f"the family {launch.definition['family']} has no active revision"
        return "register", [why], None, None
    differ = differences(launch.definition, latest)
    try:
        revision = definitions.find(launch.definition, launch.revision)
    except PermanentError as error:  # ecs.on_drift is "fail"
        return "refuse", [str(error)], None, latest
    if revision is None:
        return "register", differ or ["the latest is another's"], None, latest
    if revision.arn != latest["taskDefinitionArn"]:
        return "reuse", ["an older revision has this very content"], revision, latest
    if differ and not _is_registered_as(latest, launch):
        return "reuse", ["ecs.on_drift lets it differ", *differ], revision, latest
    return "reuse", ["nothing differs"], revision, latest


def _is_registered_as(latest: Mapping[str, Any], launch: Launch) -> bool:
    """Tell whether a revision was registered with this very content, which ECS completed."""
    return bool(latest["tags"].get(HASH_TAG) == content_hash(launch.definition))
