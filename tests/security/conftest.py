"""Agents on a stand-in for the API of Prefect 1, as the integration tests have them."""

from tests.integration.conftest import make_world1, server, world1

__all__ = ["make_world1", "server", "world1"]
