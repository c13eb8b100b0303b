"""The SQLite store: the index over runs in one file.

The file may be on a network file system and many processes may write to it. So:
a rollback journal with full syncs, never a write-ahead log (which needs shared
memory); short transactions that take their lock at the start; nothing kept open
between two calls but the connection itself.

An instance is one row whose integer key is ``task key << 32 | element + 1``, so a
run's rows lie together in the order of task and element. A successful instance
is found by the first bytes of its identity through a partial index, and the rest
is compared then: there is no second copy of any result, and the index is small,
which is most of the cost of writing.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

from ..errors import (
    StoreError,
    StoreVersionError,
    UnknownRunError,
    UnknownTaskError,
    nearest,
    unknown_name,
)
from ..records import Outcome
from ..states import CACHED, INSTANCE_STATES, PENDING, RUN_STATES, SUCCESS
from .base import CachedResult, InstanceRow, Position, QueryError, RunRow, Store, TaskRow

if TYPE_CHECKING:
    from typing_extensions import Self

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE run (
            key INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL UNIQUE,
            graph_name TEXT NOT NULL,
            user_id TEXT NOT NULL,
            created_at TEXT NOT NULL,
            created INTEGER NOT NULL,  -- microseconds since the epoch
            run_dir TEXT NOT NULL,
            record TEXT NOT NULL,
            status TEXT NOT NULL,
            parameters TEXT NOT NULL,  -- JSON
            executor TEXT NOT NULL,
            segment INTEGER NOT NULL DEFAULT 0,
            offset INTEGER NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX run_created ON run (created)",
        """
        CREATE TABLE task (
            key INTEGER PRIMARY KEY,  -- consecutive within a run, in its order
            run INTEGER NOT NULL,
            name TEXT NOT NULL,
            array INTEGER NOT NULL,
            size INTEGER,
            UNIQUE (run, name)
        )
        """,
        # Short columns first: what counts states never reads the pages of long values.
        """
        CREATE TABLE instance (
            key INTEGER PRIMARY KEY,  -- task.key << 32 | element + 1
            state TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            started REAL NOT NULL,
            ended REAL NOT NULL,
            identity BLOB,
            digest BLOB,
            result INTEGER,  -- first bytes of the identity of a success
            cause TEXT,
            origin TEXT,
            job TEXT,
            paths TEXT,  -- JSON
            detail TEXT,
            value TEXT  -- JSON; null where it is in a file
        )
        """,
        "CREATE INDEX instance_result ON instance (result) WHERE result IS NOT NULL",
        # Instances last said to be under way. A table of its own: an index over the
        # states would make every outcome a third dearer.
        "CREATE TABLE live (key INTEGER PRIMARY KEY)",
    ),
)
"""What brings the schema from version n to n + 1, for each n."""

APPLICATION_ID = 0x72_66_6C_77
"""Marks the file as reflow's ("rflw"), so that no other database is taken for one."""

