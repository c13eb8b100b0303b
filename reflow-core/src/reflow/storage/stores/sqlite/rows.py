"""How runs and outcomes stand in rows of the SQLite store, and come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ....errors import StoreError
from ....states import CACHED, SUCCESS
from ...outcome import Outcome
from ..base import InstanceRow, RunRow

T = TypeVar("T")

SHIFT = 32
"""An instance's key is its task's, moved so many bits, and its element + 1."""

PREFIX = 6
"""Bytes of an identity in the index; SQLite stores such integers without waste."""

_CHUNK = 500  # values of one IN list; SQLite builds may allow no more than 999

RUN_COLUMNS = (
    "run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor"
)
_COLUMNS = (
    "key", "state", "attempt", "started", "ended", "identity", "digest", "result", "cause",
    "origin", "job", "paths", "detail", "value", "prints",
)  # fmt: skip
PUT = (
    f"INSERT INTO instance ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[1:])}"
)
INSTANCE_COLUMNS = (
    "key, state, attempt, identity, digest, value, cause, detail, origin, job, started, ended,"
    " paths, prints"
)


def prefix_of(identity: bytes) -> int:
    """Return what stands for an identity in the index."""
    return int.from_bytes(identity[:PREFIX], "big")


def rows_in(
    connection: sqlite3.Connection, query: str, values: Iterable[int]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query that ends with what is to be one of these values."""
    wanted = sorted(values)  # in the order of the index, whose pages are then read once each
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        yield from connection.execute(f"{query} IN ({', '.join('?' * len(chunk))})", chunk)


def span(tasks: Iterable[int]) -> tuple[int, int]:
    """Return the least and the greatest instance key of tasks of one run."""
    keys = list(tasks)
    if not keys:
        return (0, -1)
    return min(keys) << SHIFT, ((max(keys) + 1) << SHIFT) - 1


def rows_of(
    outcomes: Iterable[Outcome],
    keys: Mapping[str, int],
    gone: frozenset[str],
    convert: Callable[[str], str | bytes] | None = None,
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of outcomes; `keys` are the tasks', `gone` are runs nobody knows any more.

    `convert` makes a text storable; without it that is taken for granted, which is quicker.
    """
    unhex, prefix = bytes.fromhex, int.from_bytes  # made a hundred thousand times
    for (
        task, index, attempt, state, identity, digest, value, paths, cause, detail, origin, job,
        started, ended, prints, *_,
    ) in outcomes:  # fmt: skip
        name = unhex(identity) if identity else None
        # Of a taken-over result the first copy is found, as long as its run is there. A value
        # that stands in a file has a copy here, which may be the last; one without an origin is
        # nowhere else under this identity.
        found = state == SUCCESS or (
            state == CACHED and (value is None or not origin or origin in gone)
        )
        yield (
            (keys[task] << SHIFT) + index + 1,
            state,
            attempt,
            started,
            ended,
            name,
            unhex(digest) if digest else None,
            prefix(name[:PREFIX], "big") if name and found else None,
            cause or None,
            origin or None,
            job or None,
            json.dumps(paths) if paths else None,
            (detail if convert is None else convert(detail)) if detail else None,
            value if convert is None or value is None else convert(value),
            json.dumps(prints) if prints else None,
        )


def digest_of(text: str) -> bytes:
    """Return the bytes of a digest in hex. Raises `StoreError` for anything else."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise StoreError(f"an identity or digest must be given in hex, not as {text!r}") from None


def stored(text: str) -> str | bytes:
    """Return text as SQLite can keep it; `loaded` undoes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def loaded(value: T | bytes) -> T:
    """Return text as it was before `stored`."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")  # type: ignore[return-value]
    return value


def run_row(row: tuple[Any, ...]) -> RunRow:
    """Return the run of a row of `RUN_COLUMNS`."""
    run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor = row
    return RunRow(
        run_id=run_id,
        graph_name=graph_name,
        user_id=user_id,
        created_at=created_at,
        run_dir=loaded(run_dir),
        record=loaded(record),
        status=status,
        parameters=json.loads(parameters),
        executor=executor,
    )


def instance_row(tasks: Mapping[int, tuple[str, bool]], row: tuple[Any, ...]) -> InstanceRow:
    """Return the instance of a row of `INSTANCE_COLUMNS`."""
    (
        key, state, attempt, identity, digest, value, cause, detail, origin, job,
        started, ended, paths, prints,
    ) = row  # fmt: skip
    name, array = tasks[key >> SHIFT]
    element = (key & 0xFFFFFFFF) - 1
    return InstanceRow(
        name,
        element if array and element >= 0 else None,
        state,
        attempt,
        identity.hex() if identity else "",
        digest.hex() if digest else "",
        loaded(value),
        value is None and digest is not None,
        cause or "",
        loaded(detail) or "",
        origin or "",
        job or "",
        started,
        ended,
        tuple(json.loads(paths)) if paths else (),
        tuple(json.loads(prints)) if prints else (),
    )
