"""Two or three things go wrong in one run's life, at random."""

from __future__ import annotations

import pytest

from tests.faults.profiles import PROFILES, world_of
from tests.faults.rounds import SEED, rounds, seeded
from tests.faults.tally import judge
from tests.support.simulated_faults import AWS_FAULTS, PREFECT_FAULTS, AnyFault
from tests.support.simulated_tasks import DEATHS

CALLS = 60
"""Faults hit the first calls, which are those of a whole life and of some tries of its parts."""


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize("chunk", rounds(8))
@pytest.mark.parametrize("profile", PROFILES)
def test_faults_at_random_calls(profile: str, chunk: int) -> None:
    for number in range(10):
        random = seeded("several faults", profile, chunk, number)
        world = world_of(profile)
        kinds = [
            random.choice([*PREFECT_FAULTS, *AWS_FAULTS]) for _ in range(random.choice([2, 2, 3]))
        ]
        plan = {random.randrange(CALLS): AnyFault(kind) for kind in kinds}
        world.calls.plan.update(plan)
        run = world.schedule(random.choice([0, 5, 90]))
        fate = random.choice([None, None, *DEATHS])
        if fate:
            world.fargate.fates.append(fate)
            world.expected[run] = ("COMPLETED",) if fate.relaunched else ("CRASHED",)
        world.settle()
        judge(world, f"SEED={SEED}: {plan}, {fate}")
