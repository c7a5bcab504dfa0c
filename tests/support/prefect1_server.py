"""A stand-in for the API of Prefect 1: the open-source server's, or Cloud's.

In a test it is a context manager; ``python -m tests.support.prefect1_server`` runs it as a process
and prints its address; ``prefect1_admin`` tells how another process fills and inspects it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from typing import Any, Literal, NamedTuple

from tests.support.graphql_text import Field, GraphqlError, Operation, read
from tests.support.json_http import Answer, JsonHttpServer, Request
from tests.support.prefect1_admin import administer
from tests.support.prefect1_rules import (
    register_agent,
    runs_in_queue,
    set_flow_run_state,
    set_task_run_state,
)
from tests.support.prefect1_schema import INPUTS, TYPES, Row, check_input, find, select, validate
from tests.support.prefect1_state import Prefect1Store


class Call(NamedTuple):
    """One call of one root field, as it came."""

    operation: str
    variables: Mapping[str, Any]
    headers: Message


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a call; with neither status nor error, nothing is answered."""

    status: int | None
    error: Mapping[str, Any] | None
    after_effect: bool
    delay: float

    @property
    def only_delays(self) -> bool:
        """Whether the call is answered as ever, only late."""
        return bool(self.delay) and not self.after_effect and not (self.status or self.error)


