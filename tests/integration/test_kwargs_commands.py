"""``kwargs ...``: a file is checked as a launch would, its effect shown, and every version kept."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from cli.kwargs.objects import KwargsObjects
from tests.support import aws
from tests.support.command_line import CommandLine
from tests.support.world import World

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


@pytest.fixture
def cli(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    versioning = {"Status": "Enabled"}
    aws.moto("s3").put_bucket_versioning(
        Bucket=str(world.bucket), VersioningConfiguration=versioning
    )
    return CommandLine(world, monkeypatch, capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "kwargs.json"
    file.write_text('{"cpu": 2048, "memory": 8192}')
    return file


def test_what_was_put_is_what_the_next_run_is_launched_with(
    world: World, cli: CommandLine, file: Path
) -> None:
    deployment = world.deployment("load-orders")

    said = cli("kwargs", "put", "load-orders", str(file), "--yes")
    task = world.launched(deployment)

    assert "~ memory" not in said  # nothing is registered yet: all of it is new
    assert "registers a new revision" in said
    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("2048", "8192")


def test_the_effect_is_shown_before_it_is_asked(
    world: World, cli: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.launched(world.deployment("load-orders", "nightly"))
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda question: bool(asked.append(question)))

    status, said, error = cli.run("kwargs", "put", "load-orders/nightly", str(file))

    url = f"s3://{world.bucket}/kwargs/load-orders/nightly.json"
    assert (status, error) == (1, "Nothing is changed.\n")
    assert asked == [f"Put {file} to {url}?"]
    assert "8192 (was 2048)" in said
    assert cli.fails("kwargs", "show", "load-orders/nightly").endswith(f"It would be {url}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"memmory": 1}', "memmory: not a parameter"),
        ('{"cpu": 1,}', "line 1, column 11: is not JSON"),
        ('{"containerDefinitions": [{}, {}]}', "it must hold exactly one"),
        ('{"clientToken": "mine"}', "the agent sets this itself"),
        ("", "line 1, column 1: is not JSON"),
    ],
)
def test_a_bad_file_is_told_and_not_put(
    world: World, cli: CommandLine, file: Path, text: str, words: str
) -> None:
    world.deployment("load-orders")
    file.write_text(text)

    assert words in cli.fails("kwargs", "put", "load-orders", str(file), "--yes")
    assert words in cli.fails("kwargs", "validate", str(file))
    assert cli.json("kwargs", "list") == []


def test_a_file_that_goes_with_no_job_is_not_put(
    world: World, cli: CommandLine, file: Path
) -> None:
    """By itself it is right; with what the deployment says it is not."""
    world.deployment("load-orders", task_definition_arn="etl:1")
    file.write_text('{"networkMode": "bridge"}')

    assert "valid; it sets networkMode" in cli("kwargs", "validate", str(file))
    assert "networkMode: cannot be changed in the task definition etl:1" in cli.fails(
        "kwargs", "put", "load-orders", str(file)
    )


def test_history_rm_and_restore(world: World, cli: CommandLine, file: Path) -> None:
    world.deployment("load-orders")
    cli("kwargs", "put", "load-orders", str(file), "--yes")
    cli("kwargs", "rm", "load-orders", "--yes")
    removed, first = cli.json("kwargs", "history", "load-orders")
    cli("kwargs", "restore", "load-orders", first["id"], "--yes")

    assert (removed["is_deletion"], first["is_deletion"]) == (True, False)
    assert cli.json("kwargs", "show", "load-orders")["text"] == file.read_text()
    assert len(cli.json("kwargs", "history", "load-orders")) == 3
    assert "has no version 'none'" in cli.fails("kwargs", "restore", "load-orders", "none")


def test_files_are_listed_with_whose_they_are(world: World, cli: CommandLine) -> None:
    deployment = world.deployment("load-orders", "nightly")
    flow = world.put_kwargs(deployment, {"cpu": 1024}, flow="load-orders")
    own = world.put_deployment_kwargs(deployment, {"cpu": 1024}, flow="load-orders")
    stray = world.put_object("kwargs/gone/12345678.json", {})

    listed = {item["url"]: item["of"] for item in cli.json("kwargs", "list")}

    assert listed == {flow: "load-orders", own: "load-orders/nightly", stray: None}
    assert "nothing that is deployed to the pool" in cli("kwargs", "list")


class TestEdit:
    """``kwargs edit`` opens an editor, and puts what it saved."""

    @pytest.fixture
    def editor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A script that stands in for the user's editor; it is told the file's name."""
        script = tmp_path / "editor.sh"
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"sh {script}")
        return script

    def test_what_was_saved_is_put(self, world: World, cli: CommandLine, editor: Path) -> None:
        deployment = world.deployment("load-orders")
        world.put_kwargs(deployment, {"cpu": 1024, "memory": 4096}, flow="load-orders")
        editor.write_text('sed -i s/4096/8192/ "$1"')

        cli("kwargs", "edit", "load-orders", "--yes")

        text = cli.json("kwargs", "show", "load-orders")["text"]
        assert json.loads(text) == {"cpu": 1024, "memory": 8192}

    def test_nothing_saved_is_nothing_changed(
        self, world: World, cli: CommandLine, editor: Path
    ) -> None:
        world.deployment("load-orders")
        editor.write_text("true")

        assert cli.fails("kwargs", "edit", "load-orders", "--yes") == "Nothing was changed."
        editor.write_text("false")
        assert "failed: set EDITOR to another" in cli.fails("kwargs", "edit", "load-orders")

    def test_what_cannot_be_stored_is_kept(
        self, world: World, cli: CommandLine, editor: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.deployment("load-orders")
        editor.write_text('echo "{\\"cpu\\": 512}" > "$1"')
        refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "No."}}, "PutObject")
        monkeypatch.setattr(KwargsObjects, "put", Mock(side_effect=refused))

        said = cli.fails("kwargs", "edit", "load-orders", "--yes")

        assert said.startswith("PutObject: AccessDenied: No. The edited text is kept in ")
        kept = Path(said.rpartition(" ")[2].rstrip("."))
        assert json.loads(kept.read_text()) == {"cpu": 512}
        kept.unlink()

    def test_nobodys_work_is_overwritten(
        self, world: World, cli: CommandLine, editor: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deployment = world.deployment("load-orders")
        world.put_kwargs(deployment, {"cpu": 1024}, flow="load-orders")
        editor.write_text('echo "{}" > "$1"')

        def confirm(_: str) -> bool:
            world.put_kwargs(deployment, {"cpu": 2048}, flow="load-orders")
            return True

        monkeypatch.setattr("typer.confirm", confirm)

        assert "was changed meanwhile" in cli.fails("kwargs", "edit", "load-orders")
        assert "2048" in cli.json("kwargs", "show", "load-orders")["text"]


def test_what_agent_toml_does_not_allow_is_told_offline(
    cli: CommandLine, file: Path, tmp_path: Path
) -> None:
    toml = tmp_path / "agent.toml"
    toml.write_text('[external_kwargs]\nallow = ["cpu"]\n')

    said = cli.fails("--agent", str(toml), "kwargs", "validate", str(file))

    assert said.startswith(f"{file}: memory: a kwargs file may not set it.")


def test_without_external_kwargs_the_remedy_is_told(
    world: World, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deployment("load-orders")
    monkeypatch.delitem(world.environment["dispatch"], "KWARGS_BUCKET")

    assert "external_kwargs.enabled is false" in cli.fails("kwargs", "show", "load-orders")
