"""Reads the text of a GraphQL request: as much of the language as Prefect's clients write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_TOKEN = re.compile(
    r'(?P<string>"(?:\\.|[^"\\\n])*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<mark>[!$():=\[\]{}])"
    r"|(?P<ignored>[\s,\ufeff]+|#[^\n]*)"
)
_CONSTANTS = {"true": True, "false": False, "null": None}


class GraphqlError(Exception):
    """One error, as it stands in an answer's ``errors``; ``status`` is the HTTP status with it."""

    def __init__(self, message: str, code: str = "INTERNAL_SERVER_ERROR", status: int = 200):
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Field:
    """A selected field, its arguments with the variables' values in place."""

    name: str
    alias: str
    arguments: Mapping[str, Any]
    selections: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """The one operation of a request; ``kind`` is ``query`` or ``mutation``."""

    kind: str
    fields: tuple[Field, ...]


def read(text: str, variables: Mapping[str, Any]) -> Operation:
    """Read the text of a request."""
    reader = _Reader(_tokens(text), variables)
    operation = reader.operation()
    reader.expect("")
    return operation


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _syntax_error(text[position])
        if match.lastgroup != "ignored":
            tokens.append(match.group())
        position = match.end()
    return tokens


def _syntax_error(found: str) -> GraphqlError:
    what = f'"{found}"' if found else "<EOF>"
    return GraphqlError(f"Syntax Error: Unexpected {what}.", "GRAPHQL_PARSE_FAILED", 400)


class _Reader:
    def __init__(self, tokens: list[str], variables: Mapping[str, Any]) -> None:
        self._tokens = [*tokens, ""]  # the empty token is the end
        self._at = 0
        self._given = variables
        self._values: dict[str, Any] = {}

    @property
    def next(self) -> str:
        return self._tokens[self._at]

    def take(self) -> str:
        token = self.next
        if not token:
            raise _syntax_error(token)
        self._at += 1
        return token

    def expect(self, token: str) -> None:
        if self.next != token:
            raise _syntax_error(self.next)
        self._at += bool(token)

    def name(self) -> str:
        if not re.match(r"[_A-Za-z]", self.next):
            raise _syntax_error(self.next)
        return self.take()

    def until(self, close: str, item: Callable[[], T]) -> list[T]:
        items = []
        while self.next != close:
            items.append(item())
        self.expect(close)
        return items

    def operation(self) -> Operation:
        kind = "query"
        if self.next != "{":
            kind = self.name()
            if kind not in {"query", "mutation"}:
                raise _syntax_error(kind)
            if self.next not in {"{", "("}:
                self.name()
            if self.next == "(":
                self.expect("(")
                self.until(")", self.declaration)
        return Operation(kind, self.selections())

    def declaration(self) -> None:
        self.expect("$")
        name = self.name()
        self.expect(":")
        kind = self.type_text()
        default = None
        if self.next == "=":
            self.expect("=")
            default = self.value()
        value = self._given.get(name, default)
        if kind.endswith("!") and value is None:
            message = f'Variable "${name}" of required type "{kind}" was not provided.'
            raise GraphqlError(message, "BAD_USER_INPUT", 400)
        self._values[name] = value

    def type_text(self) -> str:
        if self.next == "[":
            self.expect("[")
            text = f"[{self.type_text()}]"
            self.expect("]")
        else:
            text = self.name()
        if self.next == "!":
            text += self.take()
        return text

    def selections(self) -> tuple[Field, ...]:
        self.expect("{")
        fields = tuple(self.until("}", self.field))
        if not fields:
            raise _syntax_error("}")
        return fields

    def field(self) -> Field:
        alias = name = self.name()
        if self.next == ":":
            self.expect(":")
            name = self.name()
        arguments: dict[str, Any] = {}
        if self.next == "(":
            self.expect("(")
            arguments = dict(self.until(")", self.pair))
        return Field(name, alias, arguments, self.selections() if self.next == "{" else ())

    def pair(self) -> tuple[str, Any]:
        name = self.name()
        self.expect(":")
        return name, self.value()

    def value(self) -> Any:
        token = self.take()
        if token == "[":
            return self.until("]", self.value)
        if token == "{":
            return dict(self.until("}", self.pair))
        if token == "$":
            return self.variable(self.name())
        if token[0] == '"' or token[0] in "-0123456789":
            return json.loads(token)
        if token in ")}]:=!(":
            raise _syntax_error(token)
        return _CONSTANTS.get(token, token)

    def variable(self, name: str) -> Any:
        if name not in self._values:
            message = f'Variable "${name}" is not defined.'
            raise GraphqlError(message, "GRAPHQL_VALIDATION_FAILED", 400)
        return self._values[name]