_PRAGMAS = (
    "PRAGMA page_size = 8192",  # counts for a new file only; fewer pages to journal
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16384",
)
_SHIFT = 32
_CHUNK = 500  # values of one IN list; SQLite builds may allow no more than 999
_RUN_COLUMNS = (
    "run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor"
)
_PREFIX = 6  # bytes of an identity in the index; SQLite stores such integers without waste
_COLUMNS = (
    "key", "state", "attempt", "started", "ended", "identity", "digest", "result", "cause",
    "origin", "job", "paths", "detail", "value",
)  # fmt: skip
_PUT = (
    f"INSERT INTO instance ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[1:])}"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_T = TypeVar("_T")

# Connections that a fork inherited: closing them here could undo the parent's work.
_inherited: list[sqlite3.Connection] = []


def default_store_path() -> Path:
    """Where the index of runs is by default: history, so not under a cache folder."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "reflow" / "reflow.sqlite"


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
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()

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

    # Connection and transactions

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._notice_fork()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _notice_fork(self) -> None:
        # A connection must not cross a fork, and a lock may have been held there.
        if self._pid != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)
            self._connection = None
            self._lock = threading.RLock()
            self._pid = os.getpid()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> StoreError:
        what = str(error)
        if "locked" in what or "busy" in what:
            advice = (
                f"other processes kept it locked for {self.timeout:g} s; try again, or see"
                " with `fuser` or `lsof` who holds it"
            )
        elif "is full" in what:
            advice = "make room on its file system (or in your quota), then try again"
        elif "not a database" in what or "malformed" in what:
            advice = (
                "the file is damaged or no SQLite database; move it away, and rebuild the store"
                " from the run directories"
            )
        elif "readonly" in what or "unable to open" in what:
            advice = self._why_not_opened()
        else:
            advice = "check the file and its folder, or choose another store path"
        return StoreError(f"store {self.path}: {what}: {advice}")

    def _why_not_opened(self) -> str:
        folder = self.path.parent
        if not folder.is_dir():
            return (
                f"there is no folder {folder}; make it with `mkdir -p`,"
                " or choose another store path"
            )
        if self.path.is_dir():
            return "this is a folder; name a file in it"
        if self.read_only:
            if not self.path.exists():
                return "there is no such file; nothing was indexed here yet"
            return "open it once with write access, to complete an interrupted write"
        return (
            f"no write access to the file or to its folder {folder}; change its permissions,"
            " or choose another store path"
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self.path == default_store_path() and not self.read_only:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"store {self.path}: its folder cannot be made ({error.strerror}): set"
                    " XDG_STATE_HOME to a folder you may write to, or choose another store path"
                ) from error
        uri = f"file:{quote(os.fsencode(self.path))}?mode={'ro' if self.read_only else 'rwc'}"
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=self.timeout,
            isolation_level=None,  # transactions are begun and ended here, in so many words
            check_same_thread=False,  # the lock sees to it that threads take turns
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        # In one transaction: between two reads another process may bring its schema in.
        connection.execute("BEGIN")
        try:
            version = self._version(connection)
        finally:
            _roll_back(connection)
        if version == len(MIGRATIONS):
            return
        if self.read_only:
            raise StoreVersionError(
                f"store {self.path}: its schema is version {version}, older than the"
                f" {len(MIGRATIONS)} of this reflow, and it is opened read-only: open it once"
                " with write access to bring it up to date"
            )
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Again, now that nobody else can: another process may have been quicker.
            for statements in MIGRATIONS[self._version(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    def _version(self, connection: sqlite3.Connection) -> int:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if mark != APPLICATION_ID:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if mark or version or tables:
                raise StoreError(
                    f"store {self.path}: this is another program's database;"
                    " choose another store path"
                )
        if version > len(MIGRATIONS):
            raise StoreVersionError(
                f"store {self.path}: its schema is version {version}, written by a newer reflow;"
                f" this one knows versions up to {len(MIGRATIONS)}: upgrade reflow, or choose"
                " another store path"
            )
        return int(version)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, in a transaction so that all queries see one state."""
        self._notice_fork()
        with self._lock, self._errors():
            connection = self._open()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that no other writer shares."""
        self._notice_fork()
        with self._lock, self._errors():
            connection = self._open()
            if self.read_only:
                raise StoreError(
                    f"store {self.path} is opened read-only: open it without read_only to write"
                )
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    # Writing

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        """Add a run with its tasks, ``(name, is_array)`` each, in order."""
        _check_states([run.status], RUN_STATES)
        described = {
            "run_id": run.run_id,
            "graph_name": run.graph_name,
            "user_id": run.user_id,
            "created_at": run.created_at,
            "created": _microseconds(run.created_at, "created_at"),
            "run_dir": _stored(run.run_dir),
            "record": _stored(run.record),
            "status": run.status,
            "parameters": json.dumps(run.parameters, separators=(",", ":")),
            "executor": run.executor,
        }
        wanted = [(name, bool(array)) for name, array in tasks]
        with self._writing() as connection:
            found = connection.execute(
                "SELECT key FROM run WHERE run_id = ?", (run.run_id,)
            ).fetchone()
            if found:
                known = connection.execute(
                    "SELECT name, array FROM task WHERE run = ? ORDER BY key", found
                )
                if [(name, bool(array)) for name, array in known] == wanted:
                    columns = ", ".join(f"{name} = :{name}" for name in described)
                    connection.execute(
                        f"UPDATE run SET {columns} WHERE run_id = :run_id", described
                    )
                    return
                _drop(connection, found[0])
            columns = ", ".join(described)
            values = ", ".join(f":{name}" for name in described)
            key = connection.execute(
                f"INSERT INTO run ({columns}) VALUES ({values})", described
            ).lastrowid
            connection.executemany(
                "INSERT INTO task (run, name, array, size) VALUES (?, ?, ?, ?)",
                ((key, name, array, None if array else 1) for name, array in wanted),
            )

    def drop_run(self, run_id: str) -> None:
        """Forget a run and its results; one that is not there is no error."""
        with self._writing() as connection:
            found = connection.execute("SELECT key FROM run WHERE run_id = ?", (run_id,)).fetchone()
            if found:
                _drop(connection, found[0])

    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status, one of `reflow.states.RUN_STATES`."""
        _check_states([status], RUN_STATES)
        with self._writing() as connection:
            key = self._key(connection, run_id)
            connection.execute("UPDATE run SET status = ? WHERE key = ?", (status, key))

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
            _check_states([status], RUN_STATES)
        with self._writing() as connection:
            run, segment, offset = self._indexed(connection, run_id)
            if (position.segment, position.offset) < (segment, offset):
                return False
            keys: dict[str, int] = dict(
                connection.execute("SELECT name, key FROM task WHERE run = ?", (run,)).fetchall()
            )
            try:
                for name, size in sizes.items():
                    connection.execute("UPDATE task SET size = ? WHERE key = ?", (size, keys[name]))
                    # What was said of the array as a whole gives way to its elements.
                    connection.execute(
                        "DELETE FROM instance WHERE key = ?", (keys[name] << _SHIFT,)
                    )
                _put(connection, changes, keys)
                if live is not None:
                    _put_live(connection, live, keys)
            except KeyError as error:
                raise UnknownTaskError(
                    f"run {run_id}: {unknown_name('task', str(error.args[0]), keys)}"
                ) from None
            connection.execute(
                "UPDATE run SET status = coalesce(?, status), segment = ?, offset = ?"
                " WHERE key = ?",
                (status, position.segment, position.offset, run),
            )
        return True

    # Reading

    def position(self, run_id: str) -> Position:
        """Return how far the run's segments are indexed."""
        with self._reading() as connection:
            _, segment, offset = self._indexed(connection, run_id)
        return Position(segment, offset)

    def lookup(
        self, identities: Sequence[bytes | str], *, newest: bool = False
    ) -> dict[str, CachedResult]:
        """Return the successful results of these identities, keyed in hex; hits only."""
        wanted = {
            identity if isinstance(identity, bytes) else _digest(identity)
            for identity in identities
        }
        # In the order of the index, whose pages are then read once each.
        prefixes = sorted(int.from_bytes(identity[:_PREFIX], "big") for identity in wanted)
        found: dict[str, CachedResult] = {}
        with self._reading() as connection:
            # Keys grow with the runs that were added; so of one identity they say which is first.
            best: dict[bytes, tuple[Any, ...]] = {}
            tasks: dict[int, tuple[str, str, str]] = {}
            for start in range(0, len(prefixes), _CHUNK):
                chunk = prefixes[start : start + _CHUNK]
                rows = connection.execute(
                    "SELECT key, identity, digest, value, paths FROM instance"
                    f" WHERE result IN ({', '.join('?' * len(chunk))})",
                    chunk,
                ).fetchall()
                for row in rows:
                    rival = best.setdefault(row[1], row)
                    if rival is not row and (row[0] > rival[0]) == newest:
                        best[row[1]] = row
            for key, identity, digest, value, paths in best.values():
                if identity not in wanted:
                    continue
                task = key >> _SHIFT
                names = tasks.get(task)
                if names is None:
                    names = tasks[task] = self._names(connection, task)
                text = identity.hex()
                found[text] = CachedResult(
                    run_id=names[0],
                    record=names[1],
                    task=names[2],
                    index=max((key & 0xFFFFFFFF) - 1, 0),
                    identity=text,
                    digest=digest.hex() if digest else "",
                    value=_loaded(value),
                    paths=tuple(json.loads(paths)) if paths else (),
                )
        return found

    def list_runs(
        self,
        graph_name: str | None = None,
        limit: int | None = None,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
    ) -> list[RunRow]:
        """Return runs, newest first, created in ``since <= created_at < until``."""
        conditions: list[str] = []
        values: list[object] = []
        if graph_name is not None:
            conditions.append("graph_name = ?")
            values.append(graph_name)
        if since is not None:
            conditions.append("created >= ?")
            values.append(_microseconds(since, "since"))
        if until is not None:
            conditions.append("created < ?")
            values.append(_microseconds(until, "until"))
        if status is not None:
            _check_states([status], RUN_STATES)
            conditions.append("status = ?")
            values.append(status)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise QueryError(f"limit must be a whole number or None, not {limit!r}")
        if limit is not None and limit < 0:
            raise QueryError(f"limit must be 0 or more, or None for all runs, not {limit}")
        values.append(-1 if limit is None else limit)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_RUN_COLUMNS} FROM run {where} ORDER BY created DESC, key DESC LIMIT ?",
                values,
            ).fetchall()
        return [_run_row(row) for row in rows]

    def run(self, run_id: str) -> RunRow:
        """Return the run of that id, or of that unambiguous beginning of an id."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_RUN_COLUMNS} FROM run WHERE run_id = ?", (run_id,)
            ).fetchall()
            if not rows and run_id:
                rows = connection.execute(
                    f"SELECT {_RUN_COLUMNS} FROM run WHERE substr(run_id, 1, ?) = ?"
                    " ORDER BY created DESC LIMIT 6",
                    (len(run_id), run_id),
                ).fetchall()
            if not rows:
                raise self._unknown(connection, run_id)
        if len(rows) > 1:
            names = ", ".join(row[0] for row in rows[:5]) + (", …" if len(rows) > 5 else "")
            raise UnknownRunError(
                f"several runs begin with {run_id!r}: {names}: give more of the id"
            )
        return _run_row(rows[0])

    def tasks(self, run_id: str) -> list[TaskRow]:
        """Return the run's tasks in order."""
        with self._reading() as connection:
            rows = self._tasks(connection, run_id)
        return [TaskRow(name=name, array=array, size=size) for _, name, array, size in rows]

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many instances are in which state."""
        with self._reading() as connection:
            tasks = self._tasks(connection, run_id)
            counts: dict[int, dict[str, int]] = {key: {} for key, *_ in tasks}
            for key, state, count in connection.execute(
                f"SELECT key >> {_SHIFT}, state, count(*) FROM instance"
                " WHERE key BETWEEN ? AND ? GROUP BY 1, 2",
                _range(counts),
            ):
                counts[key][state] = count
        for key, _, _, size in tasks:
            states = counts[key]
            rest = (size or 0) - sum(states.values())
            if rest > 0:
                states[PENDING] = states.get(PENDING, 0) + rest
        return {name: counts[key] for key, name, _, _ in tasks}

    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Return the indexed instances in order of task and index."""
        wanted = None if states is None else sorted({*states})
        if wanted is not None:
            _check_states(wanted, INSTANCE_STATES)
        with self._reading() as connection:
            tasks = {key: (name, array) for key, name, array, _ in self._tasks(connection, run_id)}
            keys = [key for key, (name, _) in tasks.items() if task is None or name == task]
            if task is not None and not keys:
                names = [name for name, _ in tasks.values()]
                raise UnknownTaskError(f"run {run_id}: {unknown_name('task', task, names)}")
            condition = ""
            if wanted is not None:
                condition = f" AND state IN ({', '.join('?' * len(wanted))})"
            rows = connection.execute(
                "SELECT key, state, attempt, identity, digest, value, cause, detail, origin, job,"
                " started, ended, paths FROM instance"
                f" WHERE key BETWEEN ? AND ?{condition} ORDER BY key",
                (*_range(keys), *(wanted or ())),
            )
            with _collector_paused():
                return [_instance_row(tasks, row) for row in rows]

    def _names(self, connection: sqlite3.Connection, task: int) -> tuple[str, str, str]:
        run_id, record, name = connection.execute(
            "SELECT run_id, record, name FROM task JOIN run ON run.key = task.run"
            " WHERE task.key = ?",
            (task,),
        ).fetchone()
        return run_id, _loaded(record), name

    def _key(self, connection: sqlite3.Connection, run_id: str) -> int:
        return self._indexed(connection, run_id)[0]

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
        key = self._key(connection, run_id)
        return [
            (task, name, bool(array), size)
            for task, name, array, size in connection.execute(
                "SELECT key, name, array, size FROM task WHERE run = ? ORDER BY key", (key,)
            )
        ]

    def _unknown(self, connection: sqlite3.Connection, run_id: str) -> UnknownRunError:
        # Of a long history the latest are what a person may have meant.
        known = [
            name
            for (name,) in connection.execute(
                "SELECT run_id FROM run ORDER BY created DESC, key DESC LIMIT 1000"
            )
        ]
        close = nearest(run_id, known)
        hint = f"did you mean {close!r}? " if close else ""
        latest = f"the latest are {', '.join(known[:3])}" if known else "it knows no run yet"
        return UnknownRunError(f"no run {run_id!r} in the store {self.path}: {hint}({latest})")


