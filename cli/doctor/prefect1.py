"""Prefect 1: the API, the key, the tenant, and when the agent asked for runs last."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.findings import Finding, failure, ok, unknown
from cli.doctor.prefect3 import not_reached, told_poll
from cli.doctor.subject import Subject
from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.graphql import QueryRefused
from fargate_agent.orchestrators.http import ApiError, CredentialsExpired, CredentialsRefused
from fargate_agent.orchestrators.prefect1 import Prefect1


def checks(subject: Subject) -> Iterator[Finding]:
    """Check the API and the key, and tell when the agent asked last."""
    prefect = Prefect1(subject.prefect, subject.settings)
    try:
        settings = prefect.settings()  # which makes the agent known, as its own polls do
    except (CredentialsExpired, CredentialsRefused) as error:
        yield failure("Prefect's key", str(error), "Store a valid key in that secret.")
        return
    except PermanentError as error:
        yield failure("agent configuration", str(error), "Correct it in Prefect.")
        return
    except ApiError as error:
        if error.status is not None and error.status < 500:
            raise
        yield not_reached(subject, error)
        return
    yield ok("Prefect", f"{subject.settings.api_url} answers from here")
    tenant = prefect.tenant_of_key()
    yield ok("Prefect's key", f"accepted, tenant {tenant}" if tenant else "none is wanted")
    labels = ", ".join(settings.agent_labels) or "none: runs without labels are taken"
    yield ok("agent's labels", labels)
    try:
        asked = prefect.last_queried()
    except QueryRefused:
        asked = None
    if asked is None:
        yield unknown("last poll", "this server does not tell when its agents asked last")
    else:
        yield told_poll(subject, asked)
