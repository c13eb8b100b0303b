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
    for path, known in zip(outcome.paths, outcome.prints):  # noqa: B905 (or there are none)
        if known:
            quick, _, content = known.partition(" ")
            marks[path] = content or quick
    return marks


def marks_in(native: Any, marks: dict[str, str]) -> list[Mark]:
    """Return those marks whose paths are named in a part of a value, of JSON's own types."""
    if not marks:
        return []
    return [(one, marks[one]) for one in _strings(native) if one in marks]


def _strings(native: Any) -> Iterator[str]:
    waiting = [native]
    while waiting:
        one = waiting.pop()
        if type(one) is str:
            yield one
        elif type(one) is list:
            waiting.extend(one)
        elif type(one) is dict:
            waiting.extend(one)
            waiting.extend(one.values())


def stamp_of(marks: Iterable[Mark]) -> str:
    """Return what stands for marks, in whatever order they are given; "" where there is none."""
    found = sorted(set(marks))
    return sha256_hex(dump([list(one) for one in found])) if found else ""


def stamped(digest: str, stamp: str) -> str:
    """Return the digest by which a value counts: that of its text, where it has no marks."""
    return sha256_hex(f"{digest} {stamp}") if stamp else digest


def counted(outcome: Outcome) -> str:
    """Return the digest by which the whole value of an outcome counts."""
    return stamped(outcome.digest, stamp_of(marks_of(outcome).items()))
