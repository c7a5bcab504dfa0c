"""Opens a text in the user's editor, as git does."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from cli.errors import CommandError


def edited(text: str) -> str | None:
    """Return the text as the user saved it; None where nothing was changed.

    Raises
    ------
    CommandError
        There is no editor, or it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kwargs.json"
        file.write_text(text, "utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandError(f"The editor {editor!r} failed: set EDITOR to another.") from error
        saved = file.read_text("utf-8")
    return None if saved == text else saved


def kept_for_later(text: str) -> Path:
    """Write a text that could not be stored to a file of its own, and return where."""
    handle, name = tempfile.mkstemp(prefix="kwargs-", suffix=".json")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return Path(name)
