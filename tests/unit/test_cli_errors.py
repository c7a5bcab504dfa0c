"""What the command line makes of odd input, and of a stack or a bundle that is not as it should."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import urllib3
from rich.table import Table
from typer.testing import CliRunner

from cli import main, output
from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError

KEY = "AWS_ACCESS_KEY_ID"


class Deployed(DeployedAgent):
    """An agent of which CloudFormation and Lambda tell this."""

    @property
    def description(self) -> dict[str, Any]:  # type: ignore[override]
        return {"StackStatus": "ROLLBACK_COMPLETE"}

    def function(self, name: str) -> dict[str, Any]:
        return {"Configuration": {}, "Code": {"Location": "https://bucket/?X-Amz-Signature=secret"}}


def _answers(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    answer = urllib3.HTTPResponse(io.BytesIO(body))
    monkeypatch.setattr(urllib3, "request", lambda *_: answer)


def _bundle(settings: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("fargate_agent/settings.json", settings)
    return file.getvalue()


def test_a_profile_that_is_named_is_stronger_than_keys_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (KEY, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE"):
        monkeypatch.setenv(name, "another's")
    monkeypatch.setenv("AWS_PROFILE", "")
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(main, "DeployedAgent", lambda *_: seen.append(dict(os.environ)))

    CliRunner().invoke(main.app, ["--profile", "prod", "--stack", "agent", "status"])

    assert seen[0]["AWS_PROFILE"] == "prod"
    assert not {KEY, "AWS_SESSION_TOKEN", "AWS_DEFAULT_PROFILE"} & seen[0].keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: Is a directory"),
        (b'agent = "x"', r"agent: must be a table, \[agent\]"),
        (b"[agent", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_a_settings_file_that_names_no_agent_is_told_in_a_line(
    tmp_path: Path, text: bytes | None, words: str
) -> None:
    file = tmp_path / "agent.toml"
    file.mkdir() if text is None else file.write_bytes(text)

    with pytest.raises(CommandError, match=words):
        _ = DeployedAgent(toml=file).stack


def test_a_stack_without_the_agents_outputs_is_told_in_a_line() -> None:
    with pytest.raises(CommandError, match="agent is ROLLBACK_COMPLETE, and lacks the outputs"):
        _ = Deployed("agent").outputs


@pytest.mark.parametrize("body", [b"<Error>expired</Error>", b"PK\x05\x06" + bytes(18)])
def test_a_bundle_that_cannot_be_read_does_not_tell_its_address(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    _answers(monkeypatch, body)

    with pytest.raises(CommandError, match="bundle of the function dispatch") as error:
        Deployed("agent").settings()

    assert "secret" not in str(error.value)


def test_settings_of_another_version_are_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, _bundle('{"of_another_version": 1}'))

    with pytest.raises(CommandError, match="of another version of the agent"):
        Deployed("agent").settings()


def test_what_is_shown_is_no_markup_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("of")
    table.add_row("pool [dev] [/dev]")

    output.show(None, table, as_json=False)
    output.show(None, "arn:aws:secretsmanager:::secret:key [/dev]", as_json=False)

    said = capsys.readouterr().out
    assert "pool [dev] [/dev]" in said
    assert ":::secret:key [/dev]" in said


def test_help_needs_no_agent(tmp_path: Path) -> None:
    told = CliRunner().invoke(main.app, ["--agent", str(tmp_path / "none"), "plan", "--help"])

    assert (told.exit_code, "Usage" in told.stdout) == (0, True)
