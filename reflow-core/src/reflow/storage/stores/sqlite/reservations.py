"""What runs have reserved, in the SQLite store: see `reflow.stores.base.Store.reserve`.

Names stand there by their first bytes alone. Where two of them begin alike, somebody waits for
nothing, sees another identity, and computes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from ..base import Reservation, Underway
from ..sql import names_of
from .rows import (
    EMPTY_SPAN,
    PREFIX,
    SHIFT,
    element_of,
    instance_key,
    names_of_task,
    rows_in,
    span,
    task_keys_of,
)

_DIGITS = 2 * PREFIX


def reserve(
    connection: sqlite3.Connection, run: int, reservations: Sequence[Reservation]
) -> dict[str, Underway]:
    """Reserve what is free; return by identity the instances that have the others."""
    tasks = dict(
        connection.execute("SELECT name, key FROM task WHERE run = ?", (run,)).fetchall()
    )
    own = span(tasks.values())
    holders = _holders(connection, own, reservations)
    held: dict[str, int] = {}
    if holders:
        held = _keep_or_free(connection, own, holders, reservations)
    free = [reservation for reservation in reservations if reservation.identity not in held]
    connection.executemany(
        "INSERT OR REPLACE INTO reserved VALUES (?, ?)",
        sorted(
            (_prefix(identity), instance_key(tasks[task], index))
            for task, index, identity, *_ in free
        ),
    )
    names = {key >> SHIFT: names_of_task(connection, key >> SHIFT) for key in held.values()}
    return {
        identity: Underway(*names[key >> SHIFT], max(element_of(key), 0))
        for identity, key in held.items()
    }


def _prefix(name: str) -> int:
    return int(name[:_DIGITS], 16)


def _holders(
    connection: sqlite3.Connection, own: tuple[int, int], reservations: Sequence[Reservation]
) -> dict[int, int]:
    """Return by the prefix of a name the key of the instance that has a result, or reserved it."""
    identities = [
        _prefix(reservation.identity) for reservation in reservations if not reservation.anew
    ]
    holders = dict(rows_in(connection, "SELECT result, key FROM instance WHERE result", identities))
    # Hardly ever another run is under way, and then nothing need be looked up.
    (others_reserve,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM reserved WHERE key < ?)"
        " OR EXISTS (SELECT 1 FROM reserved WHERE key > ?)",
        own,
    ).fetchone()
    if others_reserve:
        names = [_prefix(name) for reservation in reservations for name in names_of(reservation)]
        query = "SELECT prefix, key FROM reserved WHERE prefix"
        holders.update(rows_in(connection, query, names))
    return holders


def _keep_or_free(
    connection: sqlite3.Connection,
    own: tuple[int, int],
    holders: Mapping[int, int],
    reservations: Sequence[Reservation],
) -> dict[str, int]:
    """Free what gives way to these reservations; return what other runs keep, by identity."""
    runs = {reservation.over for reservation in reservations if reservation.over}
    spans = {run_id: span(task_keys_of(connection, run_id)) for run_id in runs}
    held: dict[str, int] = {}
    freed: list[tuple[int, int]] = []
    for reservation in reservations:
        low, high = spans.get(reservation.over, EMPTY_SPAN)
        for prefix in map(_prefix, names_of(reservation)):
            holder = holders.get(prefix)
            if holder is None or own[0] <= holder <= own[1]:
                continue
            if not low <= holder <= high:
                held[reservation.identity] = holder
                break
            freed.append((prefix, holder))
    connection.executemany("DELETE FROM reserved WHERE prefix = ? AND key = ?", freed)
    return held


def give_up(
    connection: sqlite3.Connection,
    run: int,
    instances: Iterable[tuple[int, int]] | None = None,
) -> None:
    """Free what some (task key, element) of a run had reserved; by default all of the run."""
    tasks = connection.execute("SELECT key FROM task WHERE run = ?", (run,))
    own = span(key for (key,) in tasks)
    reserved = connection.execute("SELECT 1 FROM reserved WHERE key BETWEEN ? AND ? LIMIT 1", own)
    if reserved.fetchone() is None:
        return  # a run that is indexed anew has a million outcomes and nothing reserved
    if instances is None:
        connection.execute("DELETE FROM reserved WHERE key BETWEEN ? AND ?", own)
    else:
        keys = ((instance_key(task, element),) for task, element in instances)
        connection.executemany("DELETE FROM reserved WHERE key = ?", keys)
