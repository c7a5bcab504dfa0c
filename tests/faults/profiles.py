"""The worlds that every scenario is played in: each orchestrator, each profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.faults.rounds import ROUNDS
from tests.support.simulated_clock import Clock
from tests.support.simulated_prefect1 import Prefect1Side
from tests.support.simulated_prefect3 import Prefect3Side
from tests.support.simulated_world import KEY, Side, World

FILE = {"memory": "4096"}
ENVIRONMENT = {"type": "FargateTaskEnvironment", "metadata": {"image": "example/env:1"}}
CONTAINERS = {
    "family": "etl",
    "cpu": "512",
    "memory": "2048",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "containerDefinitions": [
        {"name": "flow", "image": "any"},
        {"name": "proxy", "image": "proxy:1", "essential": False},
    ],
}


def _with_references(clock: Clock) -> Side:
    side = Prefect3Side(clock, key=KEY, run_variables={"memory": 2048})
    side.add_block("s3cret", name="token")
    side.add_variable("region", "north")
    template = side.pools["fargate"]["base_job_template"]
    template["variables"]["properties"]["env"]["default"] = {
        "TOKEN": "{{ prefect.blocks.secret.token }}",
        "REGION": "{{ prefect.variables.region }}",
    }
    side.change_pool("fargate", base_job_template=template)
    return side


_MADE: Mapping[str, tuple[Callable[[Clock], Side], Mapping[str, Any] | None]] = {
    "work pool": (lambda clock: Prefect3Side(clock, key=KEY, job_variables={"cpu": 512}), FILE),
    "work pool with references": (_with_references, None),
    "Prefect 2": (lambda clock: Prefect3Side(clock, version="2.20.22"), FILE),
    "Prefect 1": (Prefect1Side, FILE),
    "Prefect 1 without version locking": (
        lambda clock: Prefect1Side(clock, version_locking=False),
        FILE,
    ),
    "Prefect 1 Cloud": (lambda clock: Prefect1Side(clock, key=KEY), None),
    "task environment": (
        lambda clock: Prefect1Side(clock, environment=ENVIRONMENT),
        CONTAINERS,
    ),
}

PROFILES = tuple(_MADE)

LOCKING = tuple(name for name in PROFILES if not name.endswith("without version locking"))
"""Where two who propose a state at once, a user or another agent among them, cannot both win."""

MAIN = ("work pool", "Prefect 1", "task environment")
"""The others differ from these in little: where every call is played in every way, they are played
with fewer, but with all where ``ROUNDS`` asks for more."""

WORK_POOLS = tuple(name for name in PROFILES if name.startswith(("work pool", "Prefect 2")))


def thorough(profile: str) -> bool:
    """Tell whether a profile is played in every way."""
    return ROUNDS > 1 or (ROUNDS == 1 and profile in MAIN)


def world_without_agent(profile: str, **options: Any) -> World:
    """Make a world of a profile."""
    make_side, file = _MADE[profile]
    return World(make_side, file=file, **options)


def world_of(profile: str, **settings: Any) -> World:
    """Make a world of a profile with one agent."""
    world = world_without_agent(profile)
    world.add_agent(**settings)
    return world
