"""Measurements; what must hold is asserted in ``tests/``."""