def _roll_back(connection: sqlite3.Connection) -> None:
    # A failed COMMIT leaves the transaction open, a failed write may have ended it.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _range(tasks: Iterable[int]) -> tuple[int, int]:
    """Return the least and the greatest instance key of tasks of one run."""
    keys = list(tasks)
    if not keys:
        return (0, -1)
    return min(keys) << _SHIFT, ((max(keys) + 1) << _SHIFT) - 1


def _drop(connection: sqlite3.Connection, run: int) -> None:
    tasks = connection.execute("SELECT key FROM task WHERE run = ?", (run,)).fetchall()
    for table in ("instance", "live"):
        connection.execute(
            f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", _range(key for (key,) in tasks)
        )
    connection.execute("DELETE FROM task WHERE run = ?", (run,))
    connection.execute("DELETE FROM run WHERE key = ?", (run,))


def _put(connection: sqlite3.Connection, outcomes: Sequence[Outcome], keys: dict[str, int]) -> None:
    try:
        connection.executemany(_PUT, _rows(outcomes, keys, None))
    except UnicodeEncodeError:
        # Half of a surrogate pair is legal in a Python string but not in UTF-8.
        connection.executemany(_PUT, _rows(outcomes, keys, _stored))
    except ValueError as error:
        raise StoreError(f"an identity or digest must be given in hex: {error}") from None


