"""The records of a run and how they stand in a file: one line each, checksummed.

A line that is cut short or does not match its checksum ends what can be read of a
file (a torn write), it is never an error. Records are named tuples: they are made and
read a hundred thousand times.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from ..errors import RecordVersionError
from .outcome import (
    OUTCOME,
    Outcome,
    decode_line,
    encode_line,
    encode_outcome,
    outcome_of,
    record_of,
)

FORMAT = 1
"""Version of the record format; a reader refuses a higher one."""


def check_format(written: int, path: str) -> None:
    """Raise `RecordVersionError` for what a newer reflow has written."""
    if written > FORMAT:
        raise RecordVersionError(
            f"{path} was written in record format {written}, this reflow reads up to {FORMAT};"
            " use the newer reflow that wrote it"
        )


Place: TypeAlias = tuple[str, str]
"""Where jobs are submitted: the name of an executor, and its settings as JSON."""
HOME: Place = ("", "")
"""The executor that a run was submitted with, whatever that is."""


class Opened(NamedTuple):
    """First record of a segment: who writes it, and how far the one before counts.

    `sealed` is the number of bytes of segment n-1 that its successor saw: what a
    stale writer appends behind that is not part of the record.
    """

    format: int
    number: int
    sealed: int
    owner: str
    at: float


class Sized(NamedTuple):
    """The number of elements of an array became known."""

    task: str
    size: int


class Retried(NamedTuple):
    """An attempt failed for a cause after which the task asks for another one.

    The element is free again. `detail` and `job` are as in `Outcome`.
    """

    task: str
    index: int  # type: ignore[assignment]  # a field, not tuple.index
    attempt: int
    cause: str
    detail: str
    job: str
    at: float


class Intent(NamedTuple):
    """A job is about to be submitted under a tag of its own.

    `role` is "worker", "dispatch", "sentinel", "guard", "lookout" or "driver". Position p of the
    job is element `indices[p]` of `task`, all of them in their `attempts[p]`-th attempt.
    """

    tag: str
    role: str
    task: str
    indices: tuple[int, ...]
    attempts: tuple[int, ...]
    at: float


class Submitted(NamedTuple):
    """The scheduler took the job of that tag under this id."""

    tag: str
    job: str
    at: float


class Ended(NamedTuple):
    """The job of that tag is over and needs no more attention."""

    tag: str
    state: str
    at: float


class Missing(NamedTuple):
    """A poll first did not find the job of that tag (by the file server's clock)."""

    tag: str
    at: float


class Epoch(NamedTuple):
    """A cancel or retry was taken up; earlier epochs' passes and workers are void.

    A retry may name another `executor`, with its `settings` as JSON, for what is
    submitted from now on.
    """

    number: int
    kind: str
    tasks: tuple[str, ...]
    at: float
    executor: str = ""
    settings: str = ""


class Finished(NamedTuple):
    """The run came to an end in `state`; only a retry reopens it."""

    state: str
    at: float


class Called(NamedTuple):
    """How often a dispatch pass has called each of the scheduler's commands: (name, times)."""

    commands: tuple[tuple[str, int], ...]
    at: float


class Waiting(NamedTuple):
    """Why the job of that tag does not start, as the scheduler says, or the task of that name is
    not submitted, or (no tag) the run does not go on: for a person. "": no more."""

    tag: str
    reason: str
    at: float


class Barred(NamedTuple):
    """The jobs of a role ("worker", "sentinel" …) were not allowed to submit others."""

    role: str
    reason: str
    at: float


class Released(NamedTuple):
    """Last record of a segment: its writer has let the lease go."""

    at: float


class Note(NamedTuple):
    """Something a person should read in `status`."""

    text: str
    at: float


Record: TypeAlias = (
    Opened | Sized | Outcome | Retried | Intent | Submitted | Ended | Missing | Epoch | Finished
    | Called | Waiting | Barred | Released | Note
)

_KINDS: dict[str, type] = {
    "open": Opened,
    "size": Sized,
    OUTCOME: Outcome,
    "again": Retried,
    "intent": Intent,
    "sub": Submitted,
    "end": Ended,
    "miss": Missing,
    "epoch": Epoch,
    "fin": Finished,
    "calls": Called,
    "wait": Waiting,
    "bar": Barred,
    "rel": Released,
    "note": Note,
}
_NAMES: dict[type, str] = {kind: name for name, kind in _KINDS.items()}
_TUPLES: dict[type, tuple[int, ...]] = {Intent: (3, 4), Epoch: (2,), Called: (0,)}


def encode(record: Record) -> bytes:
    """Return the record as one line, newline included."""
    if type(record) is Outcome:
        return encode_outcome(record)
    return encode_line(_NAMES[type(record)], record)


def decode(line: bytes) -> Record | None:
    """Return the record of one line (without newline), or None if it is damaged.

    A kind this version does not know is damaged too: formats are versioned in
    `Opened`, so within a known format every kind is known.
    """
    try:
        name, fields = decode_line(line)
        if name == OUTCOME:
            return outcome_of(fields)
        kind = _KINDS[name]
        record: Record = record_of(kind, fields, _TUPLES.get(kind, ()))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return record


def decode_all(data: bytes, *, outcomes: bool = True) -> tuple[list[Record], int]:
    """Read records up to the first damaged or unfinished line.

    Returns the records and the number of bytes they take. Without `outcomes` only the
    first of each stretch of outcomes is decoded: one is enough to see that there was progress,
    and there may be a hundred thousand.
    """
    records: list[Record] = []
    start = 0
    while True:
        end = data.find(b"\n", start)
        if end < 0:
            return records, start
        # The kind stands behind the checksum and a blank.
        skipped = (
            not outcomes
            and data[start + 9 : start + 13] == b"out "
            and records
            and type(records[-1]) is Outcome
        )
        if not skipped:
            record = decode(data[start:end])
            if record is None:
                return records, start
            records.append(record)
        start = end + 1
