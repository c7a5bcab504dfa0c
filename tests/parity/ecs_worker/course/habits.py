"""What a process does, and what it keeps in mind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What is done otherwise than by the worker; each is the matter of one rule."""

    checks_first: bool = False
    own_network: bool = False
    looks_up_once: bool = False
    by_content: bool = False
    warm: bool = False
    sorts_failures: bool = False
    takes_any_task: bool = False
    describes_once: bool = False
    runs_what_it_described: bool = False
    one_session: bool = False
    marks_own: bool = False
    names_cluster: bool = True


@dataclass
class Memory:
    """What one process keeps."""

    definitions: dict[str, str] = field(default_factory=dict)
    named: dict[str, dict[str, Any]] = field(default_factory=dict)
    subnets: dict[str, list[str]] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
