"""Writes the table of all settings into the README, from the settings' own model.

``python3 -m infra.reference``
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from infra.config import AgentConfig

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings: written by infra/reference.py -->\n", "<!-- end of settings -->\n"


def table() -> str:
    """Return every key of ``agent.toml`` with its default and its meaning, in Markdown."""
    return "\n".join(["| key | default | |", "|---|---|---|", *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for section, of_section in AgentConfig.model_fields.items():
        model = of_section.annotation
        assert model is not None
        for name, field in model.model_fields.items():
            meaning = " ".join((field.description or "").split())
            yield f"| `{section}.{name}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default()
    if default is None:
        return ""
    return f"`{default}`" if isinstance(default, str) and default else f"`{json.dumps(default)}`"


def written(text: str) -> str:
    """Return a text with the table where it belongs.

    Raises
    ------
    ValueError
        The text does not say where that is.
    """
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:before] + table() + text[after:]


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
