"""``poke``: polls now, and tells how many runs were found."""

from __future__ import annotations

import json
from typing import Any

import typer
import urllib3

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError
from cli.invocation import invoke
from cli.output import AsJson, show

LONGER_THAN_A_POLL = urllib3.Timeout(connect=3, read=60)


class NoAnswer(Exception):
    """The function URL cannot be reached from here."""


def poke(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Poll now: by the agent's URL, and without one by invoking the function as a tick does."""
    agent: DeployedAgent = context.obj
    if not agent.settings().enabled:
        raise CommandError("The agent is disabled: deploy it with agent.enabled = true.")
    answer = poll_once(agent)
    told = f"Found {answer['found']} runs that are due before the next poll ({answer['by']})."
    show(answer, told, as_json=as_json)


def poll_once(agent: DeployedAgent) -> dict[str, Any]:
    """Poll; return how many runs were ``found``, and ``by`` what way.

    Raises
    ------
    CommandError
        The poll failed, or the URL refused the secret.
    """
    if "Url" not in agent.outputs:
        return {"found": _invoked(agent), "by": "the function was invoked"}
    try:
        return {"found": _by_url(agent), "by": "by its URL"}
    except NoAnswer as error:
        by = f"the function was invoked, for its URL does not answer from here: {error}"
        return {"found": _invoked(agent), "by": by}


def _invoked(agent: DeployedAgent) -> int:
    # As a tick does: neither further ticks nor the upkeep, which are the schedule's.
    return int(invoke(agent, "poll", {"Records": []})["found"])


def _by_url(agent: DeployedAgent) -> int:
    try:
        answer = urllib3.request(
            "POST",
            f"{agent.outputs['Url'].rstrip('/')}/api/poke",
            headers={"Authorization": f"Bearer {url_secret(agent)}"},
            timeout=LONGER_THAN_A_POLL,
            retries=False,
        )
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
        raise NoAnswer(type(error).__name__) from error
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"The agent's URL broke off: {error}") from error
    if answer.status != 200:
        text = answer.data.decode(errors="replace")[:300]
        raise CommandError(f"The agent's URL answers {answer.status}: {text}")
    try:
        return int(json.loads(answer.data)["found"])
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError("What answers at the agent's URL is not the agent.") from error


def url_secret(agent: DeployedAgent) -> str:
    """Return what callers of the agent's URL must bring."""
    secrets = agent.client("secretsmanager")
    return str(secrets.get_secret_value(SecretId=agent.outputs["UrlSecret"])["SecretString"])
