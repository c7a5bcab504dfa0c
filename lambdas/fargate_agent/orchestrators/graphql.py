"""Calls Prefect 1's GraphQL API, and tells its errors apart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fargate_agent.orchestrators.http import ApiError, CredentialsExpired, JsonClient

ATTEMPTS = 3
"""An answer that says API_ERROR is asked for again, as Prefect's own client does."""


class StateRefused(Exception):
    """The run or its version is not what the proposer thinks: somebody else was there first."""


class NoConcurrencySlot(Exception):
    """A concurrency limit is full, and the server changed nothing."""


class QueryRefused(ApiError):
    """The server does not know what it is asked: it has no such field."""


class GraphQL:
    """One GraphQL endpoint.

    Parameters
    ----------
    api
        The client for ``prefect.api_url``.
    path
        What follows that address.
    """

    def __init__(
        self, api: JsonClient, path: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._api = api
        self._path = path
        self._sleep = sleep

    def __call__(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run one operation and return its ``data``.

        The variables travel as JSON text within the JSON body, as Prefect's own client sends them.

        Raises
        ------
        StateRefused, NoConcurrencySlot
            A proposed state was not accepted.
        QueryRefused
            The server has no such field.
        CredentialsExpired
            The server refused the key.
        ApiError
            Any other error, or no answer.
        """
        body = {"query": query, "variables": json.dumps(variables)}
        refresh = False
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._post(query, body, refresh=refresh)
            errors = answer.get("errors")
            if not errors:
                return dict(answer["data"])
            if _unauthenticated(errors) and not refresh:
                refresh = True  # the key may be rotated; this server answers 200 none the less
                continue
            if not _worth_asking_again(errors) or attempt == ATTEMPTS:
                raise _error(query, errors)
            self._sleep(0.3 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _post(self, query: str, body: Mapping[str, Any], *, refresh: bool) -> dict[str, Any]:
        try:
            answer = self._api.send("POST", self._path, body, refresh=refresh)
        except ApiError as error:
            if error.status == 400 and _no_such_field(str(error)):
                raise QueryRefused(_shortened(query), 400, str(error)) from error
            raise
        known = isinstance(answer, dict)
        if not known or not (answer.get("errors") or isinstance(answer.get("data"), dict)):
            raise ApiError(_shortened(query), 200, f"neither data nor errors: {answer!r}")
        return dict(answer)


def _no_such_field(text: str) -> bool:
    return "GRAPHQL_VALIDATION_FAILED" in text or "Cannot query field" in text


def _codes(errors: Sequence[Mapping[str, Any]]) -> set[str]:
    return {(error.get("extensions") or {}).get("code", "") for error in errors}


def _unauthenticated(errors: Sequence[Mapping[str, Any]]) -> bool:
    malformed = any("Malformed Authorization" in str(error.get("message")) for error in errors)
    return malformed or "UNAUTHENTICATED" in _codes(errors)


def _worth_asking_again(errors: Sequence[Mapping[str, Any]]) -> bool:
    return "API_ERROR" in _codes(errors)


def _error(query: str, errors: Sequence[Mapping[str, Any]]) -> Exception:
    text = "; ".join(str(error.get("message")) for error in errors)
    codes = _codes(errors)
    if "VERSION_LOCKING_ERROR" in codes or "State update failed" in text:
        return StateRefused(text)
    if "Unable to get flow run concurrency slot" in text:
        return NoConcurrencySlot(text)
    if _unauthenticated(errors):
        return CredentialsExpired(
            _shortened(query),
            401,
            f"Prefect refused the agent's credentials: {text}. Check that the secret in "
            "prefect.api_key_secret holds a valid key or runner token.",
        )
    kind = QueryRefused if _no_such_field(f"{codes} {text}") else ApiError
    return kind(_shortened(query), 200, text)


def _shortened(query: str) -> str:
    return " ".join(query.split())[:60]
