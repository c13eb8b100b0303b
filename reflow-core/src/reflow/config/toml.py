"""Reads TOML, with the line on which each key is set, and writes single values as TOML."""

from __future__ import annotations

import datetime
import enum
import json
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from ..errors import ConfigError
from .provenance import Key, dotted

# Reading


def decode(content: bytes, path: Path) -> str:
    """Return the text of a file. Raises `ConfigError` where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text: {error.reason}") from error


def parse(text: str, path: Path) -> dict[str, Any]:
    """Return what a TOML text says; `path` is for the error, a `ConfigError`."""
    # Imported late: most users have no file to parse.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # also for numbers that are too long
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{place[1]}" if place else ""
        raise ConfigError(f"{path}{line}: not valid TOML: {error}") from error


_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#\"'\[{]+")


def key_lines(text: str) -> dict[Key, int]:
    """Return the line (from 1) on which each key of a valid TOML text is first set.

    Python's parser tells no lines, and an error must say where a value stands. Tables and
    dotted prefixes count as keys. Left out is what has no single place: keys inside
    arrays, and keys with escapes in their names. Of a text that is not valid it
    returns what comes before the fault, or less.
    """
    scanner = _Scanner(text)
    with suppress(_UnsureError, IndexError, RecursionError):
        scanner.document()
    return scanner.lines


class _UnsureError(Exception):
    """The text is not what this scanner understands."""


class _Scanner:
    """Goes over a text once; `at` is the place that is read next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.lines: dict[Key, int] = {}
        self.arrays: set[Key] = set()
        """Arrays of tables: keys below them are set once for each item."""

    def document(self) -> None:
        """Read all tables; `table` is the key of the present one, None for one with escapes."""
        table: Key | None = ()
        while self.skip(_GAP) < len(self.text):
            if self.text[self.at] == "[":
                start, brackets = self.at, 2 if self.text[self.at + 1] == "[" else 1
                self.at += brackets
                table = self.key()
                if brackets == 2 and table is not None:
                    self.arrays.add(table)
                self.note(table, 1, start)
                self.expect("]" * brackets)
            else:
                self.pair(table)

    def pair(self, table: Key | None) -> None:
        """Read ``key = value``, in a table or an inline table."""
        start, key = self.at, self.key()
        path = None if table is None or key is None else (*table, *key)
        self.note(path, len(table or ()) + 1, start)
        self.expect("=")
        self.skip(_BLANK)
        self.value(path)

    def key(self) -> Key | None:
        """Read a dotted key; None for one with escapes."""
        parts: list[str | None] = []
        while True:
            self.skip(_BLANK)
            if self.text[self.at] in "\"'":
                word = self.take(_STRING)
                parts.append(None if word[0] == '"' and "\\" in word else word[1:-1])
            else:
                parts.append(self.take(_BARE))
            self.skip(_BLANK)
            if self.text[self.at] != ".":
                words = tuple(part for part in parts if part is not None)
                return words if len(words) == len(parts) else None
            self.at += 1

    def value(self, path: Key | None) -> None:
        """Read a value; keys in an inline table are noted below `path`, in an array not at all."""
        first = self.text[self.at]
        if first in "\"'":
            self.take(_STRING)
        elif first in "[{":
            self.at += 1
            while self.text[self.skip(_GAP)] not in "]}":
                if first == "{":
                    self.pair(path)
                else:
                    self.value(None)
                if self.text[self.skip(_GAP)] == ",":
                    self.at += 1
            self.at += 1
        else:
            self.take(_SCALAR)

    def note(self, path: Key | None, size: int, start: int) -> None:
        """Keep the line of a key, and of its prefixes from `size` names on."""
        if path is None or any(path[:end] in self.arrays for end in range(len(path))):
            return
        for end in range(size, len(path) + 1):
            self.lines.setdefault(path[:end], bisect_left(self.breaks, start) + 1)

    # The text is one that the parser accepted, so what stands where is known, and little is
    # checked here.

    def skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _UnsureError
        self.at = match.end()
        return match[0]

    def expect(self, mark: str) -> None:
        self.skip(_BLANK)
        if not self.text.startswith(mark, self.at):
            raise _UnsureError
        self.at += len(mark)


# Writing


def toml_text(value: object) -> str | None:
    """Return a value as TOML writes it, None for what TOML has no form for."""
    for types, write in _WRITERS:
        if isinstance(value, types):
            return write(value)
    return None


def _string(value: object) -> str | None:
    # JSON's strings are TOML's, but for DEL; lone surrogates have no form in TOML.
    text = json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return None if re.search("[\ud800-\udfff]", text) else text


def _array(values: Collection[object]) -> str | None:
    items = [toml_text(value) for value in values]
    return None if None in items else f"[{', '.join(filter(None, items))}]"


def _inline_table(table: Mapping[object, object]) -> str | None:
    values = {dotted((str(key),)): toml_text(value) for key, value in table.items()}
    if None in values.values():
        return None
    pairs = ", ".join(f"{key} = {text}" for key, text in values.items())
    return f"{{ {pairs} }}" if pairs else "{}"


_WRITERS: list[tuple[type | tuple[type, ...], Callable[[Any], str | None]]] = [
    (enum.Enum, lambda value: toml_text(value.name)),
    (bool, lambda value: str(value).lower()),
    ((int, float), repr),
    ((str, PurePath), _string),
    ((datetime.date, datetime.time), lambda value: str(value.isoformat())),
    ((bytes, bytearray), lambda value: None),
    ((Sequence, Set), _array),
    (Mapping, _inline_table),
]
"""By type how a value is written. The first that fits counts: an enum may be a text, a bool is
an int, and bytes are a sequence."""
