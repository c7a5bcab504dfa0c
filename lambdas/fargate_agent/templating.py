"""Templates with placeholders, as Prefect's workers fill them in.

``{{ name }}`` is a value, which may be reached into (``{{ a.b[0] }}``), ``{{ $NAME }}`` a variable
of the agent's environment, ``{{ prefect.blocks.TYPE.NAME.attribute }}`` and
``{{ prefect.variables.NAME }}`` what Prefect's server holds, as does ``{"$ref":
{"block_document_id": ID}}``. A placeholder alone takes a value of any type; one inside text
becomes text. See https://docs.prefect.io/v3/how-to-guides/deployment_infra/manage-work-pools.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

from fargate_agent.errors import PermanentError

MISSING: Any = object()
"""What stands for a value that is not there: None is one that is."""

_PLACEHOLDER = re.compile(r"{{\s*([\w.\-\[\]$]+)\s*}}")
_BLOCKS, _VARIABLES = "prefect.blocks.", "prefect.variables."


class References(Protocol):
    """Reads what a template refers to; the data is not to be changed."""

    def block(self, type_slug: str, name: str) -> Mapping[str, Any]:
        """Return a block's data. Raises :class:`PermanentError` where there is no such block."""

    def block_document(self, id: str) -> Mapping[str, Any]:
        """Return the data of a block by its id. Raises as :meth:`block` does."""

    def variable(self, name: str) -> Any:
        """Return a variable's value, or :data:`MISSING`."""


def fill(template: Any, values: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """Fill in the values, once: a placeholder in a value stays as it is.

    A placeholder alone that has no value drops its key or list item; inside text it becomes empty,
    and so does one of the environment.
    """
    if isinstance(template, Mapping):
        filled = {key: fill(item, values, environment) for key, item in template.items()}
        return {key: item for key, item in filled.items() if item is not MISSING}
    if isinstance(template, list):
        items = [fill(item, values, environment) for item in template]
        return [item for item in items if item is not MISSING]
    if not isinstance(template, str):
        return template
    alone = _PLACEHOLDER.fullmatch(template)
    if alone and not alone[1].startswith((_BLOCKS, _VARIABLES, "$")):
        return reach(values, alone[1])

    def text(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith((_BLOCKS, _VARIABLES)):
            return match[0]
        if name.startswith("$"):
            return environment.get(name.lstrip("$"), "")
        value = reach(values, name)
        return "" if value is MISSING else str(value)

    return _PLACEHOLDER.sub(text, template)


def resolve(template: Any, references: References) -> Any:
    """Resolve all blocks, then all variables: a block's value may name a variable.

    Raises
    ------
    PermanentError
        A block or the attribute asked of it does not exist, or cannot stand inside text.
    """
    return _each_text(_blocks(template, references), lambda text: _variables(text, references))


def references_in(template: Any) -> set[str]:
    """Name what a template refers to.

    As ``blocks.TYPE.NAME``, ``block_documents.ID`` and ``variables.NAME``.
    """
    if isinstance(template, Mapping):
        id = _block_document_id(template)
        if id is not None:
            return {f"block_documents.{id}"}
        return set().union(*map(references_in, template.values()))
    if isinstance(template, list):
        return set().union(*map(references_in, template))
    if not isinstance(template, str):
        return set()
    names = [name for name in _PLACEHOLDER.findall(template) if name.startswith("prefect.")]
    blocks = [name.split(".") for name in names if name.startswith(_BLOCKS)]
    variables = [name.removeprefix(_VARIABLES) for name in names if name.startswith(_VARIABLES)]
    return {f"blocks.{b[2]}.{b[3]}" for b in blocks if len(b) > 3} | {
        f"variables.{name}" for name in variables
    }


def reach(values: Any, path: str) -> Any:
    """Follow a path such as ``a.b[0].c`` into nested values, or return :data:`MISSING`."""
    found = values
    for part in parts_of(path):
        try:
            found = found[_key(part)]
        except (IndexError, KeyError, TypeError):
            return MISSING
    return found


def parts_of(path: str) -> list[str]:
    """Split a path such as ``a.b[0].c``."""
    return path.replace("[", ".").replace("]", "").split(".")


def _key(part: str) -> int | str:
    try:
        return int(part)
    except ValueError:
        return part


def _blocks(template: Any, references: References) -> Any:
    if isinstance(template, Mapping):
        id = _block_document_id(template)
        if id is not None:
            return deepcopy(references.block_document(id))
        return {key: _blocks(item, references) for key, item in template.items()}
    if isinstance(template, list):
        return [_blocks(item, references) for item in template]
    if not isinstance(template, str):
        return template
    return _substituted(template, _BLOCKS, lambda name: _attribute(name, references), _as_text)


def _as_text(placeholder: str, value: Any) -> str:
    if isinstance(value, Mapping | list):
        raise PermanentError(
            f"The placeholder {placeholder!r} is a {type(value).__name__}, which cannot stand "
            "inside text. Name one of its attributes, as in '.value' or '.url'."
        )
    return str(value)


def _attribute(placeholder: str, references: References) -> Any:
    """Return what a block's placeholder asks for: all of it, its only value, or an attribute."""
    type_slug, _, rest = placeholder.removeprefix(_BLOCKS).partition(".")
    name, _, path = rest.partition(".")
    if not name:
        raise PermanentError(
            f"The placeholder '{{{{ {placeholder} }}}}' names no block. Write it as "
            "'{{ prefect.blocks.TYPE.NAME }}', with an attribute where one is meant."
        )
    data: Any = references.block(type_slug, name)
    if data.keys() == {"value"} and not re.match(r"value(\W|$)", path):
        data = data["value"]
    found = reach(data, path) if path else data
    if found is MISSING:
        raise PermanentError(
            f"The placeholder '{{{{ {placeholder} }}}}' asks for {path!r}, which the block does "
            "not have. Correct the placeholder, or the block."
        )
    return found


def _variables(text: str, references: References) -> Any:
    def value_of(placeholder: str) -> Any:
        value = references.variable(placeholder.removeprefix(_VARIABLES))
        return "" if value is MISSING else value

    return _substituted(text, _VARIABLES, value_of, lambda _, value: str(value))


def _substituted(
    text: str,
    prefix: str,
    value_of: Callable[[str], Any],
    as_text: Callable[[str, Any], str],
) -> Any:
    """Put values in the place of the placeholders of a prefix: as they are, or inside text."""
    alone = _PLACEHOLDER.fullmatch(text)
    if alone and alone[1].startswith(prefix):
        return deepcopy(value_of(alone[1]))

    def within(match: re.Match[str]) -> str:
        return as_text(match[0], value_of(match[1])) if match[1].startswith(prefix) else match[0]

    return _PLACEHOLDER.sub(within, text)


def _each_text(template: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(template, Mapping):
        return {key: _each_text(item, change) for key, item in template.items()}
    if isinstance(template, list):
        return [_each_text(item, change) for item in template]
    return change(template) if isinstance(template, str) else template


def _block_document_id(template: Mapping[str, Any]) -> str | None:
    reference = template.get("$ref")
    id = reference.get("block_document_id") if isinstance(reference, Mapping) else None
    return str(id) if id else None