def _put_live(
    connection: sqlite3.Connection, outcomes: Sequence[Outcome], keys: dict[str, int]
) -> None:
    """Let the instances under way be these, and forget the former ones."""
    span = _range(keys.values())
    connection.execute(
        "DELETE FROM instance WHERE key IN (SELECT key FROM live WHERE key BETWEEN ? AND ?)"
        " AND state IN ('PENDING', 'SUBMITTED', 'RUNNING')",
        span,
    )
    connection.execute("DELETE FROM live WHERE key BETWEEN ? AND ?", span)
    _put(connection, outcomes, keys)
    connection.executemany(
        "INSERT OR IGNORE INTO live VALUES (?)",
        (((keys[outcome.task] << _SHIFT) + outcome.index + 1,) for outcome in outcomes),
    )


def _rows(
    outcomes: Iterable[Outcome],
    keys: dict[str, int],
    convert: Callable[[str], str | bytes] | None,
) -> Iterator[tuple[object, ...]]:
    unhex, prefix = bytes.fromhex, int.from_bytes  # made a hundred thousand times
    for (
        task, index, attempt, state, identity, digest, value, paths, cause, detail, origin, job,
        started, ended,
    ) in outcomes:  # fmt: skip
        name = unhex(identity) if identity else None
        # A taken-over value that stands in a file has a copy here, which may be the last.
        found = state == SUCCESS or (state == CACHED and value is None)
        yield (
            (keys[task] << _SHIFT) + index + 1,
            state,
            attempt,
            started,
            ended,
            name,
            unhex(digest) if digest else None,
            prefix(name[:_PREFIX], "big") if name and found else None,
            cause or None,
            origin or None,
            job or None,
            json.dumps(paths) if paths else None,
            (detail if convert is None else convert(detail)) if detail else None,
            value if convert is None or value is None else convert(value),
        )


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise StoreError(f"an identity or digest must be given in hex, not as {text!r}") from None


