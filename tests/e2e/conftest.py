"""The deployed loop, which is slow to start and so is shared.

The server wants an auth string and CSRF tokens, so that the secret's way is tested too: from
Secrets Manager to the functions, and by ECS into the containers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.loop import Loop, deployed_loop

AUTH_STRING = "admin:canary-password"


@pytest.fixture(scope="package")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with deployed_loop(
        tmp_path_factory.mktemp("loop"),
        auth_string=AUTH_STRING,
        server_settings={"PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"},
    ) as running:
        yield running