class Prefect1Server(Prefect1Store):
    """A server on a free port of the loopback interface.

    Parameters
    ----------
    token
        Without one it is the open-source server: it asks for no credentials, wants a tenant's id
        and has no ``auth_info``. With one it is Cloud's API.
    api_key
        Whether the token is an API key, which has no scope; all calls but ``auth_info`` must then
        name the tenant in ``X-PREFECT-TENANT-ID``.
    unauthorized_status
        The HTTP status of a refusal: the API's gateway answers 200 with an error.
    now
        The server's clock.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        api_key: bool = False,
        unauthorized_status: Literal[200, 401] = 200,
        port: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if token is None:
            super().__init__(full_slots="refuse", now=now)
        else:
            super().__init__(full_slots="queue", conflict_code="VERSION_LOCKING_ERROR", now=now)
        self.token = token
        self.api_key = api_key
        self.unauthorized_status = unauthorized_status
        self.calls: list[Call] = []
        self._faults: dict[str, list[Fault]] = {}
        self._http = JsonHttpServer(self.answer, port)

    @property
    def url(self) -> str:
        """The API's address, without a slash at its end."""
        return self._http.url

    def __enter__(self) -> Prefect1Server:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def fail_next(
        self,
        operation: str,
        times: int = 1,
        *,
        status: int | None = None,
        error: str | Mapping[str, Any] | None = None,
        after_effect: bool = False,
        delay: float = 0,
    ) -> None:
        """Let the next calls of an operation fail.

        They are answered with an HTTP status, or with a GraphQL error: a whole one, or its message.
        With neither, the connection is closed without an answer, unless there is only a ``delay``:
        then the answer is late. With ``after_effect`` what the call asked for is done before.
        """
        if isinstance(error, str):
            error = {"message": error, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
        with self.lock:
            faults = self._faults.setdefault(operation, [])
            faults.extend([Fault(status, error, after_effect, delay)] * times)

    def calls_of(self, operation: str) -> list[Call]:
        """Return the calls of one operation."""
        return [call for call in self.calls if call.operation == operation]

    def answer(self, request: Request) -> Answer | None:
        """Answer a request; None closes the connection."""
        if request.path.startswith("/_admin"):
            return administer(self, request)
        headers = request.headers
        try:
            query, variables = _request(request.body)
            operation = read(query, variables)
        except GraphqlError as error:
            return _refusal(error)
        names = [field.name for field in operation.fields]
        with self.lock:
            self.calls.extend(Call(name, variables, headers) for name in names)
            fault = next((self._faults[n].pop(0) for n in names if self._faults.get(n)), None)
        if fault is None:
            return self._executed(operation, headers)
        if not fault.after_effect:
            time.sleep(fault.delay)
        if fault.only_delays:
            return self._executed(operation, headers)
        if fault.after_effect:
            self._executed(operation, headers)
            time.sleep(fault.delay)
        if fault.status is not None:
            return Answer(fault.status, "fault injected by a test")
        if fault.error is not None:
            data = dict.fromkeys(field.alias for field in operation.fields)
            return Answer.json(200, {"errors": [fault.error], "data": data})
        return None

    def _executed(self, operation: Operation, headers: Message) -> Answer:
        try:
            self._validate(operation)
        except GraphqlError as error:
            return _refusal(error)
        data: dict[str, Any] = {}
        errors = []
        status = 200
        for field in operation.fields:
            try:
                self._authorize(field.name, headers)
                target = TYPES[f"{operation.kind}_root"][field.name]
                data[field.alias] = self._value(field, target, headers)
            except GraphqlError as error:
                if error.status == 400:
                    return _refusal(error)
                status = error.status
                data[field.alias] = None
                errors.append({"path": [field.alias], **_as_json(error)})
        with self.lock:  # rows are live: nothing may change them while they are written
            return Answer.json(
                status, {"errors": errors, "data": data} if errors else {"data": data}
            )

    def _value(self, field: Field, target: str | None, headers: Message) -> Any:
        try:
            value = self._resolve(field, headers)
            return select(target, value, field.selections) if target else value
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GraphqlError(str(error)) from error

    def _validate(self, operation: Operation) -> None:
        for field in operation.fields:
            if field.name == "auth_info" and self.token is None:
                message = 'Cannot query field "auth_info" on type "query_root".'
                raise GraphqlError(message, "GRAPHQL_VALIDATION_FAILED", 400)
        validate(f"{operation.kind}_root", operation.fields)
        for field in operation.fields:
            if field.name not in INPUTS:
                continue
            check_input(f"{field.name}!", field.arguments.get("input"))
            if self.token is None and field.name == "get_runs_in_queue":
                # Cloud knows the tenant from the token.
                tenant = field.arguments["input"].get("tenant_id")
                check_input("UUID!", tenant, "input.tenant_id")

    def _authorize(self, operation: str, headers: Message) -> None:
        if self.token is None:
            return
        refused = headers.get("Authorization") != f"Bearer {self.token}"
        if self.api_key and operation != "auth_info":
            refused = refused or headers.get("X-PREFECT-TENANT-ID") != self.tenant_id
        if refused:
            message = "AuthenticationError: Forbidden"
            raise GraphqlError(message, "UNAUTHENTICATED", self.unauthorized_status)

    def _resolve(self, field: Field, headers: Message) -> Any:
        agent_id = headers.get("X-PREFECT-AGENT-ID")
        given = field.arguments.get("input") or {}
        match field.name:
            case "register_agent":
                return {"id": self._registered(given, headers)}
            case "get_runs_in_queue":
                tenant = given.get("tenant_id") or self.tenant_id
                labels = given.get("labels") or []
                ids = runs_in_queue(self, tenant, given.get("before"), labels, agent_id)
                return {"flow_run_ids": ids}
            case "set_flow_run_states":
                return _all(given, lambda change: set_flow_run_state(self, change, agent_id))
            case "set_task_run_states":
                return _all(given, lambda change: set_task_run_state(self, change, agent_id))
            case "write_run_logs":
                for line in given["logs"]:
                    self.log(line)
                return {"success": True, "error": None}
            case _:
                return self._queried(field)

    def _registered(self, agent: Mapping[str, Any], headers: Message) -> str:
        tenant = agent.get("tenant_id")
        if self.token is None and tenant != self.tenant_id:
            raise GraphqlError("No tenant found." if tenant is None else "Invalid tenant ID")
        core_version = headers.get("X-PREFECT-CORE-VERSION")
        return register_agent(self, {**agent, "tenant_id": self.tenant_id}, core_version)

    def _queried(self, field: Field) -> Any:
        with self.lock:
            match field.name:
                case "hello":
                    return "\N{WAVING HAND SIGN}"
                case "auth_info" if self.api_key:
                    return {"api_token_scope": None, "tenant_id": self.tenant_id}
                case "auth_info":
                    return {"api_token_scope": "RUNNER", "tenant_id": None}
                case "flow_run_by_pk":
                    return self.runs.get(field.arguments["id"])
                case "tenant":
                    rows = [{"id": self.tenant_id, "name": "default", "slug": "default"}]
                case "agent_config":
                    rows = self.agent_configs
                case "flow":
                    rows = list(self.flows.values())
                case "flow_run":
                    rows = list(self.runs.values())
                case "flow_run_state":
                    rows = self.flow_run_states()
                case _:
                    rows = list(self.task_runs.values())
            return find(field.name, rows, field.arguments)


def _request(body: bytes) -> tuple[str, dict[str, Any]]:
    """Read a request's query and its variables, which Prefect sends as a string."""
    try:
        request = json.loads(body)
        query, variables = request["query"], request.get("variables")
        if isinstance(variables, str):
            variables = json.loads(variables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraphqlError(f"Must provide query string: {error!r}", status=400) from error
    if not isinstance(query, str) or not isinstance(variables, dict | None):
        raise GraphqlError("Must provide query string and variables.", status=400)
    return query, variables or {}


def _all(given: Mapping[str, Any], apply: Callable[[Row], Row]) -> Row:
    """Apply all changes of a call; one that fails fails the call, but stops no other."""
    payloads, failures = [], []
    for change in given["states"]:
        try:
            payloads.append(apply(change))
        except GraphqlError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return {"states": payloads}


def _as_json(error: GraphqlError) -> Row:
    return {"message": error.message, "extensions": {"code": error.code}}


def _refusal(error: GraphqlError) -> Answer:
    """Answer a request that was not carried out at all."""
    return Answer.json(error.status, {"errors": [_as_json(error)]})


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes a free one")
    parser.add_argument("--token", help="be Cloud's API and ask for this token")
    parser.add_argument("--api-key", action="store_true", help="the token is an API key")
    options = parser.parse_args(arguments)
    with Prefect1Server(options.token, api_key=options.api_key, port=options.port) as server:
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