def _stored(text: str) -> str | bytes:
    """Return text as SQLite can keep it; `_loaded` undoes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _loaded(value: _T | bytes) -> _T:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")  # type: ignore[return-value]
    return value


def _run_row(row: tuple[Any, ...]) -> RunRow:
    run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor = row
    return RunRow(
        run_id=run_id,
        graph_name=graph_name,
        user_id=user_id,
        created_at=created_at,
        run_dir=_loaded(run_dir),
        record=_loaded(record),
        status=status,
        parameters=json.loads(parameters),
        executor=executor,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from looking through ten thousand rows as they are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _instance_row(tasks: Mapping[int, tuple[str, bool]], row: tuple[Any, ...]) -> InstanceRow:
    (
        key, state, attempt, identity, digest, value, cause, detail, origin, job,
        started, ended, paths,
    ) = row  # fmt: skip
    name, array = tasks[key >> _SHIFT]
    element = (key & 0xFFFFFFFF) - 1
    return InstanceRow(
        name,
        element if array and element >= 0 else None,
        state,
        attempt,
        identity.hex() if identity else "",
        digest.hex() if digest else "",
        _loaded(value),
        value is None and digest is not None,
        cause or "",
        _loaded(detail) or "",
        origin or "",
        job or "",
        started,
        ended,
        tuple(json.loads(paths)) if paths else (),
    )


def _check_states(given: Iterable[str], allowed: Sequence[str]) -> None:
    for state in given:
        if state not in allowed:
            close = nearest(str(state).upper(), allowed)
            hint = f"did you mean {close!r}? " if close else ""
            raise QueryError(f"no status {state!r}: {hint}(allowed: {', '.join(allowed)})")


def _microseconds(text: str, name: str) -> int:
    """Return an ISO-8601 date or datetime as microseconds since the epoch; naive is UTC."""
    # Python 3.10 knows no "Z".
    plain = text[:-1] + "+00:00" if isinstance(text, str) and text[-1:] in "Zz" else text
    try:
        moment = datetime.fromisoformat(plain)
    except (TypeError, ValueError):
        raise QueryError(
            f"{name} must be an ISO-8601 date or datetime such as '2026-04-01' or"
            f" '2026-04-01T12:00:00+02:00', not {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(microseconds=1)
