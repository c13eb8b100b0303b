"""What stores in SQL databases have in common: all methods, but for a few statements."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ...states import CACHED, ENDED, FAILED, INSTANCE_STATES, RUN_STATES, SUCCESS
from ..collector_pause import collector_paused
from ..outcome import Outcome
from .base import (
    CachedResult,
    InstanceRow,
    Position,
    Reservation,
    RunRow,
    Store,
    TaskRow,
    Underway,
)
from .queries import (
    check_limit,
    check_states,
    digest_of,
    microseconds,
    run_filters,
    several_runs,
    summary_of,
    unknown_run,
    unknown_task,
)

C = TypeVar("C")
T = TypeVar("T")

_RUN_COLUMNS = (
    "run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor"
)


class Update(NamedTuple):
    """What a run's record says up to `position`: see `Store.apply`."""

    changes: Sequence[Outcome]
    sizes: Mapping[str, int]
    status: str | None
    position: Position
    live: Sequence[Outcome] | None = None


class RunKey(NamedTuple):
    """The key of a run's row, and how far the run is indexed."""

    key: int
    position: Position


class TaskKey(NamedTuple):
    """A task of a run, with the key of its row."""

    key: int
    name: str
    array: bool
    size: int | None

    @property
    def row(self) -> TaskRow:
        """The task as stores show it."""
        return TaskRow(name=self.name, array=self.array, size=self.size)


def is_found(state: str, value: str | None, origin: str, gone: Collection[str]) -> bool:
    """Whether a result is found by its identity; `gone` are runs that the store does not have.

    Of a result that was taken over the first copy is found, as long as its run is there. But a
    value that stands in a file has a copy here, which may be the last. And a result without an
    origin is nowhere else under this identity.
    """
    return state == SUCCESS or (
        state == CACHED and (value is None or not origin or origin in gone)
    )


def names_of(reservation: Reservation) -> list[str]:
    """Return the names, in hex, under which an instance may be reserved."""
    return [name for name in (reservation.identity, reservation.lineage) if name]


