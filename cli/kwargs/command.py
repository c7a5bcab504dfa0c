"""The commands ``kwargs ...``."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from cli.deployed_agent import DeployedAgent
from cli.errors import CommandError, told
from cli.kwargs.editor import edited, kept_for_later
from cli.kwargs.objects import KwargsObjects, Place, checked
from cli.output import AsJson, console, errors, show
from cli.plan.command import as_text
from cli.plan.layers import Ingredients
from cli.plan.planning import ingredients, plan
from fargate_agent import clients
from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFile, KwargsFiles, keys_of
from infra.config import kwargs_model

app = typer.Typer(help="The files in S3 that change one flow's resources.", no_args_is_help=True)

What = Annotated[str, typer.Argument(help="A flow, or a deployment as flow/deployment.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_EMPTY = "{\n}\n"


class _Files:
    """What the commands have in common: the agent, its files, and a flow's place among them."""

    def __init__(self, context: typer.Context) -> None:
        self.agent: DeployedAgent = context.obj
        self.given: Ingredients = ingredients(self.agent)
        self.objects = KwargsObjects(clients.kwargs_files(self.given.settings, self.given.model))

    def place(self, what: str) -> Place:
        return self.objects.place(self.agent, what)

    def show_effect(self, place: Place, body: bytes | None) -> None:
        """Plan the runs that read a file, as if it were this one, or none.

        Raises
        ------
        PermanentError
            They would crash.
        """
        url = self.objects.url(place.key)
        for target in place.targets:
            keys = keys_of(target.run, self.objects.files.prefix)
            bodies = {key: self.objects.read(key) for key in keys} | {place.key: body}
            files = [
                self._checked(found, self.objects.url(key))
                for key in keys
                if (found := bodies[key]) is not None
            ]
            made = plan(self.given, target, files)
            console.print(*as_text(made, changes=True), sep="\n")
        if body is None:
            console.print(f"Without {url}.")

    def _checked(self, body: bytes, url: str) -> KwargsFile:
        of_prefect_1 = self.given.settings.prefect_version == 1
        return checked(body, url, self.objects.files, several_containers=of_prefect_1)


@app.command()
def validate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A JSON file.")],
    as_json: AsJson = False,
) -> None:
    """Check a file by itself: its keys and types, and external_kwargs.allow of agent.toml."""
    agent: DeployedAgent = context.obj
    raw = _settings_here(agent.toml)
    files = KwargsFiles(
        None,  # type: ignore[arg-type]  # nothing is read
        None,
        "",
        kwargs_model(),
        raw.get("external_kwargs", {}).get("allow"),
    )
    of_prefect_1 = raw.get("prefect", {}).get("version") == 1
    try:
        found = checked(_read(file), str(file), files, several_containers=of_prefect_1)
    except PermanentError as error:
        if not as_json:
            raise
        show({"file": str(file), "valid": False, "error": str(error)}, "", as_json=True)
        raise typer.Exit(1) from error
    sets = sorted(found.values)
    text = f"{file}: valid; it sets {', '.join(sets) or 'nothing'}."
    show({"file": str(file), "valid": True, "sets": sets}, text, as_json=as_json)


@app.command()
def put(
    context: typer.Context,
    what: What,
    file: Annotated[Path, typer.Argument(help="A JSON file.")],
    yes: Yes = False,
) -> None:
    """Check a file, show what it would do, ask, and put it where the agent reads it."""
    files = _Files(context)
    _upload(files, files.place(what), _read(file), source=str(file), yes=yes)


@app.command("show")
def show_file(context: typer.Context, what: What, as_json: AsJson = False) -> None:
    """Write a flow's or deployment's file as it is."""
    files = _Files(context)
    place = files.place(what)
    url, body = files.objects.url(place.key), files.objects.read(place.key)
    if body is None:
        raise CommandError(f"{place.title} has no kwargs file. It would be {url}")
    text = body.decode(errors="replace")
    show({"url": url, "text": text}, Text(f"{url}\n{text}"), as_json=as_json)


@app.command("list")
def list_files(context: typer.Context, as_json: AsJson = False) -> None:
    """List all files, and whose they are."""
    files = _Files(context)
    found = list(files.objects.all(files.agent))
    knows = files.given.settings.prefect_version != 1
    table = _table("of", "modified", "size", "file")
    for item in found:
        of = item["of"] or ("nothing that is deployed to the pool" if knows else "?")
        table.add_row(of, f"{item['modified']:%Y-%m-%d %H:%M:%S}", str(item["size"]), item["url"])
    show(found, table if found else "There are no kwargs files.", as_json=as_json)


