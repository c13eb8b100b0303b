"""How outcomes stand in rows of the SQLite store, and come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ...outcome import Outcome
from ..base import InstanceRow
from ..sql import TaskKey, is_found

T = TypeVar("T")

SHIFT = 32
"""An instance's key is its task's, moved so many bits, and its element + 1."""

PREFIX = 6
"""Bytes of an identity in the index; SQLite stores such integers without waste."""

EMPTY_SPAN = (0, -1)

_CHUNK = 500  # values of one IN list; SQLite builds may allow no more than 999

_COLUMNS = (
    "key", "state", "attempt", "started", "ended", "identity", "digest", "result", "cause",
    "origin", "job", "paths", "detail", "value", "prints",
)  # fmt: skip
_TEXTS = ("cause", "origin", "job", "detail")
"""Columns that are null where a text is empty: most rows have none of them."""
_VALUES = ", ".join("nullif(?, '')" if name in _TEXTS else "?" for name in _COLUMNS)
PUT = (
    f"INSERT INTO instance ({', '.join(_COLUMNS)}) VALUES ({_VALUES})"
    f" ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[1:])}"
)
INSTANCE_COLUMNS = (
    "key, state, attempt, identity, digest, value, coalesce(cause, ''), coalesce(detail, ''),"
    " coalesce(origin, ''), coalesce(job, ''), started, ended, paths, prints"
)


def instance_key(task: int, element: int) -> int:
    """Return the key of an instance."""
    return (task << SHIFT) + element + 1


def element_of(key: int) -> int:
    """Return the element of an instance's key, -1 for an array as a whole."""
    return (key & 0xFFFFFFFF) - 1


def span(tasks: Iterable[int]) -> tuple[int, int]:
    """Return the least and the greatest instance key of tasks of one run."""
    keys = list(tasks)
    if not keys:
        return EMPTY_SPAN
    return min(keys) << SHIFT, ((max(keys) + 1) << SHIFT) - 1


def task_keys_of(connection: sqlite3.Connection, run_id: str) -> list[int]:
    """Return the keys of a run's tasks."""
    rows = connection.execute(
        "SELECT task.key FROM task JOIN run ON run.key = task.run WHERE run_id = ?", (run_id,)
    )
    return [key for (key,) in rows]


def names_of_task(connection: sqlite3.Connection, task: int) -> tuple[str, str, str]:
    """Return the id and the record of a task's run, and the task's name."""
    run_id, record, name = connection.execute(
        "SELECT run_id, record, name FROM task JOIN run ON run.key = task.run"
        " WHERE task.key = ?",
        (task,),
    ).fetchone()
    return run_id, loaded(record), name


def rows_in(
    connection: sqlite3.Connection, query: str, values: Iterable[int]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query that ends with what is to be one of these values."""
    ordered = sorted(values)  # as the index is, whose pages are then read once each
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        yield from connection.execute(f"{query} IN ({', '.join('?' * len(chunk))})", chunk)


def prefix_of(identity: bytes) -> int:
    """Return what stands for an identity in the index."""
    return int.from_bytes(identity[:PREFIX], "big")


def rows_of(
    outcomes: Iterable[Outcome], keys: Mapping[str, int], gone: frozenset[str]
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of outcomes, for `PUT`.

    `keys` are the tasks', `gone` are runs that the store does not have any more.
    """
    unhex = bytes.fromhex  # called a hundred thousand times
    for (
        task, index, attempt, state, identity, digest, value, paths, cause, detail, origin, job,
        started, ended, prints, *_,
    ) in outcomes:  # fmt: skip
        name = unhex(identity) if identity else None
        yield (
            (keys[task] << SHIFT) + index + 1,
            state,
            attempt,
            started,
            ended,
            name,
            unhex(digest) if digest else None,
            prefix_of(name) if name and is_found(state, value, origin, gone) else None,
            cause,
            origin,
            job,
            json.dumps(paths) if paths else None,
            detail,
            value,
            json.dumps(prints) if prints else None,
        )


def storable(outcome: Outcome) -> Outcome:
    """Return an outcome with its texts as SQLite can keep them, some as bytes."""
    value = None if outcome.value is None else stored(outcome.value)
    return outcome._replace(detail=stored(outcome.detail), value=value)  # type: ignore[arg-type]


def stored(text: str) -> str | bytes:
    """Return text as SQLite can keep it; `loaded` undoes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair is legal in a Python string but not in UTF-8.
        return text.encode("utf-8", "surrogatepass")
    return text


def loaded(value: T | bytes) -> T:
    """Return text as it was before `stored`."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")  # type: ignore[return-value]
    return value


def instance_row(tasks: Mapping[int, TaskKey], row: tuple[Any, ...]) -> InstanceRow:
    """Return the instance of a row of `INSTANCE_COLUMNS`."""
    (
        key, state, attempt, identity, digest, value, cause, detail, origin, job,
        started, ended, paths, prints,
    ) = row  # fmt: skip
    task = tasks[key >> SHIFT]
    element = (key & 0xFFFFFFFF) - 1
    return InstanceRow(
        task.name,
        element if task.array and element >= 0 else None,
        state,
        attempt,
        identity.hex() if identity else "",
        digest.hex() if digest else "",
        loaded(value),
        value is None and digest is not None,
        cause,
        loaded(detail),
        origin,
        job,
        started,
        ended,
        tuple(json.loads(paths)) if paths else (),
        tuple(json.loads(prints)) if prints else (),
    )
