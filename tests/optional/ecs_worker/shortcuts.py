"""What the worker does anew for each run, done once: none of it is seen from outside."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import SettingsContext, use_profile
from prefect.settings import get_current_settings
from prefect.workers import base
from prefect_aws import credentials
from prefect_aws.workers import ecs_worker


class KnownSettings:
    """Prefect's settings in each environment, read once: it takes longer than a run."""

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[str, str]], SettingsContext] = {}
        self._variables: dict[int, dict[str, str]] = {}
        self._real = base.BaseJobConfiguration._base_environment
        base.BaseJobConfiguration._base_environment = self._base_environment

    @contextmanager
    def used(self) -> Iterator[None]:
        key = frozenset(os.environ.items())
        if key not in self._known:
            with use_profile("ephemeral", include_current_context=False) as context:
                self._known[key] = context
        known = self._known[key]
        with SettingsContext(profile=known.profile, settings=known.settings):
            yield

    def _base_environment(self) -> dict[str, str]:
        key = id(get_current_settings())
        if key not in self._variables:
            self._variables[key] = self._real()
        return dict(self._variables[key])


REAL_CLIENTS = credentials._get_client_cached
"""Makes them, and keeps a few."""


class KnownClients:
    """The worker's AWS clients: it makes them anew for each run, which is never seen by AWS.

    But where a role is assumed for it, which is a call.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        credentials._get_client_cached = self._get

    def _get(self, ctx: Any, client_type: str) -> Any:
        if ctx.assume_role_arn:
            return REAL_CLIENTS(ctx=ctx, client_type=client_type)
        key = f"{client_type} {ctx!r} {ctx.aws_secret_access_key and hash(ctx)}"
        if key not in self._known:
            self._known[key] = REAL_CLIENTS(ctx=ctx, client_type=client_type)
        return self._known[key]


def take() -> KnownSettings:
    """Take the shortcuts; return what brings the settings of each environment."""
    KnownClients()
    # It asks git for the name each time.
    ecs_worker.get_prefect_image_name = functools.cache(ecs_worker.get_prefect_image_name)
    return KnownSettings()
