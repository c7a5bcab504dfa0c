"""The command line in this process, on the agent of a test's world."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli import main
from cli.deployed_agent import DeployedAgent
from fargate_agent import settings
from fargate_agent.settings import Settings
from tests.support.functions import Functions


class CommandLine:
    """Runs commands; their output is what the test's ``capsys`` hears.

    The stack itself is played: moto's CloudFormation does not know what it is made of.
    """

    def __init__(
        self,
        world: Functions,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        class Agent(DeployedAgent):
            def settings(self, name: str = "dispatch") -> Settings:
                return settings.read(settings.SETTINGS_FILE.read_text(), world.environment[name])

        monkeypatch.setattr(main, "DeployedAgent", Agent)
        self._capsys = capsys

    def __call__(self, *arguments: str) -> str:
        """Run a command that succeeds; return what it wrote, as one line."""
        status, out, error = self.run(*arguments)
        assert status == 0, error
        return out

    def json(self, *arguments: str) -> Any:
        """Run a command that succeeds with ``--json``; return what it wrote."""
        return json.loads(self(*arguments, "--json"))

    def fails(self, *arguments: str) -> str:
        """Run a command that fails; return its error, as one line."""
        status, _, error = self.run(*arguments)
        assert status == 1
        return " ".join(error.split())

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, output and error."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main(["--stack", "agent", *arguments])
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err
