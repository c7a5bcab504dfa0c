"""The deliberate differences from the ECS worker, each a rule over a run's input and calls.

All rules that apply are applied, in the order of :data:`RULES`; a case of which no rule speaks must
match what was recorded, call for call.
"""

from __future__ import annotations

from tests.parity.ecs_worker.rules.base import Rule
from tests.parity.ecs_worker.rules.definitions import DEFINITIONS
from tests.parity.ecs_worker.rules.inputs import INPUTS
from tests.parity.ecs_worker.rules.launches import LAUNCHES
from tests.parity.ecs_worker.rules.requests import REQUESTS

RULES: tuple[Rule, ...] = (*INPUTS, *REQUESTS, *DEFINITIONS, *LAUNCHES)
