"""What the files that a value names add to the identities of those that receive it. Pure.

A value counts by its text, which names files, and by its *marks*: the content of each file of
which there is a fingerprint, by path. So a file that is made again with the same content is
the same, and one with another content is not, whatever it is called. No types are needed: in
a JSON text, a string that is one of the paths stands for that file. Workers import this: no
attrs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from ..values.hashing import sha256_hex
from ..values.json_codec import dump

if TYPE_CHECKING:
    from ..storage.outcome import Outcome

Mark: TypeAlias = tuple[str, str]
"""A path, and the content of its file; where that was not read, its size and times."""


def marks_of(outcome: Outcome) -> dict[str, str]:
    """Return the marks of a value, by path; {} where no file has a fingerprint."""
    marks = {}
    for path, fingerprint in zip(outcome.paths, outcome.prints):  # noqa: B905 (or there are none)
        if fingerprint:
            quick, _, content = fingerprint.partition(" ")
            marks[path] = content or quick
    return marks


def marks_in(native: Any, marks: dict[str, str]) -> list[Mark]:
    """Return those marks whose paths are named in a part of a value, of JSON's own types."""
    if not marks:
        return []
    return [(text, marks[text]) for text in _strings(native) if text in marks]


def _strings(native: Any) -> Iterator[str]:
    pending = [native]
    while pending:
        part = pending.pop()
        if type(part) is str:
            yield part
        elif type(part) is list:
            pending.extend(part)
        elif type(part) is dict:
            pending.extend(part)
            pending.extend(part.values())


def digest_of_marks(marks: Iterable[Mark]) -> str:
    """Return the digest of marks, whatever their order; "" where there are none."""
    rows = sorted(set(marks))
    return sha256_hex(dump([list(mark) for mark in rows])) if rows else ""


def digest_with_marks(digest: str, marks: str) -> str:
    """Return the digest by which a value counts, from that of its text and that of its marks."""
    return sha256_hex(f"{digest} {marks}") if marks else digest


def digest_with_files(outcome: Outcome) -> str:
    """Return the digest by which the whole value of an outcome counts."""
    return digest_with_marks(outcome.digest, digest_of_marks(marks_of(outcome).items()))
