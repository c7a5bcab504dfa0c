"""How a Prefect 1 flow gets the key to speak to its server: by reference, read by ECS. Pure."""

from __future__ import annotations

from fargate_agent.settings import Settings

AUTH_TOKEN = "PREFECT__CLOUD__AUTH_TOKEN"
API_KEY = "PREFECT__CLOUD__API_KEY"


def with_credentials(
    secrets: list[dict[str, str]], settings: Settings, tenant: str | None
) -> list[dict[str, str]]:
    """Add the API key to a container's secrets, where a plain variable once held it.

    A key that belongs to a tenant is known to newer flows by another name as well.
    """
    given = {entry["name"] for entry in secrets}
    arn = settings.api_key_secret or ""
    names = sorted(credentials(settings, tenant) - given, reverse=True)
    return [*secrets, *({"name": name, "valueFrom": arn} for name in names)]


def credentials(settings: Settings, tenant: str | None) -> frozenset[str]:
    """Name the secrets that a flow needs to speak to the server."""
    if not settings.api_key_secret:
        return frozenset()
    return frozenset({AUTH_TOKEN, API_KEY} if tenant else {AUTH_TOKEN})
