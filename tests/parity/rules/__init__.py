"""The deliberate differences from the legacy agent, each a rule over a case's input and calls.

All rules that apply are applied, in the order of :data:`RULES`; a case of which no rule speaks must
match what was recorded, call for call.
"""

from __future__ import annotations

from tests.parity.rules.base import Rule
from tests.parity.rules.environments import ENVIRONMENTS
from tests.parity.rules.every_launch import EVERY_LAUNCH
from tests.parity.rules.faults import FAULTS
from tests.parity.rules.kwargs import KWARGS
from tests.parity.rules.options import OPTIONS
from tests.parity.rules.refusals import REFUSALS
from tests.parity.rules.requests import REQUESTS
from tests.parity.rules.revisions import REVISIONS

RULES: tuple[Rule, ...] = (
    *OPTIONS,
    *ENVIRONMENTS,
    *KWARGS,
    *REQUESTS,
    *REFUSALS,
    *FAULTS,
    *REVISIONS,
    *EVERY_LAUNCH,
)