class SqlStore(Store, Generic[C]):
    """Base of the stores in SQL databases; `C` is a connection.

    Statements here have "?" for their values. A subclass says how a transaction is made, how
    texts stand in rows, and what it keeps of outcomes and reservations. Its tables `run` and
    `task` have the columns that are named here.
    """

    _offset_column: ClassVar[str]
    _row_lock: ClassVar[str] = ""
    """What is added to a query of a row that nobody else may change in this transaction."""
    _task_query: ClassVar[str]
    """Selects key, name, whether it is an array, and size of the tasks of a run, in order."""

    # How a database is asked

    @property
    @abstractmethod
    def _place(self) -> str:
        """What errors call this store."""

    @abstractmethod
    def _read(self, query: Callable[[C], T]) -> T:
        """Return what `query` returns; all its questions see one state. It may be asked again."""

    @abstractmethod
    def _write(self, change: Callable[[C], T]) -> T:
        """Return what `change` returns, once all that it did is there for everybody."""

    @abstractmethod
    def _execute(self, connection: C, statement: str, values: Sequence[object] = ()) -> Any:
        """Execute a statement; return a cursor over its rows."""

    @staticmethod
    @abstractmethod
    def _stored(text: str, /) -> Any:
        """Return text as the database can keep it."""

    @staticmethod
    @abstractmethod
    def _loaded(value: Any, /) -> str:
        """Return text as it was before `_stored`."""

    # What is different in each database

    @abstractmethod
    def _add(
        self, connection: C, columns: dict[str, object], tasks: Sequence[tuple[str, bool]]
    ) -> int:
        """Add a run, or update it where it has the same tasks; return its key."""

    @abstractmethod
    def _drop(self, connection: C, run: int, run_id: str) -> None:
        """Take out a run, and have its results found in the runs that took them over."""

    @abstractmethod
    def _forget_instances(self, connection: C, run: int) -> None:
        """Take out all instances of a run."""

    @abstractmethod
    def _index(self, connection: C, run: int, keys: Mapping[str, int], update: Update) -> None:
        """Enter what an update says of a run's instances; `keys` are the tasks'."""

    @abstractmethod
    def _reserve(
        self, connection: C, run: int, reservations: Sequence[Reservation]
    ) -> dict[str, Underway]:
        """Reserve what is free; return by identity the instances that have the others."""

    @abstractmethod
    def _give_up(
        self, connection: C, run: int, instances: Iterable[tuple[int, int]] | None = None
    ) -> None:
        """Free the reservations of some (task key, element) of a run; by default all."""

    @abstractmethod
    def _count_out_of_cache(
        self, connection: C, tasks: Sequence[int]
    ) -> Iterable[tuple[int, int]]:
        """Yield (task key, number of successes without an identity)."""

    @abstractmethod
    def _instances(
        self, connection: C, tasks: Sequence[TaskKey], condition: str
    ) -> list[InstanceRow]:
        """Return the instances of tasks, in order, that meet a further " AND …" condition."""

    @abstractmethod
    def _results(
        self, connection: C, identities: Sequence[bytes], newest: bool, besides: Collection[str]
    ) -> dict[str, CachedResult]:
        """Return the results that `Store.lookup` is asked for."""

    # Writing

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        """Add a run with its tasks, ``(name, is_array)`` each, in order."""
        columns = self._columns(run)
        self._write(lambda connection: self._add(connection, columns, tasks))

    def drop_run(self, run_id: str) -> None:
        """Forget a run and its results; one that is not there is no error."""

        def change(connection: C) -> None:
            run = self._find_run(connection, run_id, lock=True)
            if run is not None:
                self._drop(connection, run.key, run_id)

        self._write(change)

    def replace_run(
        self,
        run: RunRow,
        tasks: Sequence[tuple[str, bool]],
        changes: Sequence[Outcome],
        sizes: Mapping[str, int],
        position: Position,
    ) -> bool:
        """Index a run anew, in one transaction; among the runs it keeps its place."""
        columns = self._columns(run)
        update = Update(changes, sizes, run.status, position)

        def change(connection: C) -> bool:
            indexed = self._find_run(connection, run.run_id, lock=True)
            if indexed is not None and indexed.position > position:
                return False
            key = self._add(connection, columns, tasks)
            self._forget_instances(connection, key)
            self._apply(connection, key, run.run_id, update)
            return True

        return self._write(change)

    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status, one of `reflow.states.RUN_STATES`."""
        check_states([status], RUN_STATES)

        def change(connection: C) -> None:
            run = self._known_run(connection, run_id, lock=True)
            self._execute(connection, "UPDATE run SET status = ? WHERE key = ?", (status, run.key))
            if status in ENDED:
                self._give_up(connection, run.key)

        self._write(change)

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
        update = Update(changes, sizes, status, position, live)

        def change(connection: C) -> bool:
            # Locked before it is compared: two passes over one run may write at the same time.
            run = self._known_run(connection, run_id, lock=True)
            if position < run.position:
                return False
            self._apply(connection, run.key, run_id, update)
            return True

        return self._write(change)

    def _apply(self, connection: C, run: int, run_id: str, update: Update) -> None:
        changes, sizes, status, position, live = update
        rows = self._execute(connection, "SELECT name, key FROM task WHERE run = ?", (run,))
        keys = {self._loaded(name): int(key) for name, key in rows}
        # Before anything is entered, so that an error names the task and not a missing key.
        for task in {*sizes, *(outcome.task for outcome in (*changes, *(live or ())))}:
            if task not in keys:
                raise unknown_task(run_id, task, keys)
        self._index(connection, run, keys, update)
        self._execute(
            connection,
            f"UPDATE run SET status = coalesce(?, status), segment = ?, {self._offset_column} = ?"
            " WHERE key = ?",
            (status, position.segment, position.offset, run),
        )
        if status in ENDED:
            self._give_up(connection, run)
        else:
            settled = ((keys[outcome.task], outcome.index) for outcome in changes)
            self._give_up(connection, run, settled)

    def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
        """Reserve instances for a run; return, by identity, those that another run has."""
        if not wanted:
            return {}

        def change(connection: C) -> dict[str, Underway]:
            run = self._known_run(connection, run_id, lock=True)
            return self._reserve(connection, run.key, wanted)

        return self._write(change)

    def _columns(self, run: RunRow) -> dict[str, object]:
        """Return what the table of runs says of a run. Raises `QueryError`."""
        check_states([run.status], RUN_STATES)
        return {
            "run_id": self._stored(run.run_id),
            "graph_name": self._stored(run.graph_name),
            "user_id": self._stored(run.user_id),
            "created_at": run.created_at,
            "created": microseconds(run.created_at, "created_at"),
            "run_dir": self._stored(run.run_dir),
            "record": self._stored(run.record),
            "status": run.status,
            "parameters": json.dumps(run.parameters, separators=(",", ":")),
            "executor": self._stored(run.executor),
        }

    # Reading

    def position(self, run_id: str) -> Position:
        """Return how far the run's segments are indexed."""
        return self._read(lambda connection: self._known_run(connection, run_id)).position

    def lookup(
        self,
        identities: Sequence[bytes | str],
        *,
        newest: bool = False,
        besides: Collection[str] = (),
    ) -> dict[str, CachedResult]:
        """Return the successful results of these identities, keyed in hex; hits only."""
        names = [
            identity if isinstance(identity, bytes) else digest_of(identity)
            for identity in dict.fromkeys(identities)
        ]
        if not names:
            return {}
        with collector_paused():
            return self._read(
                lambda connection: self._results(connection, names, newest, besides)
            )

    def list_runs(
        self,
        graph_name: str | None = None,
        limit: int | None = None,
        since: str | None = None,
        until: str | None = None,
        status: str | None = None,
    ) -> list[RunRow]:
        """Return runs, newest first, created in ``since <= created_at < until``."""
        conditions = run_filters(graph_name, since, until, status)
        check_limit(limit)
        values = [
            self._stored(value) if isinstance(value, str) else value for _, value in conditions
        ]
        where = " AND ".join(f"{comparison} ?" for comparison, _ in conditions) or "true"
        query = f"SELECT {_RUN_COLUMNS} FROM run WHERE {where} ORDER BY created DESC, key DESC"
        if limit is not None:
            query += " LIMIT ?"
            values.append(limit)
        rows = self._read(lambda connection: self._execute(connection, query, values).fetchall())
        return [self._run_row(row) for row in rows]

    def run(self, run_id: str) -> RunRow:
        """Return the run of that id, or of that unambiguous beginning of an id."""
        select = f"SELECT {_RUN_COLUMNS} FROM run WHERE"
        text = self._stored(run_id)

        def query(connection: C) -> list[tuple[Any, ...]]:
            rows = self._execute(connection, f"{select} run_id = ?", (text,)).fetchall()
            if not rows and run_id:
                # One more than the error names.
                rows = self._execute(
                    connection,
                    f"{select} substr(run_id, 1, ?) = ? ORDER BY created DESC LIMIT 6",
                    (len(text), text),
                ).fetchall()
            if not rows:
                raise self._unknown(connection, run_id)
            matches: list[tuple[Any, ...]] = rows
            return matches

        runs = [self._run_row(row) for row in self._read(query)]
        if len(runs) > 1:
            raise several_runs(run_id, [run.run_id for run in runs])
        return runs[0]

    def tasks(self, run_id: str) -> list[TaskRow]:
        """Return the run's tasks in order."""
        tasks = self._read(lambda connection: self._tasks(connection, run_id))
        return [task.row for task in tasks]

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many instances are in which state."""

        def query(connection: C) -> dict[str, dict[str, int]]:
            tasks = self._tasks(connection, run_id)
            counts: dict[str, dict[str, int]] = {task.name: {} for task in tasks}
            for name, state, number in self._execute(
                connection,
                "SELECT name, state, number FROM tally JOIN task ON task.key = tally.task"
                " JOIN run ON run.key = task.run WHERE run_id = ? AND number > 0",
                (self._stored(run_id),),
            ):
                counts[self._loaded(name)][state] = number
            return summary_of((task.row for task in tasks), counts)

        return self._read(query)

    def out_of_cache(self, run_id: str) -> dict[str, int]:
        """Return by task how many successes no look-up finds."""

        def query(connection: C) -> dict[str, int]:
            names = {task.key: task.name for task in self._tasks(connection, run_id)}
            counts = self._count_out_of_cache(connection, list(names))
            return {names[key]: number for key, number in counts}

        return self._read(query)

    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Return the indexed instances in order of task and index."""
        condition = _condition_on(states)

        def query(connection: C) -> list[InstanceRow]:
            tasks = self._tasks(connection, run_id)
            chosen = [row for row in tasks if task is None or row.name == task]
            if task is not None and not chosen:
                raise unknown_task(run_id, task, [row.name for row in tasks])
            return self._instances(connection, chosen, condition)

        with collector_paused():
            return self._read(query)

    # Rows

    def _find_run(self, connection: C, run_id: str, *, lock: bool = False) -> RunKey | None:
        """Return a run; with `lock`, nobody else changes it in this transaction."""
        row = self._execute(
            connection,
            f"SELECT key, segment, {self._offset_column} FROM run WHERE run_id = ?"
            f"{self._row_lock if lock else ''}",
            (self._stored(run_id),),
        ).fetchone()
        return None if row is None else RunKey(row[0], Position(*row[1:]))

    def _known_run(self, connection: C, run_id: str, *, lock: bool = False) -> RunKey:
        run = self._find_run(connection, run_id, lock=lock)
        if run is None:
            raise self._unknown(connection, run_id)
        return run

    def _unknown(self, connection: C, run_id: str) -> Exception:
        rows = self._execute(
            connection, "SELECT run_id FROM run ORDER BY created DESC, key DESC LIMIT 1000"
        )
        return unknown_run(run_id, [self._loaded(name) for (name,) in rows], self._place)

    def _tasks(self, connection: C, run_id: str) -> list[TaskKey]:
        run = self._known_run(connection, run_id)
        rows = self._execute(connection, self._task_query, (run.key,))
        return [
            TaskKey(key, self._loaded(name), bool(array), size) for key, name, array, size in rows
        ]

    def _run_row(self, row: tuple[Any, ...]) -> RunRow:
        (
            run_id, graph_name, user_id, created_at, run_dir, record, status, parameters, executor,
        ) = row  # fmt: skip
        return RunRow(
            run_id=self._loaded(run_id),
            graph_name=self._loaded(graph_name),
            user_id=self._loaded(user_id),
            created_at=created_at,
            run_dir=self._loaded(run_dir),
            record=self._loaded(record),
            status=status,
            parameters=json.loads(parameters),
            executor=self._loaded(executor),
        )


def _condition_on(states: Iterable[str] | None) -> str:
    """Return the SQL condition that an instance is in one of these states. Raises `QueryError`."""
    if states is None:
        return ""
    chosen = sorted({*states})
    check_states(chosen, INSTANCE_STATES)
    if chosen == [FAILED]:
        return f" AND state = '{FAILED}'"  # so written, it has an index of its own
    return f" AND state IN ({', '.join(map(repr, chosen))})" if chosen else " AND false"
