"""How much is played: ``SEED`` tells which random part, ``ROUNDS`` how much of it, by default 1.

With more every profile is played in every way, with less, as ``make test`` does, in the main ones.
"""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("SEED", "20260301"))
ROUNDS = float(os.environ.get("ROUNDS", "1"))


def rounds(usual: int) -> range:
    """Number the rounds of a scenario."""
    return range(max(1, round(usual * ROUNDS)))


def seeded(*what: object) -> random.Random:
    """Return the random numbers of one round, the same in every run of a seed."""
    return random.Random("/".join(map(str, (SEED, *what))))
