"""Which revision is run: found by looks that start from what is registered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.parity.cases import ACCOUNT, Case
from tests.parity.expectation import Call, Expected, Launch
from tests.parity.rules.base import Matching, Rule, always, may_call, of_flows

TOKEN = "PREFECT__CLOUD__AUTH_TOKEN"
FLOW_ID, FLOW_VERSION, WHOLE_FLOW_ID = (
    "PrefectFlowId",
    "PrefectFlowVersion",
    "fargate-agent/flow-id",
)

PAGE = 50
"""So many resources are on a page of the tag search."""

CANDIDATES = 5
"""So many revisions that the tag search found are looked at."""


ANY_TOKEN = Matching("a page's token", bool)


@dataclass(frozen=True)
class Registered:
    """One revision, with the flow it was registered for where the product registered it."""

    arn: str
    number: int
    definition: Mapping[str, Any]
    active: bool = True
    flow_id: str | None = None

    @property
    def tags(self) -> Mapping[str, str]:
        return {tag["key"]: tag["value"] for tag in self.definition.get("tags") or []}

    @property
    def has_token(self) -> bool:
        """Whether the flow's container is given the API token."""
        if self.flow_id:
            return True
        containers = self.definition.get("containerDefinitions") or [{}]
        return TOKEN in {entry["name"] for entry in containers[0].get("secrets") or []}


