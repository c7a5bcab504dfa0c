"""Replays what the legacy agent was recorded to send against the stand-in for Prefect 1's API."""

from __future__ import annotations

import http.client
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.prefect1_server import Prefect1Server

Exchange = dict[str, Any]

EXCHANGES: dict[str, Exchange] = json.loads(
    Path(__file__).with_name("graphql_wire.json").read_text(encoding="utf-8")
)
FLOW_ID = "aaaaaaaa-0000-4000-8000-000000000001"
RUN_ID = "11111111-0000-4000-8000-000000000001"


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_recorded_exchange_is_answered_as_it_was(name: str):
    recorded = EXCHANGES[name]

    with server_of(recorded) as server:
        prepare(server, recorded)
        status, answer = replay(server, recorded)

    assert status == recorded["status"]
    assert blurred(answer) == blurred(recorded["response"])


def test_a_recorded_call_is_kept_with_its_variables_and_headers():
    recorded = EXCHANGES["get_runs_in_queue | 0.14.22 | cloud"]

    with server_of(recorded) as server:
        prepare(server, recorded)
        replay(server, recorded)

    (call,) = server.calls
    assert call.operation == "get_runs_in_queue"
    assert call.variables == recorded["variables"]
    assert call.headers["X-PREFECT-AGENT-ID"] == dict(recorded["headers"])["X-PREFECT-AGENT-ID"]


def server_of(recorded: Exchange) -> Prefect1Server:
    token = dict(recorded["headers"]).get("Authorization", "").removeprefix("Bearer ")
    return Prefect1Server(token or None, api_key=token == "API_KEY")


def prepare(server: Prefect1Server, recorded: Exchange) -> None:
    """Put in what was there when the exchange was recorded."""
    flow = server.add_flow(id=FLOW_ID)
    flow["storage"].update(registry_url="reg.io", image_name="img")
    before = recorded["variables"].get("input", {}).get("before")
    run = server.add_run(flow, id=RUN_ID, due=datetime.fromisoformat(before) if before else None)
    # The recorded server kept its states without the message that real ones begin with.
    run["serialized_state"] = {**run["serialized_state"], "message": None}
    if "set_task_run_states" in recorded["query"]:
        server.add_task_run(run, id="tr-1")
    server.add_agent_config({"cpu": "1024", "labels": ["x"]}, id="cfg-1")


def replay(server: Prefect1Server, recorded: Exchange) -> tuple[int, Any]:
    """Send the recorded bytes and headers, in their order."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(
            recorded["method"], recorded["path"], skip_host=True, skip_accept_encoding=True
        )
        for header, value in recorded["headers"]:
            connection.putheader(header, value)
        connection.endheaders(recorded["raw_body"].encode())
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def blurred(value: Any) -> Any:
    """Leave ids and times out, which differ from server to server, but not that they are such."""
    if isinstance(value, dict):
        return {key: blurred(item) for key, item in value.items()}
    if isinstance(value, list):
        return [blurred(item) for item in value]
    if not isinstance(value, str):
        return value
    if is_id(value):
        return "<id>"
    return "<time>" if is_time(value) else value


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return text == "tr-1"  # the id of the recorded task run
    return True


def is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
