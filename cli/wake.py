"""``wake``: lets Prefect itself poke the agent when a run is scheduled or cancelled in its pool.

An automation of Prefect's calls a webhook block, which holds the agent's URL and its secret:
https://docs.prefect.io/v3/concepts/automations. Runs that a deployment's schedule makes ahead of
time tell of no event, and need none: polls find them.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from slugify import slugify

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError
from cli.output import AsJson, show
from cli.poke import url_secret
from fargate_agent import clients
from fargate_agent.orchestrators.http import ApiError, JsonClient

EVENTS = ("Scheduled", "AwaitingRetry", "AwaitingRelaunch", "Resuming", "Cancelling")
"""The names of the states that there is something to do for, at once."""

AUTOMATIONS = 200

app = typer.Typer(help="Let Prefect poke the agent at once, by an automation.")


@app.command()
def enable(
    context: typer.Context,
    *,
    url: Annotated[
        str, typer.Option(help="By which Prefect reaches the agent; by default its output Url.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make the automation and its webhook block, or bring them up to date."""
    agent: DeployedAgent = context.obj
    waker = Waker(agent)
    if "Url" not in agent.outputs:
        raise CommandError("The agent has no URL: deploy it with agent.url = true.")
    address = f"{(url or agent.outputs['Url']).rstrip('/')}/api/poke"
    made = waker.enable(address, url_secret(agent))
    told = f"{waker.name}: the automation calls {address} for every run of {waker.pool}."
    show({"automation": waker.name, "url": address, "made": made}, told, as_json=as_json)


@app.command()
def disable(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Remove the automation and its webhook block."""
    waker = Waker(context.obj)
    removed = waker.disable()
    told = f"{waker.name}: removed." if removed else f"{waker.name}: there was none."
    show({"automation": waker.name, "removed": removed}, told, as_json=as_json)


class Waker:
    """The automation and the block of one agent, which are known by its name and its pool's.

    Agents of one name, as in two accounts, may serve two pools of one server.

    Raises
    ------
    CommandError
        It serves Prefect 1, which has no automations that call webhooks.
    """

    def __init__(self, agent: DeployedAgent) -> None:
        settings = agent.settings()
        if settings.prefect_version == 1:
            raise CommandError("Prefect 1 cannot be told to wake an agent: poke it yourself.")
        self.pool = settings.work_pool
        self.name = f"Wake {settings.agent_name} for {self.pool}"
        self._block_name = slugify(f"wake-{settings.agent_name}-{self.pool}")
        self._api: JsonClient = clients.api(settings)

    def enable(self, url: str, secret: str) -> bool:
        """Make both, or change what is there; tell whether the automation is new."""
        body = self._automation(self._keep_block(url, secret))
        held = self._held()
        if held:
            self._api.send("PUT", f"/automations/{held[0]['id']}", body)
        else:
            self._api.post("/automations/", body)
        for surplus in held[1:]:  # made by two who enabled it at once
            self._api.send("DELETE", f"/automations/{surplus['id']}")
        return not held

    def disable(self) -> bool:
        """Remove both; tell whether there was an automation."""
        held = self._held()
        for automation in held:  # which would be left without its block
            self._api.send("DELETE", f"/automations/{automation['id']}")
        block = self._block()
        if block:
            self._api.send("DELETE", f"/block_documents/{block['id']}")
        return bool(held)

    def _held(self) -> list[dict[str, Any]]:
        body = {"automations": {"name": {"any_": [self.name]}}, "limit": AUTOMATIONS}
        return list(self._api.post("/automations/filter", body))

    def _automation(self, block_id: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": f"Pokes the agent when there is something to do in {self.pool!r}.",
            "enabled": True,
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "expect": [f"prefect.flow-run.{state}" for state in EVENTS],
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": {
                    "prefect.resource.role": "work-pool",
                    "prefect.resource.name": self.pool,
                },
                "threshold": 1,
                "within": 0,
            },
            "actions": [
                {"type": "call-webhook", "block_document_id": block_id, "payload": '"poke"'}
            ],
        }

    def _keep_block(self, url: str, secret: str) -> str:
        """Make the block, or give it this URL and secret; return its id."""
        data = {
            "method": "POST",
            "url": url,
            "headers": {"Authorization": f"Bearer {secret}"},
        }
        held = self._block()
        if held:
            body = {"data": data, "merge_existing_data": False}
            self._api.send("PATCH", f"/block_documents/{held['id']}", body)
            return str(held["id"])
        kind = self._api.get("/block_types/slug/webhook")["id"]
        asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        (schema, *_) = self._api.post("/block_schemas/filter", asked)  # the latest first
        body = {
            "name": self._block_name,
            "data": data,
            "block_type_id": kind,
            "block_schema_id": schema["id"],
        }
        return str(self._api.post("/block_documents/", body)["id"])

    def _block(self) -> dict[str, Any] | None:
        path = f"/block_types/slug/webhook/block_documents/name/{self._block_name}"
        try:
            return dict(self._api.get(path))
        except ApiError as error:
            if error.status != 404:
                raise
            return None
