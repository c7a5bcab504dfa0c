"""What tests share: a real Prefect server, an AWS in this process, and the agent between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

os.environ["JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"] = "20"
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # no test starts an instance

from local.prefect_server import PREFECT_BIN, prefect_server
from tests.security import canaries
from tests.support.aws import default_session
from tests.support.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let other recordings be played than the project's own, and another Prefect be the server."""
    parity = Path(__file__).parent / "parity"
    recordings = {
        "--legacy-cases": parity / "legacy_cases.json",
        "--ecs-worker-cases": parity / "ecs_worker" / "cases.json.gz",
    }
    for option, default in recordings.items():
        parser.addoption(option, type=Path, default=default, metavar="FILE")
    parser.addoption("--prefect-bin", type=Path, default=PREFECT_BIN, metavar="FOLDER")


def pytest_configure(config: pytest.Config) -> None:
    """Listen for secrets in all that the functions say during the whole suite."""
    canaries.pytest_configure(config)


@pytest.fixture(autouse=True)
def _no_aws_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


BACKGROUND_SERVICES = (
    *("CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "EVENT_PERSISTER", "FOREMAN", "LATE_RUNS"),
    *("PAUSE_EXPIRATIONS", "REPOSSESSOR", "SCHEDULER", "TASK_RUN_RECORDER", "TRIGGERS"),
)
"""They come back every few seconds to each run that a test left: two fifths of its CPU time."""


@pytest.fixture(scope="session")
def prefect_url(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The API of a real Prefect server, started once; the deployed loop's has its services too."""
    bin = request.config.getoption("--prefect-bin")
    off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in BACKGROUND_SERVICES}
    with prefect_server(tmp_path_factory.mktemp("prefect"), bin=bin, settings=off) as url:
        yield url


@pytest.fixture
def aws() -> Iterator[None]:
    """An AWS in this process. The session outlives it, for it holds the parsed models."""
    with mock_aws():
        boto3.DEFAULT_SESSION = default_session()
        yield


@pytest.fixture
def make_world(
    aws: None, prefect_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Make a world with other settings than the defaults; all its calls must be allowed."""
    made: list[World] = []

    with ExitStack() as stack:

        def make(**sections: dict[str, object]) -> World:
            made.append(World(prefect_url, tmp_path, monkeypatch, **sections))
            stack.enter_context(made[-1].listening())
            return made[-1]

        yield make
        for world in made:
            world.assert_all_calls_are_allowed()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """An agent with the default settings."""
    return make_world()