@app.command()
def edit(context: typer.Context, what: What, yes: Yes = False) -> None:
    """Open a file in your editor ($EDITOR); then as put."""
    files = _Files(context)
    place = files.place(what)
    before = files.objects.read(place.key)
    try:
        text = (before or _EMPTY.encode()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        url = files.objects.url(place.key)
        raise CommandError(f"{url}: is not UTF-8 text: put another in its place.") from error
    while True:
        saved = edited(text)
        if saved is None:
            raise CommandError("Nothing was changed.")
        try:
            _upload(files, place, saved.encode(), source="the edited text", yes=yes, edits=[before])
        except PermanentError as error:
            errors.print(told(error), style="red")
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise
            text = saved
        except (BotoCoreError, ClientError) as error:
            kept = kept_for_later(saved)
            raise CommandError(f"{told(error)} The edited text is kept in {kept}.") from error
        else:
            return


@app.command()
def rm(context: typer.Context, what: What, yes: Yes = False) -> None:
    """Show what would change without a file, ask, and remove it."""
    files = _Files(context)
    place = files.place(what)
    url = files.objects.url(place.key)
    if files.objects.read(place.key) is None:
        raise CommandError(f"{place.title} has no kwargs file. It would be {url}")
    files.show_effect(place, None)
    kept = files.objects.keeps_versions(place.key)
    for_good = "" if kept else " for good, as its bucket keeps no versions"
    _ask(f"Remove {url}{for_good}?", yes=yes)
    files.objects.remove(place.key)
    back = "; 'kwargs history' and 'kwargs restore' bring it back" if kept else for_good
    console.print(f"Removed {url}{back}.")


@app.command()
def history(context: typer.Context, what: What, as_json: AsJson = False) -> None:
    """List the versions of a file, the latest first."""
    files = _Files(context)
    place = files.place(what)
    versions = files.objects.versions(place.key)
    table = _table("version", "when", "size", "")
    for version in versions:
        note = "removed" if version.is_deletion else "in use" if version.is_latest else ""
        when = f"{version.modified:%Y-%m-%d %H:%M:%S}"
        table.add_row(version.id, when, "" if version.is_deletion else str(version.size), note)
    none = f"{place.title} never had a kwargs file."
    show(list(map(asdict, versions)), table if versions else none, as_json=as_json)


@app.command()
def restore(
    context: typer.Context,
    what: What,
    version: Annotated[str, typer.Argument(help="As 'kwargs history' names it.")],
    yes: Yes = False,
) -> None:
    """Put an older version of a file in use again; then as put."""
    files = _Files(context)
    place = files.place(what)
    known = {found.id: found for found in files.objects.versions(place.key)}
    if version not in known or known[version].is_deletion:
        raise CommandError(
            f"{place.title} has no version {version!r} of its file to restore: see 'kwargs history'"
        )
    body = files.objects.read(place.key, version)
    _upload(files, place, body or b"", source=f"version {version}", yes=yes)


def _upload(
    files: _Files,
    place: Place,
    body: bytes,
    *,
    source: str,
    yes: bool,
    edits: Sequence[bytes | None] = (),
) -> None:
    """Show what a file does, ask, and write it.

    Parameters
    ----------
    edits
        What was edited, None where there was no file: if it is another by now, somebody else's
        work would be lost.

    Raises
    ------
    CommandError, PermanentError
        Nothing was written.
    """
    url = files.objects.url(place.key)
    files.show_effect(place, body)
    _ask(f"Put {source} to {url}?", yes=yes)
    if edits and files.objects.read(place.key) not in edits:
        raise CommandError(f"{url} was changed meanwhile: edit it again.")
    version = files.objects.put(place.key, body)
    console.print(f"Put {url}" + (f", version {version}" if version else ""), soft_wrap=True)


def _settings_here(file: Path) -> dict[str, Any]:
    """Read the settings' file, if there is one, without checking it."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{file}: is not TOML: {error}") from error


def _ask(question: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(question):
        raise CommandError("Nothing is changed.")


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
