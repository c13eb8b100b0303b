"""The outcome of one attempt, and the form of all records in a file: one checksummed line each.

A line is ``crc32 kind json-array``. Workers read and write outcomes, and no other record, so these
have a module of their own. Here annotations are no texts: a `NamedTuple` would compile each of
them, and the first `compile` of a process alone takes a millisecond.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from ..states import CACHED, ERROR, MEMORY_SUSPECTED, OOM, SUCCESS

T = TypeVar("T")

CODE_EDITED = "<code>"
"""What `Outcome.edited` has for the code of the task; no parameter is called so."""

WHOLE_TASK = -1
"""Index of an outcome that concerns a task whose elements are not known."""

UNSETTLED_DETAIL = (
    "its run had not succeeded: its files may be newer than what was made of older ones"
)
"""The `Outcome.detail` of an unsettled result, for people."""


class Outcome(NamedTuple):
    """How one attempt of one instance came out.

    `index` is the element (0 for a task that is no array, `WHOLE_TASK` for an
    array that never got elements); `attempt` counts from 1, and is 0 where
    nothing ran. `value` is canonical JSON text; when it is large it stands in the
    file ``values/<digest>`` instead and `value` is None. `digest` is the text's
    sha256 in hex. `paths` are the files named in the value, `prints` what stood there
    when the task had ended: for each a text of `reflow.caching.file_fingerprint`, "" where none was
    taken, or () if there is none at all. `detail` is a traceback, or the culprit of a
    skip. `origin` is the run a cached value is from. Times are seconds since the epoch.
    `unsettled`: the value names files without fingerprints, and `origin` had not succeeded when
    the value was taken over, so that run may still change them.
    `suspected` is a cause that nobody reports but that is likely: OOM beside an ERROR where a
    process was killed and nobody knows by whom, for that is how memory runs out.
    `edited` says what was changed between the submission and the start, so that the identity is
    another than that of what was submitted: `CODE_EDITED`, or the parameter whose files were.
    """

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    attempt: int
    state: str
    identity: str = ""
    digest: str = ""
    value: str | None = None
    paths: tuple[str, ...] = ()
    cause: str = ""
    detail: str = ""
    origin: str = ""
    job: str = ""
    started: float = 0.0
    ended: float = 0.0
    prints: tuple[str, ...] = ()
    unsettled: bool = False
    suspected: str = ""
    edited: tuple[str, ...] = ()

    @property
    def made_files(self) -> bool:
        """Whether it names files without fingerprints that this run may have made.

        Or another run that has not come to its end: see `unsettled`.
        """
        return (self.state == SUCCESS or self.unsettled) and lacks_prints(self.paths, self.prints)


def lacks_prints(paths: Sequence[str], prints: Sequence[str]) -> bool:
    """Whether there are paths of which nobody knows what stood there."""
    return bool(paths) and (not prints or "" in prints)


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def encode_line(kind: str, fields: Sequence[Any]) -> bytes:
    """Return the fields of a record as one line, newline included."""
    body = f"{kind} {_to_json(fields)}".encode("utf-8", "surrogatepass")
    return b"%08x %s\n" % (crc32(body), body)


def decode_line(line: bytes) -> tuple[str, list[Any]]:
    """Return kind and fields of one line (without newline); raises ValueError if it is damaged."""
    body = line[9:]
    if int(line[:8], 16) != crc32(body):
        raise ValueError("its checksum does not match")
    kind, _, text = body.decode("utf-8", "surrogatepass").partition(" ")
    return kind, json.loads(text)


def outcome_of(fields: list[Any]) -> Outcome:
    """Return the outcome that has these fields of a line. Raises TypeError for other fields."""
    if len(fields) > _UNSETTLED and type(fields[_UNSETTLED]) is not bool:
        raise TypeError("unsettled must be true or false")
    if len(fields) > _SUSPECTED and type(fields[_SUSPECTED]) is not str:
        raise TypeError("suspected must be a text")
    outcome = record_of(Outcome, fields, _TUPLES)
    # Records of earlier versions lack the last fields: their detail says it.
    if outcome.state == CACHED and outcome.detail == UNSETTLED_DETAIL:
        outcome = outcome._replace(unsettled=True)
    elif outcome.cause == ERROR and outcome.detail.endswith(MEMORY_SUSPECTED):
        outcome = outcome._replace(suspected=OOM)
    return outcome


def record_of(kind: Callable[..., T], fields: list[Any], tuples: Iterable[int]) -> T:
    """Return the record that has these fields, of which JSON has lists for some `tuples`.

    Raises KeyError or TypeError where they are none of its.
    """
    for position in tuples:
        if position < len(fields):
            fields[position] = tuple(fields[position] or ())
    return kind(*fields)


OUTCOME = "out"
"""The kind of the lines that are outcomes."""

_TUPLES = tuple(map(Outcome._fields.index, ("paths", "prints", "edited")))
_UNSETTLED = Outcome._fields.index("unsettled")
_SUSPECTED = Outcome._fields.index("suspected")
_FIRST_OPTIONAL = Outcome._fields.index("prints")


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as one line, newline included."""
    # Most outcomes name no files and suspect nothing: their last fields are not written.
    length = len(outcome)
    while length > _FIRST_OPTIONAL and not outcome[length - 1]:
        length -= 1
    return encode_line(OUTCOME, outcome[:length])


def decode_outcome(line: bytes) -> Outcome | None:
    """Return the outcome of one line (without newline), or None if it is damaged or none."""
    try:
        kind, fields = decode_line(line)
        return outcome_of(fields) if kind == OUTCOME else None
    except (ValueError, KeyError, TypeError):
        return None
