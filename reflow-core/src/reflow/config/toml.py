"""Writes single values as TOML."""

from __future__ import annotations

import datetime
import enum
import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import PurePath

from .provenance import Key, dotted


def toml(value: object) -> str | None:
    """Return a value as TOML writes it, None for what TOML has no form for."""
    if isinstance(value, enum.Enum):
        return toml(value.name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, PurePath)):
        # JSON's strings are TOML's, but for DEL; lone surrogates have no form in TOML.
        text = json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        return None if any("\ud800" <= one <= "\udfff" for one in text) else text
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytes, bytearray)):
        items = [toml(one) for one in value]
        return None if None in items else f"[{', '.join(filter(None, items))}]"
    if isinstance(value, Mapping):
        pairs = [(dotted((str(key),)), toml(one)) for key, one in value.items()]
        if any(text is None for _, text in pairs):
            return None
        return f"{{ {', '.join(f'{key} = {text}' for key, text in pairs)} }}" if pairs else "{}"
    return None


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


class _UnsureError(Exception):
    """The text is not what this scanner understands."""


def key_lines(text: str) -> dict[Key, int]:
    """Return the line (from 1) on which each key of a valid TOML text is first set.

    Tables and dotted prefixes count as keys. Left out is what has no one place: keys
    inside arrays, and keys with escapes in their names. Of a text that is not valid it
    returns what comes before the fault, or less.
    """
    scanner = _Scanner(text)
    with suppress(_UnsureError, IndexError, RecursionError):
        scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.lines: dict[Key, int] = {}
        self.arrays: set[Key] = set()

    def document(self) -> None:
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
                known = tuple(part for part in parts if part is not None)
                return known if len(known) == len(parts) else None
            self.at += 1

    def value(self, path: Key | None) -> None:
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
