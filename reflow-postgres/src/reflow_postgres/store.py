"""The PostgreSQL store: the index over a team's runs on a database server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from reflow.errors import ReflowError, UnknownRunError, UnknownTaskError, unknown_name
from reflow.states import ENDED, FAILED, INSTANCE_STATES, LIVE, RUN_STATES
from reflow.storage.stores.queries import (
    check_limit,
    check_states,
    collector_paused,
    filters,
    microseconds,
    several_runs,
    summary_of,
    unknown_run,
)
from reflow.stores.base import (
    WHOLE_TASK,
    CachedResult,
    InstanceRow,
    Outcome,
    Position,
    Reservation,
    RunRow,
    Store,
    TaskRow,
    Underway,
)

from .address import Address, address_of
from .reserved import give_up, reserve
from .rows import (
    INSTANCE_COLUMNS,
    PUT,
    RUN_COLUMNS,
    columns_of,
    digest_of,
    instance_row,
    loaded,
    run_row,
    stored,
)
from .schema import inconsistencies
from .session import Connection, Session


class PostgresStore(Store):
    """An index over runs in a PostgreSQL database, at ``postgresql://user@host/database``.

    The tables are in the schema that ``?schema=`` names ("reflow"), and are made on first
    use. A password in the URL is used and shown nowhere; a later process that opens the
    store finds it in the configuration's URL, or where libpq looks (~/.pgpass, PGPASSWORD).
    May be used from several threads, which take turns, and after a fork.
    """

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        self._session = Session(self._address, lambda: configured_password(self._address))

    @property
    def url(self) -> str:
        """What opens this store elsewhere, without the password."""
        return self._address.url

    @classmethod
    def from_url(cls, url: str) -> PostgresStore:
        """Return the store of a ``postgresql://…`` or ``postgres://…`` URL."""
        return cls(url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __getstate__(self) -> dict[str, object]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        PostgresStore.__init__(self, **state)

    def close(self) -> None:
        """Let the connection go; the next call makes another."""
        self._session.close()

    def check(self) -> list[str]:
        """Return what the rows say that cannot be; the server looks after its files itself."""
        return self._session.read(inconsistencies)

    # Writing

    def add_run(self, run: RunRow, tasks: Sequence[tuple[str, bool]]) -> None:
        """Add a run with its tasks, ``(name, is_array)`` each, in order."""
        described = _described(run)
        self._session.write(lambda connection: _add(connection, described, tasks))

    def drop_run(self, run_id: str) -> None:
        """Forget a run and its results; one that is not there is no error."""
        self._session.write(lambda connection: _drop(connection, run_id))

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

        def change(connection: Connection) -> bool:
            found = _locked(connection, run.run_id)
            if found is not None and found[1:] > (position.segment, position.offset):
                return False
            key = _add(connection, described, tasks)
            _forget_instances(connection, key)
            _apply(connection, key, run.run_id, changes, sizes, run.status, position, None)
            return True

        return self._session.write(change)

    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status, one of `reflow.states.RUN_STATES`."""
        check_states([status], RUN_STATES)

        def change(connection: Connection) -> None:
            row = connection.execute(
                "UPDATE run SET status = %s WHERE run_id = %s RETURNING key",
                (status, stored(run_id)),
            ).fetchone()
            if row is None:
                raise self._unknown(connection, run_id)
            if status in ENDED:
                give_up(connection, row[0])

        self._session.write(change)

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

        def change(connection: Connection) -> bool:
            found = _locked(connection, run_id)
            if found is None:
                raise self._unknown(connection, run_id)
            if (position.segment, position.offset) < found[1:]:
                return False
            _apply(connection, found[0], run_id, changes, sizes, status, position, live)
            return True

        return self._session.write(change)

    def reserve(self, run_id: str, wanted: Sequence[Reservation]) -> dict[str, Underway]:
        """Reserve instances for a run; return, by identity, those that another run has."""
        if not wanted:
            return {}

        def change(connection: Connection) -> dict[str, Underway]:
            found = _locked(connection, run_id)
            if found is None:
                raise self._unknown(connection, run_id)
            return reserve(connection, found[0], wanted)

        return self._session.write(change)

    # Reading

    def position(self, run_id: str) -> Position:
        """Return how far the run's segments are indexed."""

        def query(connection: Connection) -> Position:
            row = connection.execute(
                "SELECT segment, position FROM run WHERE run_id = %s", (stored(run_id),)
            ).fetchone()
            if row is None:
                raise self._unknown(connection, run_id)
            return Position(*row)

        return self._session.read(query)

    def lookup(
        self,
        identities: Sequence[bytes | str],
        *,
        newest: bool = False,
        besides: Collection[str] = (),
    ) -> dict[str, CachedResult]:
        """Return the successful results of these identities, keyed in hex; hits only."""
        wanted = [
            one if isinstance(one, bytes) else digest_of(one) for one in dict.fromkeys(identities)
        ]
        if not wanted:
            return {}
        with collector_paused():
            rows = self._session.read(lambda connection: _found(connection, wanted, besides))
            # Keys grow with every run that is added, so the greatest is of the newest.
            rows.sort(key=lambda row: row[:3], reverse=not newest)
            return {
                (text := identity.hex()): CachedResult(
                    loaded(run_id),
                    loaded(record),
                    loaded(name),
                    max(element, 0),
                    text,
                    digest.hex() if digest else "",
                    None if value is None else loaded(value),
                    tuple(json.loads(loaded(paths))) if paths else (),
                    tuple(json.loads(prints)) if prints else (),
                )
                for _, _, element, identity, digest, value, paths, prints, run_id, record, name
                in rows
            }

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
        where = " AND ".join(f"{comparison} %s" for comparison, _ in chosen) or "true"
        values = [
            *(stored(value) if isinstance(value, str) else value for _, value in chosen), limit
        ]  # fmt: skip
        rows = self._session.read(
            lambda connection: connection.execute(
                f"SELECT {RUN_COLUMNS} FROM run WHERE {where}"
                " ORDER BY created DESC, key DESC LIMIT %s",
                values,
            ).fetchall()
        )
        return [run_row(row) for row in rows]

    def run(self, run_id: str) -> RunRow:
        """Return the run of that id, or of that unambiguous beginning of an id."""

        def query(connection: Connection) -> list[tuple[Any, ...]]:
            given = stored(run_id)
            rows = connection.execute(
                f"SELECT {RUN_COLUMNS} FROM run WHERE run_id = %s", (given,)
            ).fetchall()
            if not rows and run_id:
                rows = connection.execute(
                    f"SELECT {RUN_COLUMNS} FROM run WHERE left(run_id, %s) = %s"
                    " ORDER BY created DESC LIMIT 6",
                    (len(given), given),
                ).fetchall()
            if not rows:
                raise self._unknown(connection, run_id)
            return rows

        rows = self._session.read(query)
        if len(rows) > 1:
            raise several_runs(run_id, [row[0] for row in rows])
        return run_row(rows[0])

    def tasks(self, run_id: str) -> list[TaskRow]:
        """Return the run's tasks in order."""
        rows = self._session.read(lambda connection: self._tasks(connection, run_id))
        return [TaskRow(name=name, array=array, size=size) for _, name, array, size in rows]

    def summary(self, run_id: str) -> dict[str, dict[str, int]]:
        """Return by task, in order, how many instances are in which state."""

        def query(connection: Connection) -> dict[str, dict[str, int]]:
            tasks = self._tasks(connection, run_id)
            names = {key: name for key, name, _, _ in tasks}
            counted: dict[str, dict[str, int]] = {}
            for key, state, number in connection.execute(
                "SELECT task, state, number FROM tally WHERE task = ANY(%s) AND number > 0",
                ([*names],),
            ):
                counted.setdefault(names[key], {})[state] = number
            rows = [TaskRow(name=name, array=array, size=size) for _, name, array, size in tasks]
            return summary_of(rows, counted)

        return self._session.read(query)

    def out_of_cache(self, run_id: str) -> dict[str, int]:
        """Return by task how many successes no look-up finds."""

        def query(connection: Connection) -> dict[str, int]:
            names = {key: name for key, name, _, _ in self._tasks(connection, run_id)}
            counted = connection.execute(
                "SELECT task, count(*) FROM instance WHERE task = ANY(%s)"
                " AND state = 'SUCCESS' AND identity IS NULL GROUP BY task",
                ([*names],),
            )
            return {names[key]: number for key, number in counted}

        return self._session.read(query)

    def instances(
        self, run_id: str, task: str | None = None, states: Iterable[str] | None = None
    ) -> list[InstanceRow]:
        """Return the indexed instances in order of task and index."""
        wanted = None if states is None else sorted({*states})
        if wanted is not None:
            check_states(wanted, INSTANCE_STATES)

        def query(connection: Connection) -> list[InstanceRow]:
            tasks = {key: (name, array) for key, name, array, _ in self._tasks(connection, run_id)}
            keys = [key for key, (name, _) in tasks.items() if task is None or name == task]
            if task is not None and not keys:
                names = [name for name, _ in tasks.values()]
                raise UnknownTaskError(f"run {run_id}: {unknown_name('task', task, names)}")
            condition, values = "", []
            if wanted == [FAILED]:  # so written, they have an index of their own
                condition = " AND state = 'FAILED'"
            elif wanted is not None:
                condition, values = " AND state = ANY(%s)", [wanted]
            found: list[InstanceRow] = []
            for key in keys:  # in the order of the tasks
                rows = connection.cursor(binary=True).execute(
                    f"SELECT {INSTANCE_COLUMNS} FROM instance WHERE task = %s{condition}"
                    " ORDER BY element",
                    [key, *values],
                )
                found.extend(instance_row(tasks, row) for row in rows)
            return found

        with collector_paused():
            return self._session.read(query)

    def _tasks(
        self, connection: Connection, run_id: str
    ) -> list[tuple[int, str, bool, int | None]]:
        row = connection.execute(
            "SELECT key FROM run WHERE run_id = %s", (stored(run_id),)
        ).fetchone()
        if row is None:
            raise self._unknown(connection, run_id)
        return [
            (key, loaded(name), array, size)
            for key, name, array, size in connection.execute(
                "SELECT key, name, is_array, size FROM task WHERE run = %s ORDER BY place", row
            )
        ]

    def _unknown(self, connection: Connection, run_id: str) -> UnknownRunError:
        known = [
            loaded(name)
            for (name,) in connection.execute(
                "SELECT run_id FROM run ORDER BY created DESC, key DESC LIMIT 1000"
            )
        ]
        return unknown_run(run_id, known, self._address.described())


_RESULTS = (
    "SELECT run.key, task.key, element, identity, digest, value, paths, prints, run_id,"
    " record, name"
    " FROM instance JOIN task ON task.key = instance.task JOIN run ON run.key = task.run"
)


def _found(
    connection: Connection, wanted: list[bytes], besides: Collection[str]
) -> list[tuple[Any, ...]]:
    """Return the results of these identities in all runs but some."""
    cursor = connection.cursor(binary=True)
    others = [stored(one) for one in besides]
    rows = cursor.execute(
        f"{_RESULTS} WHERE found AND identity = ANY(%s) AND run_id <> ALL(%s)", (wanted, others)
    ).fetchall()
    if not others:
        return rows
    # And what was taken over from those.
    return rows + cursor.execute(
        f"{_RESULTS} WHERE origin = ANY(%s) AND origin <> '' AND NOT found AND state = 'CACHED'"
        " AND identity = ANY(%s) AND run_id <> ALL(%s)",
        (others, wanted, others),
    ).fetchall()


def configured_password(address: Address) -> str | None:
    """Return the password of the configuration's URL, if that is of this place.

    So a process that opens the store by the URL on record has it too.
    """
    from reflow.config import load_config

    try:
        url = load_config().store.url
        other = address_of(url) if url else None
    except ReflowError:
        return None
    return other.password if other is not None and other.url == address.url else None


def _described(run: RunRow) -> dict[str, object]:
    check_states([run.status], RUN_STATES)
    return {
        "run_id": stored(run.run_id),
        "graph_name": stored(run.graph_name),
        "user_id": stored(run.user_id),
        "created_at": run.created_at,
        "created": microseconds(run.created_at, "created_at"),
        "run_dir": stored(run.run_dir),
        "record": stored(run.record),
        "status": run.status,
        "parameters": json.dumps(run.parameters, separators=(",", ":")),
        "executor": stored(run.executor),
    }


def _locked(connection: Connection, run_id: str) -> tuple[int, int, int] | None:
    """Return a run's key and position; nobody else changes it in this transaction."""
    return connection.execute(
        "SELECT key, segment, position FROM run WHERE run_id = %s FOR UPDATE", (stored(run_id),)
    ).fetchone()


def _add(
    connection: Connection, described: dict[str, object], tasks: Sequence[tuple[str, bool]]
) -> int:
    """Add a run, or describe it anew; return its key."""
    wanted = [(name, bool(array)) for name, array in tasks]
    run_id = loaded(str(described["run_id"]))
    columns = ", ".join(described)
    values = ", ".join(f"%({name})s" for name in described)
    updates = ", ".join(f"{name} = excluded.{name}" for name in described)
    row = connection.execute(
        f"INSERT INTO run ({columns}) VALUES ({values})"
        f" ON CONFLICT (run_id) DO UPDATE SET {updates} RETURNING key, xmax = 0",
        described,
    ).fetchone()
    assert row is not None
    key, is_new = row
    if not is_new:
        known = connection.execute(
            "SELECT name, is_array FROM task WHERE run = %s ORDER BY place", (key,)
        ).fetchall()
        if [(loaded(name), array) for name, array in known] == wanted:
            return int(key)
        _drop(connection, run_id)
        return _add(connection, described, tasks)
    if wanted:
        connection.execute(
            "INSERT INTO task (run, place, name, is_array, size)"
            " SELECT %s, place - 1, name, is_array, CASE WHEN is_array THEN NULL ELSE 1 END"
            " FROM unnest(%s::text[], %s::boolean[]) WITH ORDINALITY AS t (name, is_array, place)"
            " ORDER BY place",
            (key, [stored(name) for name, _ in wanted], [array for _, array in wanted]),
        )
    return int(key)


def _drop(connection: Connection, run_id: str) -> None:
    found = _locked(connection, run_id)
    if found is None:
        return
    # Its results are found, from now on, in the runs that took them over.
    connection.execute(
        "UPDATE instance SET found = true WHERE origin = %s AND origin <> '' AND NOT found"
        " AND state = 'CACHED' AND identity IS NOT NULL",
        (stored(run_id),),
    )
    key = found[0]
    give_up(connection, key)
    _forget_instances(connection, key)
    connection.execute("DELETE FROM task WHERE run = %s", (key,))
    connection.execute("DELETE FROM run WHERE key = %s", (key,))


def _forget_instances(connection: Connection, run: int) -> None:
    for table in ("instance", "tally"):
        connection.execute(
            f"DELETE FROM {table} WHERE task IN (SELECT key FROM task WHERE run = %s)", (run,)
        )


def _apply(
    connection: Connection,
    run: int,
    run_id: str,
    changes: Sequence[Outcome],
    sizes: Mapping[str, int],
    status: str | None,
    position: Position,
    live: Sequence[Outcome] | None,
) -> None:
    keys = {
        loaded(name): int(key)
        for name, key in connection.execute("SELECT name, key FROM task WHERE run = %s", (run,))
    }
    for name in (*sizes, *(one.task for one in changes), *(one.task for one in live or ())):
        if name not in keys:
            raise UnknownTaskError(f"run {run_id}: {unknown_name('task', name, keys)}")
    tally: Counter[tuple[int, str]] = Counter()

    def delete(condition: str, *values: object) -> None:
        rows = connection.execute(
            f"WITH gone AS (DELETE FROM instance WHERE {condition} RETURNING task, state)"
            " SELECT task, state, count(*) FROM gone GROUP BY task, state",
            values,
        )
        for task, state, number in rows:
            tally[task, state] -= number

    for name, size in sizes.items():
        connection.execute("UPDATE task SET size = %s WHERE key = %s", (size, keys[name]))
        # What was said of the array as a whole gives way to its elements.
        delete("task = %s AND element = %s", keys[name], WHOLE_TASK)
    _put(connection, changes, keys, tally)
    if live is not None:
        states = ", ".join(f"'{state}'" for state in LIVE)  # so written, they have an index
        delete(f"task = ANY(%s) AND state IN ({states})", list(keys.values()))
        _put(connection, live, keys, tally)
    _count(connection, tally)
    connection.execute(
        "UPDATE run SET status = coalesce(%s, status), segment = %s, position = %s WHERE key = %s",
        (status, position.segment, position.offset, run),
    )
    if status in ENDED:
        give_up(connection, run)
    else:
        give_up(connection, run, [(keys[one.task], one.index) for one in changes])


def _put(
    connection: Connection,
    outcomes: Sequence[Outcome],
    keys: Mapping[str, int],
    tally: Counter[tuple[int, str]],
) -> None:
    last = {(one.task, one.index): one for one in outcomes}
    if not last:
        return
    columns = columns_of(last.values(), keys, _gone(connection, last.values()))
    before = connection.execute(
        "SELECT task, state, count(*) FROM instance"
        " JOIN unnest(%s::bigint[], %s::bigint[]) AS given (task, element) USING (task, element)"
        " GROUP BY task, state",
        columns[:2],
    )
    for task, state, number in before:
        tally[task, state] -= number
    connection.execute(PUT, columns)
    tally.update(zip(columns[0], columns[2], strict=True))


def _gone(connection: Connection, outcomes: Iterable[Outcome]) -> frozenset[str]:
    """Return the runs that results are from and that the store does not know (any more)."""
    origins = {one.origin for one in outcomes if one.origin}
    if not origins:
        return frozenset()
    # Locked, so that none is dropped without noticing these.
    rows = connection.execute(
        "SELECT run_id FROM run WHERE run_id = ANY(%s) ORDER BY key FOR KEY SHARE",
        ([stored(one) for one in sorted(origins)],),
    )
    return frozenset(origins - {loaded(run_id) for (run_id,) in rows})


def _count(connection: Connection, tally: Mapping[tuple[int, str], int]) -> None:
    changed = [(*key, number) for key, number in sorted(tally.items()) if number]
    if changed:
        tasks, states, numbers = zip(*changed, strict=True)
        connection.execute(
            "INSERT INTO tally (task, state, number)"
            " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[])"
            " ON CONFLICT (task, state) DO UPDATE SET number = tally.number + excluded.number",
            (list(tasks), list(states), list(numbers)),
        )
