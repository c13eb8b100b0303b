"""The SQLite store: the index over runs in one file.

The file may be on a network file system and many processes may write to it:
`reflow.storage.stores.sqlite.connection` says how. `reflow.storage.stores.sql` has the methods,
`reflow.storage.stores.sqlite.schema` the tables; here are the statements on them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

from ....errors import StoreError
from ....states import LIVE
from ...outcome import Outcome
from ...user_state import default_store_path
from ..base import CachedResult, InstanceRow
from ..sql import SqlStore, TaskKey, Update
from .connection import DatabaseFile
from .reservations import give_up, reserve
from .rows import (
    INSTANCE_COLUMNS,
    PUT,
    SHIFT,
    element_of,
    instance_key,
    instance_row,
    loaded,
    names_of_task,
    prefix_of,
    rows_in,
    rows_of,
    span,
    storable,
    stored,
    task_keys_of,
)
from .schema import inconsistencies

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class SqliteStore(SqlStore[sqlite3.Connection]):
    """An index over runs in the SQLite file at `path`, opened on first use.

    The file is made if it is not there; its folder too if it is the default one.
    `timeout` is how many seconds to wait for other processes' transactions. May
    be used from several threads, which take turns, and after a fork.
    """

    _offset_column = "offset"
    _task_query = "SELECT key, name, array, size FROM task WHERE run = ? ORDER BY key"
    _stored = staticmethod(stored)
    _loaded = staticmethod(loaded)
    _reserve = staticmethod(reserve)
    _give_up = staticmethod(give_up)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.read_only = read_only
        self.timeout = timeout
        self._file = DatabaseFile(
            self.path,
            read_only=read_only,
            timeout=timeout,
            make_folder=not read_only and self.path == default_store_path(),
        )

    @property
    def url(self) -> str:
        """The file as ``sqlite:////absolute/path``."""
        return f"sqlite:///{quote(os.fsencode(self.path))}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store of a ``sqlite:///relative`` or ``sqlite:////absolute`` URL."""
        path = url.removeprefix("sqlite://")
        if path == url or not path.startswith("/") or len(path) < 2:
            raise StoreError(
                f"cannot open the store {url!r}: write sqlite:///relative/path, "
                "sqlite:////absolute/path or a path alone"
            )
        return cls(os.fsdecode(unquote_to_bytes(os.fsencode(path[1:]))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "read_only": self.read_only, "timeout": self.timeout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SqliteStore.__init__(self, **state)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    def set_aside(self) -> Path | None:
        """Give a file that is damaged another name, so that a new one can be made; return it.

        None where there is no file.
        """
        return self._file.set_aside()

    def check(self) -> list[str]:
        """Return what is wrong with the file: its pages, indexes, and what its rows say."""
        return self._file.read(inconsistencies)

    # How the database is asked

    @property
    def _place(self) -> str:
        return f"store {self.path}"

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return self._file.read(query)

    def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        with self._file.writing() as connection:
            return change(connection)

    def _execute(
        self, connection: sqlite3.Connection, statement: str, values: Sequence[object] = ()
    ) -> sqlite3.Cursor:
        return connection.execute(statement, values)

    # Runs

    def _add(
        self,
        connection: sqlite3.Connection,
        columns: dict[str, object],
        tasks: Sequence[tuple[str, bool]],
    ) -> int:
        run_id = str(columns["run_id"])
        run = self._find_run(connection, run_id)
        if run is not None:
            before = connection.execute(
                "SELECT name, array FROM task WHERE run = ? ORDER BY key", (run.key,)
            )
            if [(name, bool(array)) for name, array in before] == [
                (name, bool(array)) for name, array in tasks
            ]:
                updates = ", ".join(f"{name} = :{name}" for name in columns)
                connection.execute(f"UPDATE run SET {updates} WHERE run_id = :run_id", columns)
                return run.key
            self._drop(connection, run.key, run_id)
        values = ", ".join(f":{name}" for name in columns)
        key = connection.execute(
            f"INSERT INTO run ({', '.join(columns)}) VALUES ({values})", columns
        ).lastrowid
        assert key is not None
        connection.executemany(
            "INSERT INTO task (run, name, array, size) VALUES (?, ?, ?, ?)",
            ((key, name, bool(array), None if array else 1) for name, array in tasks),
        )
        return key

    def _drop(self, connection: sqlite3.Connection, run: int, run_id: str) -> None:
        _leave_to_others(connection, run_id)
        give_up(connection, run)
        self._forget_instances(connection, run)
        connection.execute(
            "DELETE FROM tally WHERE task IN (SELECT key FROM task WHERE run = ?)", (run,)
        )
        connection.execute("DELETE FROM task WHERE run = ?", (run,))
        connection.execute("DELETE FROM run WHERE key = ?", (run,))

    def _forget_instances(self, connection: sqlite3.Connection, run: int) -> None:
        tasks = connection.execute("SELECT key FROM task WHERE run = ?", (run,)).fetchall()
        keys = span(key for (key,) in tasks)
        for table in ("instance", "live"):
            connection.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", keys)
        connection.execute("DELETE FROM taken WHERE run = ?", (run,))

    # Instances

    def _index(
        self, connection: sqlite3.Connection, run: int, keys: Mapping[str, int], update: Update
    ) -> None:
        for name, size in update.sizes.items():
            connection.execute("UPDATE task SET size = ? WHERE key = ?", (size, keys[name]))
            # What was said of the array as a whole gives way to its elements.
            connection.execute("DELETE FROM instance WHERE key = ?", (keys[name] << SHIFT,))
        self._put(connection, run, update.changes, keys)
        if update.live is not None:
            self._put_live(connection, run, update.live, keys)

    def _put(
        self,
        connection: sqlite3.Connection,
        run: int,
        outcomes: Sequence[Outcome],
        keys: Mapping[str, int],
    ) -> None:
        # Results whose run is not here are found in this one: see `is_found`.
        origins = {outcome.origin for outcome in outcomes if outcome.origin}
        gone = frozenset(
            origin for origin in origins if self._find_run(connection, origin) is None
        )
        connection.executemany(
            "INSERT OR IGNORE INTO taken VALUES (?, ?)", ((origin, run) for origin in origins)
        )
        try:
            connection.executemany(PUT, rows_of(outcomes, keys, gone))
        except UnicodeEncodeError:
            # Hardly any text needs it, and to look at each of them would take long.
            connection.executemany(PUT, rows_of(map(storable, outcomes), keys, gone))
        except ValueError as error:
            raise StoreError(f"an identity or digest must be given in hex: {error}") from None

    def _put_live(
        self,
        connection: sqlite3.Connection,
        run: int,
        outcomes: Sequence[Outcome],
        keys: Mapping[str, int],
    ) -> None:
        """Let the instances under way be these, and forget the former ones."""
        former = span(keys.values())
        # By their state as well: some have come to their end since they were entered as live.
        connection.execute(
            "DELETE FROM instance WHERE key IN (SELECT key FROM live WHERE key BETWEEN ? AND ?)"
            f" AND state IN ({', '.join('?' * len(LIVE))})",
            (*former, *LIVE),
        )
        connection.execute("DELETE FROM live WHERE key BETWEEN ? AND ?", former)
        self._put(connection, run, outcomes, keys)
        connection.executemany(
            "INSERT OR IGNORE INTO live VALUES (?)",
            ((instance_key(keys[outcome.task], outcome.index),) for outcome in outcomes),
        )

    def _instances(
        self, connection: sqlite3.Connection, tasks: Sequence[TaskKey], condition: str
    ) -> list[InstanceRow]:
        by_key = {task.key: task for task in tasks}
        rows = connection.execute(
            f"SELECT {INSTANCE_COLUMNS} FROM instance"
            f" WHERE key BETWEEN ? AND ?{condition} ORDER BY key",
            span(by_key),
        )
        return [instance_row(by_key, row) for row in rows]

    def _count_out_of_cache(
        self, connection: sqlite3.Connection, tasks: Sequence[int]
    ) -> Iterable[tuple[int, int]]:
        return connection.execute(
            "SELECT key >> 32, count(*) FROM instance WHERE key BETWEEN ? AND ?"
            " AND state = 'SUCCESS' AND identity IS NULL GROUP BY 1",
            span(tasks),
        )

    # Results

    def _results(
        self,
        connection: sqlite3.Connection,
        identities: Sequence[bytes],
        newest: bool,
        besides: Collection[str],
    ) -> dict[str, CachedResult]:
        names = {*identities}
        rows = _indexed_results(connection, names, newest, besides)
        if besides:
            for identity, row in _taken_over(connection, names, newest, besides).items():
                _keep_better(rows, identity, row, newest)
        results: dict[str, CachedResult] = {}
        tasks: dict[int, tuple[str, str, str]] = {}
        for key, identity, digest, value, paths, prints in rows.values():
            task = key >> SHIFT
            source = tasks.get(task)
            if source is None:
                source = tasks[task] = names_of_task(connection, task)
            text = identity.hex()
            results[text] = CachedResult(
                *source,
                max(element_of(key), 0),
                text,
                digest.hex() if digest else "",
                loaded(value),
                tuple(json.loads(paths)) if paths else (),
                tuple(json.loads(prints)) if prints else (),
            )
        return results


_Rows = dict[bytes, tuple[Any, ...]]
"""Rows of results by identity; they begin with the key."""


def _keep_better(rows: _Rows, identity: bytes, row: tuple[Any, ...], newest: bool) -> None:
    # Keys grow with every run that is added, so the greatest is of the newest.
    rival = rows.setdefault(identity, row)
    if rival is not row and (row[0] > rival[0]) == newest:
        rows[identity] = row


def _indexed_results(
    connection: sqlite3.Connection, identities: set[bytes], newest: bool, besides: Collection[str]
) -> _Rows:
    """Return the rows of results that stand in the index."""
    excluded = {task for run_id in besides for task in task_keys_of(connection, run_id)}
    query = "SELECT key, identity, digest, value, paths, prints FROM instance WHERE result"
    best: _Rows = {}
    for row in rows_in(connection, query, map(prefix_of, identities)):
        if row[0] >> SHIFT not in excluded:
            _keep_better(best, row[1], row, newest)
    # The index has the first bytes alone.
    return {identity: row for identity, row in best.items() if identity in identities}


def _taken_over(
    connection: sqlite3.Connection, identities: set[bytes], newest: bool, besides: Collection[str]
) -> _Rows:
    """Return the rows of what other runs took over from some."""
    results: _Rows = {}
    tasks = {task for run_id in besides for task in _tasks_that_took(connection, run_id)}
    tasks -= {task for run_id in besides for task in task_keys_of(connection, run_id)}
    for task in sorted(tasks, reverse=newest):
        rows = connection.execute(
            "SELECT key, identity, digest, value, paths, prints, origin FROM instance"
            " WHERE key BETWEEN ? AND ? AND state = 'CACHED'",
            span([task]),
        )
        for *row, origin in rows:
            if origin in besides and row[1] in identities:
                results.setdefault(row[1], tuple(row))
        if len(results) == len(identities):
            break  # most have all from the last run
    return results


def _leave_to_others(connection: sqlite3.Connection, run_id: str) -> None:
    """Have the results of a run found in the runs that took them over from it."""
    for task in _tasks_that_took(connection, run_id):
        rows = connection.execute(
            "SELECT key, identity FROM instance WHERE key BETWEEN ? AND ?"
            " AND state = 'CACHED' AND origin = ? AND result IS NULL AND identity IS NOT NULL",
            (*span([task]), run_id),
        ).fetchall()
        connection.executemany(
            "UPDATE instance SET result = ? WHERE key = ?",
            ((prefix_of(identity), key) for key, identity in rows),
        )


def _tasks_that_took(connection: sqlite3.Connection, run_id: str) -> list[int]:
    """Return the tasks of the runs that took results over from one."""
    rows = connection.execute(
        "SELECT task.key FROM taken JOIN task ON task.run = taken.run WHERE taken.origin = ?",
        (run_id,),
    )
    return [key for (key,) in rows]
