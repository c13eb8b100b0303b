"""What runs have reserved, in the SQLite store: see `reflow.stores.base.Store.reserve`.

Names stand there by their first bytes alone. Where two of them begin alike, somebody waits for
nothing, finds another identity, and computes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from ..base import Reservation
from .rows import PREFIX, SHIFT, rows_in, span

_DIGITS = 2 * PREFIX


def reserve(
    connection: sqlite3.Connection, run: int, wanted: Sequence[Reservation]
) -> dict[str, int]:
    """Reserve what is free; return by identity the keys of the instances that have the rest."""
    tasks = dict(
        connection.execute("SELECT name, key FROM task WHERE run = ?", (run,)).fetchall()
    )
    least, most = span(tasks.values())
    new = [int(one.identity[:_DIGITS], 16) for one in wanted if not one.anew]
    there = dict(rows_in(connection, "SELECT result, key FROM instance WHERE result", new))
    if connection.execute(
        "SELECT EXISTS (SELECT 1 FROM reserved WHERE key < ?)"
        " OR EXISTS (SELECT 1 FROM reserved WHERE key > ?)", (least, most),
    ).fetchone() != (0,):  # fmt: skip
        names = [int(text[:_DIGITS], 16) for one in wanted for text in one[2:4] if text]
        there.update(rows_in(connection, "SELECT prefix, key FROM reserved WHERE prefix", names))
    held: dict[str, int] = {}
    freed: list[tuple[int, int]] = []
    if there:
        over = {one.over: _span_of(connection, one.over) for one in wanted if one.over}
        for one in wanted:
            low, high = over[one.over] if one.over else (0, -1)
            for text in filter(None, (one.identity, one.lineage)):
                prefix = int(text[:_DIGITS], 16)
                found = there.get(prefix)
                if found is not None and low <= found <= high:
                    freed.append((prefix, found))
                    continue
                if found is None or least <= found <= most:
                    continue
                held[one.identity] = found
                break
    connection.executemany("DELETE FROM reserved WHERE prefix = ? AND key = ?", freed)
    first = {name: (key << SHIFT) + 1 for name, key in tasks.items()}
    connection.executemany(
        "INSERT OR REPLACE INTO reserved VALUES (?, ?)",
        sorted(
            (int(one.identity[:_DIGITS], 16), first[one.task] + one.index)
            for one in wanted
            if one.identity not in held
        ),
    )
    return held


def _span_of(connection: sqlite3.Connection, run_id: str) -> tuple[int, int]:
    rows = connection.execute(
        "SELECT task.key FROM task JOIN run ON run.key = task.run WHERE run_id = ?", (run_id,)
    )
    return span(key for (key,) in rows)


def give_up(
    connection: sqlite3.Connection, run: int, keys: Iterable[int] | None = None
) -> None:
    """Let what some instances of a run had reserved be free; by default all of its."""
    tasks = connection.execute("SELECT key FROM task WHERE run = ?", (run,))
    own = span(key for (key,) in tasks)
    there = connection.execute("SELECT 1 FROM reserved WHERE key BETWEEN ? AND ? LIMIT 1", own)
    if there.fetchone() is None:
        return  # a run that is indexed anew has a million outcomes and nothing reserved
    if keys is None:
        connection.execute("DELETE FROM reserved WHERE key BETWEEN ? AND ?", own)
    else:
        connection.executemany("DELETE FROM reserved WHERE key = ?", ((key,) for key in keys))
