"""What may be told to Prefect: text that its databases take, and that a person can read."""

from __future__ import annotations

LONGEST = 10_000
"""Characters. An error may repeat what a user wrote, which may be a megabyte."""


def tellable(text: str) -> str:
    """Return a text without half characters and NULs, which no database takes, and not too long."""
    whole = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}…"
