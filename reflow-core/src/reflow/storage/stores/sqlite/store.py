"""The SQLite store: the index over runs in one file.

The file may be on a network file system and many processes may write to it:
`reflow.storage.stores.sqlite.connection` says how. Here are the questions and the changes, in short
transactions; `reflow.storage.stores.sqlite.schema` has the tables.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from ....errors import StoreError, UnknownRunError, UnknownTaskError, unknown_name
from ....states import ENDED, FAILED, INSTANCE_STATES, LIVE, RUN_STATES
from ...outcome import Outcome
from ...user_state import default_store_path
from ..base import (
    CachedResult,
    InstanceRow,
    Position,
    Reservation,
    RunRow,
    Store,
    TaskRow,
    Underway,
)
from ..queries import (
    check_limit,
    check_states,
    collector_paused,
    filters,
    microseconds,
    several_runs,
    summary_of,
    unknown_run,
)
from .connection import DatabaseFile
from .reservations import give_up, reserve
from .rows import (
    INSTANCE_COLUMNS,
    PREFIX,
    PUT,
    RUN_COLUMNS,
    SHIFT,
    digest_of,
    instance_row,
    loaded,
    prefix_of,
    rows_in,
    rows_of,
    run_row,
    span,
    stored,
)
from .schema import inconsistencies

if TYPE_CHECKING:
    from typing_extensions import Self


class SqliteStore(Store):
    """An index over runs in the SQLite file at `path`, opened on first use.

    The file is made if it is not there; its folder too if it is the default one.
    `timeout` is how many seconds to wait for other processes' transactions. May
    be used from several threads, which take turns, and after a fork.
    """

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
        rest = url.removeprefix("sqlite://")
        if rest == url or not rest.startswith("/") or len(rest) < 2:
            raise StoreError(
                f"cannot open the store {url!r}: write sqlite:///relative/path, "
                "sqlite:////absolute/path or a path alone"
            )
        return cls(os.fsdecode(unquote_to_bytes(os.fsencode(rest[1:]))))

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

    # Writing

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        """Add a run with its tasks, ``(name, is_array)`` each, in order."""
        described = _described(run)
        with self._file.writing() as connection:
            _add(connection, described, tasks)

    def drop_run(self, run_id: str) -> None:
        """Forget a run and its results; one that is not there is no error."""
        with self._file.writing() as connection:
            found = _run_key(connection, run_id)
            if found is not None:
                _drop(connection, found, run_id)

    def replace_run(
        self,
        run: RunRow,
        tasks: Sequence[tuple[str, bool]],
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        position: Position,
    ) -> bool:
        """Index a run anew, in one transaction; among the runs it keeps its place."""
        described = _described(run)
        with self._file.writing() as connection:
            found = connection.execute(
                "SELECT segment, offset FROM run WHERE run_id = ?", (run.run_id,)
            ).fetchone()
            if found is not None and found > (position.segment, position.offset):
                return False
            key = _add(connection, described, tasks)
            _forget_instances(connection, key)
            _apply(connection, key, run.run_id, changes, sizes, run.status, position, None)
        return True

    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status, one of `reflow.states.RUN_STATES`."""
        check_states([status], RUN_STATES)
        with self._file.writing() as connection:
            key = self._indexed(connection, run_id)[0]
            connection.execute("UPDATE run SET status = ? WHERE key = ?", (status, key))
            if status in ENDED:
                give_up(connection, key)

    def apply(
        self,
        run_id: str,
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        status: str | None,
        position: Position,
        live: Sequence[Outcome] | None = None,
    ) -> bool:
        """Index what the record says up to `position`, in one transaction."""
        if status is not None:
            check_states([status], RUN_STATES)
        with self._file.writing() as connection:
            run, segment, offset = self._indexed(connection, run_id)
            if (position.segment, position.offset) < (segment, offset):
                return False
            _apply(connection, run, run_id, changes, sizes, status, position, live)
        return True

    def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
        """Reserve instances for a run; return, by identity, those that another run has."""
        if not wanted:
            return {}
        with self._file.writing() as connection:
            held = reserve(connection, self._indexed(connection, run_id)[0], wanted)
            tasks = {key >> SHIFT for key in held.values()}
            names = {task: _names(connection, task) for task in tasks}
        return {
            identity: Underway(*names[key >> SHIFT], max((key & 0xFFFFFFFF) - 1, 0))
            for identity, key in held.items()
        }

    # Reading

    def position(self, run_id: str) -> Position:
        """Return how far the run's segments are indexed."""
        _, segment, offset = self._file.read(
            lambda connection: self._indexed(connection, run_id)
        )
        return Position(segment, offset)

    def lookup(
        self,
        identities: Sequence[bytes | str],
        *,
        newest: bool = False,
        besides: Collection[str] = (),
    ) -> dict[str, CachedResult]:
        """Return the successful results of these identities, keyed in hex; hits only."""
        wanted = {
            identity if isinstance(identity, bytes) else digest_of(identity)
            for identity in identities
        }
        if not wanted:
            return {}
        with collector_paused():
            return self._file.read(lambda connection: _found(connection, wanted, newest, besides))

    def list_runs(
        self,
        graph_name: str | None = None,
        limit: int | None = None,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
    ) -> list[RunRow]:
        """Return runs, newest first, created in ``since <= created_at < until``."""
        chosen = filters(graph_name, since, until, status)
        check_limit(limit)
        where = " AND ".join(f"{comparison} ?" for comparison, _ in chosen) or "true"
        values = [*(value for _, value in chosen), -1 if limit is None else limit]
        rows = self._file.read(
            lambda connection: connection.execute(
                f"SELECT {RUN_COLUMNS} FROM run WHERE {where}"
                " ORDER BY created DESC, key DESC LIMIT ?",
                values,
            ).fetchall()
        )
        return [run_row(row) for row in rows]

    def run(self, run_id: str) -> RunRow:
        """Return the run of that id, or of that unambiguous beginning of an id."""

        def query(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            rows = connection.execute(
                f"SELECT {RUN_COLUMNS} FROM run WHERE run_id = ?", (run_id,)
            ).fetchall()
            if not rows and run_id:
                rows = connection.execute(
                    f"SELECT {RUN_COLUMNS} FROM run WHERE substr(run_id, 1, ?) = ?"
                    " ORDER BY created DESC LIMIT 6",
                    (len(run_id), run_id),
                ).fetchall()
            if not rows:
                raise self._unknown(connection, run_id)
            return rows

        rows = self._file.read(query)
        if len(rows) > 1:
            raise several_runs(run_id, [row[0] for row in rows])
        return run_row(rows[0])

    def tasks(self, run_id: str) -> list[TaskRow]:
        """Return the run's tasks in order."""
        rows = self._file.read(lambda connection: self._tasks(connection, run_id))
        return [_task_row(row) for row in rows]

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many instances are in which state."""

        def query(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
            tasks = self._tasks(connection, run_id)
            counted = {
                name: dict(
                    connection.execute(
                        "SELECT state, number FROM tally WHERE task = ? AND number > 0", (key,)
                    ).fetchall()
                )
                for key, name, _, _ in tasks
            }
            return summary_of(map(_task_row, tasks), counted)

        return self._file.read(query)

    def out_of_cache(self, run_id: str) -> dict[str, int]:
        """Return by task how many successes no look-up finds."""

        def query(connection: sqlite3.Connection) -> dict[str, int]:
            names = {key: name for key, name, _, _ in self._tasks(connection, run_id)}
            counted = connection.execute(
                "SELECT key >> 32, count(*) FROM instance WHERE key BETWEEN ? AND ?"
                " AND state = 'SUCCESS' AND identity IS NULL GROUP BY 1",
                span(list(names)),
            )
            return {names[key]: number for key, number in counted}

        return self._file.read(query)

    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Return the indexed instances in order of task and index."""
        wanted = None if states is None else sorted({*states})
        if wanted is not None:
            check_states(wanted, INSTANCE_STATES)

        def query(connection: sqlite3.Connection) -> list[InstanceRow]:
            tasks = {key: (name, array) for key, name, array, _ in self._tasks(connection, run_id)}
            keys = [key for key, (name, _) in tasks.items() if task is None or name == task]
            if task is not None and not keys:
                names = [name for name, _ in tasks.values()]
                raise UnknownTaskError(f"run {run_id}: {unknown_name('task', task, names)}")
            condition = ""
            if wanted == [FAILED]:  # so written, they have an index of their own
                condition = " AND state = 'FAILED'"
            elif wanted is not None:
                condition = f" AND state IN ({', '.join(repr(state) for state in wanted)})"
            rows = connection.execute(
                f"SELECT {INSTANCE_COLUMNS} FROM instance"
                f" WHERE key BETWEEN ? AND ?{condition} ORDER BY key",
                span(keys),
            )
            return [instance_row(tasks, row) for row in rows]

        with collector_paused():
            return self._file.read(query)

    def _indexed(self, connection: sqlite3.Connection, run_id: str) -> tuple[int, int, int]:
        row = connection.execute(
            "SELECT key, segment, offset FROM run WHERE run_id = ?", (run_id,)
        ).fetchone()
        if row is None:
            raise self._unknown(connection, run_id)
        return row[0], row[1], row[2]

    def _tasks(
        self, connection: sqlite3.Connection, run_id: str
    ) -> list[tuple[int, str, bool, int | None]]:
        key = self._indexed(connection, run_id)[0]
        return [
            (task, name, bool(array), size)
            for task, name, array, size in connection.execute(
                "SELECT key, name, array, size FROM task WHERE run = ? ORDER BY key", (key,)
            )
        ]

    def _unknown(self, connection: sqlite3.Connection, run_id: str) -> UnknownRunError:
        known = [
            name
            for (name,) in connection.execute(
                "SELECT run_id FROM run ORDER BY created DESC, key DESC LIMIT 1000"
            )
        ]
        return unknown_run(run_id, known, f"store {self.path}")


def _task_row(row: tuple[int, str, bool, int | None]) -> TaskRow:
    _, name, array, size = row
    return TaskRow(name=name, array=array, size=size)


def _described(run: RunRow) -> dict[str, object]:
    check_states([run.status], RUN_STATES)
    return {
        "run_id": run.run_id,
        "graph_name": run.graph_name,
        "user_id": run.user_id,
        "created_at": run.created_at,
        "created": microseconds(run.created_at, "created_at"),
        "run_dir": stored(run.run_dir),
        "record": stored(run.record),
        "status": run.status,
        "parameters": json.dumps(run.parameters, separators=(",", ":")),
        "executor": run.executor,
    }


def _run_key(connection: sqlite3.Connection, run_id: object) -> int | None:
    found = connection.execute("SELECT key FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return None if found is None else int(found[0])


def _add(
    connection: sqlite3.Connection, described: dict[str, object], tasks: Sequence[tuple[str, bool]]
) -> int:
    """Add a run, or describe it anew; return its key."""
    wanted = [(name, bool(array)) for name, array in tasks]
    run_id = str(described["run_id"])
    found = _run_key(connection, run_id)
    if found is not None:
        known = connection.execute(
            "SELECT name, array FROM task WHERE run = ? ORDER BY key", (found,)
        )
        if [(name, bool(array)) for name, array in known] == wanted:
            columns = ", ".join(f"{name} = :{name}" for name in described)
            connection.execute(f"UPDATE run SET {columns} WHERE run_id = :run_id", described)
            return found
        _drop(connection, found, run_id)
    columns = ", ".join(described)
    values = ", ".join(f":{name}" for name in described)
    key = connection.execute(f"INSERT INTO run ({columns}) VALUES ({values})", described).lastrowid
    assert key is not None
    connection.executemany(
        "INSERT INTO task (run, name, array, size) VALUES (?, ?, ?, ?)",
        ((key, name, array, None if array else 1) for name, array in wanted),
    )
    return key


def _drop(connection: sqlite3.Connection, run: int, run_id: str) -> None:
    _leave_to_others(connection, run_id)
    give_up(connection, run)
    _forget_instances(connection, run)
    connection.execute(
        "DELETE FROM tally WHERE task IN (SELECT key FROM task WHERE run = ?)", (run,)
    )
    connection.execute("DELETE FROM task WHERE run = ?", (run,))
    connection.execute("DELETE FROM run WHERE key = ?", (run,))


def _forget_instances(connection: sqlite3.Connection, run: int) -> None:
    tasks = connection.execute("SELECT key FROM task WHERE run = ?", (run,)).fetchall()
    keys = span(key for (key,) in tasks)
    for table in ("instance", "live"):
        connection.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", keys)
    connection.execute("DELETE FROM taken WHERE run = ?", (run,))


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


def _apply(
    connection: sqlite3.Connection,
    run: int,
    run_id: str,
    changes: Sequence[Outcome],
    sizes: Mapping[str, int],
    status: str | None,
    position: Position,
    live: Sequence[Outcome] | None,
) -> None:
    keys: dict[str, int] = dict(
        connection.execute("SELECT name, key FROM task WHERE run = ?", (run,)).fetchall()
    )
    try:
        for name, size in sizes.items():
            connection.execute("UPDATE task SET size = ? WHERE key = ?", (size, keys[name]))
            # What was said of the array as a whole gives way to its elements.
            connection.execute("DELETE FROM instance WHERE key = ?", (keys[name] << SHIFT,))
        _put(connection, run, changes, keys)
        if live is not None:
            _put_live(connection, run, live, keys)
    except KeyError as error:
        raise UnknownTaskError(
            f"run {run_id}: {unknown_name('task', str(error.args[0]), keys)}"
        ) from None
    connection.execute(
        "UPDATE run SET status = coalesce(?, status), segment = ?, offset = ? WHERE key = ?",
        (status, position.segment, position.offset, run),
    )
    told = ((keys[one.task] << SHIFT) + one.index + 1 for one in changes)
    give_up(connection, run, None if status in ENDED else told)


def _put(
    connection: sqlite3.Connection, run: int, outcomes: Sequence[Outcome], keys: dict[str, int]
) -> None:
    origins = {one.origin for one in outcomes if one.origin}
    gone = frozenset(one for one in origins if _run_key(connection, one) is None)
    connection.executemany(
        "INSERT OR IGNORE INTO taken VALUES (?, ?)", ((origin, run) for origin in origins)
    )
    try:
        connection.executemany(PUT, rows_of(outcomes, keys, gone))
    except UnicodeEncodeError:
        # Half of a surrogate pair is legal in a Python string but not in UTF-8.
        connection.executemany(PUT, rows_of(outcomes, keys, gone, stored))
    except ValueError as error:
        raise StoreError(f"an identity or digest must be given in hex: {error}") from None


def _put_live(
    connection: sqlite3.Connection, run: int, outcomes: Sequence[Outcome], keys: dict[str, int]
) -> None:
    """Let the instances under way be these, and forget the former ones."""
    former = span(keys.values())
    connection.execute(
        "DELETE FROM instance WHERE key IN (SELECT key FROM live WHERE key BETWEEN ? AND ?)"
        f" AND state IN ({', '.join('?' * len(LIVE))})",
        (*former, *LIVE),
    )
    connection.execute("DELETE FROM live WHERE key BETWEEN ? AND ?", former)
    _put(connection, run, outcomes, keys)
    connection.executemany(
        "INSERT OR IGNORE INTO live VALUES (?)",
        (((keys[outcome.task] << SHIFT) + outcome.index + 1,) for outcome in outcomes),
    )


def _found(
    connection: sqlite3.Connection, wanted: set[bytes], newest: bool, besides: Collection[str]
) -> dict[str, CachedResult]:
    rows = _indexed_results(connection, wanted, newest, besides)
    if besides:
        for identity, row in _taken_over(connection, wanted, newest, besides).items():
            rival = rows.setdefault(identity, row)
            if rival is not row and (row[0] > rival[0]) == newest:
                rows[identity] = row
    found: dict[str, CachedResult] = {}
    tasks: dict[int, tuple[str, str, str]] = {}
    for key, identity, digest, value, paths, prints in rows.values():
        task = key >> SHIFT
        names = tasks.get(task)
        if names is None:
            names = tasks[task] = _names(connection, task)
        text = identity.hex()
        found[text] = CachedResult(
            *names,
            max((key & 0xFFFFFFFF) - 1, 0),
            text,
            digest.hex() if digest else "",
            loaded(value),
            tuple(json.loads(paths)) if paths else (),
            tuple(json.loads(prints)) if prints else (),
        )
    return found


def _indexed_results(
    connection: sqlite3.Connection, wanted: set[bytes], newest: bool, besides: Collection[str]
) -> dict[bytes, tuple[Any, ...]]:
    """Return by identity the rows of results that stand in the index."""
    others = {task for run_id in besides for task in _task_keys(connection, run_id)}
    prefixes = (int.from_bytes(identity[:PREFIX], "big") for identity in wanted)
    query = "SELECT key, identity, digest, value, paths, prints FROM instance WHERE result"
    # Keys grow with every run that is added, so the greatest is of the newest.
    best: dict[bytes, tuple[Any, ...]] = {}
    for row in rows_in(connection, query, prefixes):
        if row[0] >> SHIFT in others:
            continue
        rival = best.setdefault(row[1], row)
        if rival is not row and (row[0] > rival[0]) == newest:
            best[row[1]] = row
    return {identity: row for identity, row in best.items() if identity in wanted}


def _taken_over(
    connection: sqlite3.Connection, wanted: set[bytes], newest: bool, besides: Collection[str]
) -> dict[bytes, tuple[Any, ...]]:
    """Return by identity the rows of what other runs took over from some."""
    found: dict[bytes, tuple[Any, ...]] = {}
    tasks = {task for run_id in besides for task in _tasks_that_took(connection, run_id)}
    tasks -= {task for run_id in besides for task in _task_keys(connection, run_id)}
    for task in sorted(tasks, reverse=newest):
        rows = connection.execute(
            "SELECT key, identity, digest, value, paths, prints, origin FROM instance"
            " WHERE key BETWEEN ? AND ? AND state = 'CACHED'",
            span([task]),
        )
        for *row, origin in rows:
            if origin in besides and row[1] in wanted:
                found.setdefault(row[1], tuple(row))
        if len(found) == len(wanted):
            break  # most have all from the last run
    return found


def _task_keys(connection: sqlite3.Connection, run_id: str) -> list[int]:
    rows = connection.execute(
        "SELECT task.key FROM task JOIN run ON run.key = task.run WHERE run_id = ?", (run_id,)
    )
    return [key for (key,) in rows]


def _tasks_that_took(connection: sqlite3.Connection, run_id: str) -> list[int]:
    """Return the tasks of the runs that took results over from one."""
    rows = connection.execute(
        "SELECT task.key FROM taken JOIN task ON task.run = taken.run WHERE taken.origin = ?",
        (run_id,),
    )
    return [key for (key,) in rows]


def _names(connection: sqlite3.Connection, task: int) -> tuple[str, str, str]:
    run_id, record, name = connection.execute(
        "SELECT run_id, record, name FROM task JOIN run ON run.key = task.run"
        " WHERE task.key = ?",
        (task,),
    ).fetchone()
    return run_id, loaded(record), name