@dataclass
class Registry:
    """The revisions there are, while the calls of a case are made."""

    case: Case
    families: dict[str, list[Registered]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._count: Counter[str] = Counter()
        for definition in self.case.existing:
            self.register(definition)

    def before(self, operation: str) -> None:
        """Let happen what somebody else does before a call."""
        self._count[operation] += 1
        for step in self.case.input.get("interleave") or []:
            when = step["before"]
            if (when["operation"], when.get("nth", 1)) == (operation, self._count[operation]):
                self.register(step["register"])

    def register(self, definition: Mapping[str, Any], flow_id: str | None = None) -> Registered:
        """Register a revision."""
        family = definition["family"]
        held = self.families.setdefault(family, [])
        name = f"{family}:{len(held) + 1}"
        arn = f"arn:aws:ecs:{self.case.region}:{ACCOUNT}:task-definition/{name}"
        active = flow_id is not None or name not in self.case.deregistered
        held.append(Registered(arn, len(held) + 1, definition, active, flow_id))
        return held[-1]

    def latest(self, family: str) -> Registered | None:
        """Return what a look for a family finds."""
        fault = self.case.fault("DescribeTaskDefinition") or {}
        if fault.get("error"):  # it says that there is none; the others have been dealt with
            return None
        answer = fault.get("response")
        if answer:
            found = {**answer["taskDefinition"], "tags": answer.get("tags")}
            return Registered(found.get("taskDefinitionArn", ""), 0, found)
        return next((r for r in reversed(self.families.get(family, [])) if r.active), None)

    def tagged(self, key: str, value: str) -> list[Registered]:
        """Return what the tag search finds, in all families."""
        everything = [r for held in self.families.values() for r in held]
        if key == WHOLE_FLOW_ID:
            return [r for r in everything if r.flow_id == value]
        return [r for r in everything if r.tags.get(key) == value]


@dataclass(frozen=True)
class Finder:
    """Finds a launch's revision as the legacy agent did, but for what the rules improve."""

    own_flow: bool = False
    search: bool = False
    with_token: bool = False
    warm: bool = False

    def __call__(self, case: Case, expected: Expected) -> Expected:
        """Make every look anew, in the order of the launches."""
        registry, known = Registry(case), dict[str, str]()
        made = []
        for launch in expected.launches:
            if not may_call(launch) or (launch.revision and not launch.looks):
                made.append(launch)
                continue
            content = json.dumps([launch.definition, launch.run["flow"]["id"]], sort_keys=True)
            if self.warm and content in known:
                found = launch.changed(looks=(), registrations=0, revision=known[content])
            else:
                found = self._look(registry, launch)
            if found.starts:
                registry.before("RunTask")
                known[content] = found.revision or ""
            made.append(found)
        return Expected(refused=expected.refused, launches=tuple(made))

    def _look(self, registry: Registry, launch: Launch) -> Launch:
        case = registry.case
        looks = [_describe(launch.definition["family"])]
        registry.before("DescribeTaskDefinition")
        found = registry.latest(launch.definition["family"])
        if found is not None and not self._is_usable(found, launch, case):
            more, found = self._search(registry, launch, found)
            looks += more
        if found is not None:
            return launch.changed(looks=tuple(looks), registrations=0, revision=found.arn)
        registry.before("RegisterTaskDefinition")
        arn = None
        if launch.starts:
            arn = registry.register(launch.definition, launch.run["flow"]["id"]).arn
        times = max(launch.registrations, 1)
        return launch.changed(looks=tuple(looks), registrations=times, revision=arn)

    def _is_usable(self, found: Registered, launch: Launch, case: Case) -> bool:
        if not found.active:
            return False
        if found.flow_id and found.definition == launch.definition:
            return True
        if self.with_token and case.config.token and not found.has_token:
            return False
        flow_id = launch.run["flow"]["id"]
        if self.own_flow and found.flow_id not in (None, flow_id) and not case.is_environment:
            return False
        return not case.revisions or found.tags.get(FLOW_ID) == flow_id[:8]

    def _search(
        self, registry: Registry, launch: Launch, latest: Registered
    ) -> tuple[list[Call], Registered | None]:
        case, flow = registry.case, launch.run["flow"]
        if case.is_environment:
            return [], None
        key, value = (FLOW_ID, flow["id"][:8]) if case.revisions else (WHOLE_FLOW_ID, flow["id"])
        have, want = latest.tags.get(FLOW_VERSION, "0"), str(flow["version"])
        numbers = have.isdecimal() and want.isdecimal() and case.revisions
        searched = not (numbers and int(have) < int(want))
        if not self.search:
            searched = case.revisions and numbers and int(have) > int(want)
        if not searched:
            return [], None
        refused = (case.fault("GetResources") or {}).get("error") or {}
        if refused.get("Code") == "AccessDeniedException":
            return [_get_resources(key, value)], None
        found = registry.tagged(key, value)
        if not self.search:
            return [_get_resources(key, value)], found[-1] if found else None
        pages = max(-(-len(found) // PAGE), 1)
        looks = [_get_resources(key, value, page=page) for page in range(pages)]
        family = launch.definition["family"]
        own = [r for r in found if r in registry.families.get(family, [])]
        for candidate in sorted(own, key=lambda r: -r.number)[:CANDIDATES]:
            looks.append(_describe(candidate.arn))
            registry.before("DescribeTaskDefinition")
            if self._is_usable(candidate, launch, case):
                return looks, candidate
        return looks, None


def _describe(name: str) -> Call:
    params = {"taskDefinition": name, "include": ["TAGS"]}
    return Call("ecs", "DescribeTaskDefinition", params)


def _get_resources(key: str, value: str, page: int = 0) -> Call:
    params: dict[str, Any] = {
        "TagFilters": [{"Key": key, "Values": [value]}],
        "ResourceTypeFilters": ["ecs:task-definition"],
    }
    if page:
        params["PaginationToken"] = ANY_TOKEN
    return Call("resourcegroupstaggingapi", "GetResources", params)


def _crashes_passed(case: Case, launch: Launch) -> Launch:
    """Free a launch of which the legacy agent could not read the revision's tags."""
    crashed = (launch.error or {}).get("type") in ("KeyError", "TypeError", "ValueError")
    return launch.freed(case) if crashed and launch.looks and not may_call(launch) else launch


def _searched(case: Case, expected: Expected) -> Expected:
    if case.revisions:
        expected = expected.each(lambda launch: _crashes_passed(case, launch))
    return Finder(own_flow=True, search=True)(case, expected)


REVISIONS = (
    Rule(
        name="own flow only",
        why="Two flow ids may begin with the same eight characters, and a family is named by them: "
        "a revision tagged as another flow's is left alone, and the flow's own is searched by its "
        "tag. The legacy agent ran the other flow's image.",
        applies=lambda case: of_flows(case) and not case.revisions,
        expect=Finder(own_flow=True, search=True),
    ),
    Rule(
        name="tag search",
        why="Wherever the latest revision is another flow's, and not of an older version, the "
        "flow's own is searched: on all pages, in its own family, the latest first, and each is "
        "described before it is run. The legacy agent searched one page of all families, and "
        "crashed on a revision whose tags it could not read.",
        applies=lambda case: of_flows(case) and case.revisions,
        expect=_searched,
    ),
    Rule(
        name="a revision knows the token",
        why="A revision that the legacy agent registered does not name the secret that holds the "
        "API token, so a task of it could not reach Prefect: it is replaced, once.",
        applies=lambda case: bool(case.existing),
        expect=Finder(own_flow=True, search=True, with_token=True),
    ),
    Rule(
        name="warm function",
        why="A definition that this process found or registered is neither described nor "
        "registered again.",
        applies=always,
        expect=Finder(own_flow=True, search=True, with_token=True, warm=True),
    ),
)
