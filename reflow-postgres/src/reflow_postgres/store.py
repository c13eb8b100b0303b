"""The PostgreSQL store: the index over a team's runs on a database server.

`reflow.storage.stores.sql` has the methods; here are the statements on outcomes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from reflow.errors import ReflowError
from reflow.states import LIVE
from reflow.storage.stores.sql import SqlStore, TaskKey, Update
from reflow.stores.base import WHOLE_TASK, CachedResult, InstanceRow, Outcome

from .address import Address, address_of
from .reserved import give_up, reserve
from .rows import INSTANCE_COLUMNS, PUT, columns_of, instance_row, loaded, stored
from .schema import inconsistencies
from .session import Connection, Session

T = TypeVar("T")


class PostgresStore(SqlStore[Connection]):
    """An index over runs in a PostgreSQL database, at ``postgresql://user@host/database``.

    The tables are in the schema that ``?schema=`` names ("reflow"), and are made on first
    use. A password in the URL is used and shown nowhere; a later process that opens the
    store finds it in the configuration's URL, or where libpq looks (~/.pgpass, PGPASSWORD).
    May be used from several threads, which take turns, and after a fork.
    """

    _offset_column = "position"
    _row_lock = " FOR UPDATE"
    _task_query = "SELECT key, name, is_array, size FROM task WHERE run = ? ORDER BY place"
    _stored = staticmethod(stored)
    _loaded = staticmethod(loaded)
    _reserve = staticmethod(reserve)
    _give_up = staticmethod(give_up)

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

    # How the database is asked

    @property
    def _place(self) -> str:
        return self._address.described()

    def _read(self, query: Callable[[Connection], T]) -> T:
        return self._session.read(query)

    def _write(self, change: Callable[[Connection], T]) -> T:
        return self._session.write(change)

    def _execute(
        self, connection: Connection, statement: str, values: Sequence[object] = ()
    ) -> Any:
        return connection.execute(statement.replace("?", "%s"), values)

    # Runs

    def _add(
        self,
        connection: Connection,
        columns: dict[str, object],
        tasks: Sequence[tuple[str, bool]],
    ) -> int:
        values = ", ".join(f"%({name})s" for name in columns)
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
        row = connection.execute(
            f"INSERT INTO run ({', '.join(columns)}) VALUES ({values})"
            f" ON CONFLICT (run_id) DO UPDATE SET {updates} RETURNING key, xmax = 0",
            columns,
        ).fetchone()
        assert row is not None
        # PostgreSQL has xmax = 0 in a row that was inserted, and another in one that was updated.
        key, is_new = int(row[0]), row[1]
        if is_new:
            _add_tasks(connection, key, tasks)
            return key
        before = connection.execute(
            "SELECT name, is_array FROM task WHERE run = %s ORDER BY place", (key,)
        )
        if [(loaded(name), array) for name, array in before] == [
            (name, bool(array)) for name, array in tasks
        ]:
            return key
        self._drop(connection, key, loaded(str(columns["run_id"])))
        return self._add(connection, columns, tasks)

    def _drop(self, connection: Connection, run: int, run_id: str) -> None:
        # Its results are found, from now on, in the runs that took them over.
        connection.execute(
            "UPDATE instance SET found = true WHERE origin = %s AND origin <> '' AND NOT found"
            " AND state = 'CACHED' AND identity IS NOT NULL",
            (stored(run_id),),
        )
        give_up(connection, run)
        self._forget_instances(connection, run)
        connection.execute("DELETE FROM task WHERE run = %s", (run,))
        connection.execute("DELETE FROM run WHERE key = %s", (run,))

    def _forget_instances(self, connection: Connection, run: int) -> None:
        for table in ("instance", "tally"):
            connection.execute(
                f"DELETE FROM {table} WHERE task IN (SELECT key FROM task WHERE run = %s)", (run,)
            )

    # Instances

    def _index(
        self, connection: Connection, run: int, keys: Mapping[str, int], update: Update
    ) -> None:
        tally: Counter[tuple[int, str]] = Counter()
        for name, size in update.sizes.items():
            connection.execute("UPDATE task SET size = %s WHERE key = %s", (size, keys[name]))
            # What was said of the array as a whole gives way to its elements.
            _delete(connection, tally, "task = %s AND element = %s", keys[name], WHOLE_TASK)
        _put(connection, update.changes, keys, tally)
        if update.live is not None:
            states = ", ".join(f"'{state}'" for state in LIVE)  # so written, they have an index
            condition = f"task = ANY(%s) AND state IN ({states})"
            _delete(connection, tally, condition, list(keys.values()))
            _put(connection, update.live, keys, tally)
        _count(connection, tally)

    def _instances(
        self, connection: Connection, tasks: Sequence[TaskKey], condition: str
    ) -> list[InstanceRow]:
        instances: list[InstanceRow] = []
        for task in tasks:
            rows = connection.cursor(binary=True).execute(
                f"SELECT {INSTANCE_COLUMNS} FROM instance WHERE task = %s{condition}"
                " ORDER BY element",
                (task.key,),
            )
            instances.extend(instance_row(task, row) for row in rows)
        return instances

    def _count_out_of_cache(
        self, connection: Connection, tasks: Sequence[int]
    ) -> Iterable[tuple[int, int]]:
        return connection.execute(
            "SELECT task, count(*) FROM instance WHERE task = ANY(%s)"
            " AND state = 'SUCCESS' AND identity IS NULL GROUP BY task",
            (list(tasks),),
        )

    # Results

    def _results(
        self,
        connection: Connection,
        identities: Sequence[bytes],
        newest: bool,
        besides: Collection[str],
    ) -> dict[str, CachedResult]:
        rows = _result_rows(connection, list(identities), besides)
        # Keys grow with every run that is added, so the greatest is of the newest. Of several
        # results the last in this order stays.
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
            for _, _, element, identity, digest, value, paths, prints, run_id, record, name in rows
        }


_RESULTS = (
    "SELECT run.key, task.key, element, identity, digest, value, paths, prints, run_id,"
    " record, name"
    " FROM instance JOIN task ON task.key = instance.task JOIN run ON run.key = task.run"
)


def _result_rows(
    connection: Connection, identities: list[bytes], besides: Collection[str]
) -> list[tuple[Any, ...]]:
    """Return the results of these identities in all runs but some."""
    cursor = connection.cursor(binary=True)
    excluded = [stored(run_id) for run_id in besides]
    rows = cursor.execute(
        f"{_RESULTS} WHERE found AND identity = ANY(%s) AND run_id <> ALL(%s)",
        (identities, excluded),
    ).fetchall()
    if not excluded:
        return rows
    # And what was taken over from those.
    return rows + cursor.execute(
        f"{_RESULTS} WHERE origin = ANY(%s) AND origin <> '' AND NOT found AND state = 'CACHED'"
        " AND identity = ANY(%s) AND run_id <> ALL(%s)",
        (excluded, identities, excluded),
    ).fetchall()


def configured_password(address: Address) -> str | None:
    """Return the password of the configuration's URL, if that is of this place.

    So a process that opens the store by the URL on record has it too.
    """
    from reflow.config import load_config

    try:
        url = load_config().store.url
        configured = address_of(url) if url else None
    except ReflowError:
        return None
    return configured.password if configured and configured.url == address.url else None


def _add_tasks(connection: Connection, run: int, tasks: Sequence[tuple[str, bool]]) -> None:
    if tasks:
        connection.execute(
            "INSERT INTO task (run, place, name, is_array, size)"
            " SELECT %s, place - 1, name, is_array, CASE WHEN is_array THEN NULL ELSE 1 END"
            " FROM unnest(%s::text[], %s::boolean[]) WITH ORDINALITY AS t (name, is_array, place)"
            " ORDER BY place",
            (run, [stored(name) for name, _ in tasks], [bool(array) for _, array in tasks]),
        )


def _delete(
    connection: Connection, tally: Counter[tuple[int, str]], condition: str, *values: object
) -> None:
    """Delete instances, and note in `tally` how many of each state."""
    rows = connection.execute(
        f"WITH gone AS (DELETE FROM instance WHERE {condition} RETURNING task, state)"
        " SELECT task, state, count(*) FROM gone GROUP BY task, state",
        values,
    )
    for task, state, number in rows:
        tally[task, state] -= number


def _put(
    connection: Connection,
    outcomes: Sequence[Outcome],
    keys: Mapping[str, int],
    tally: Counter[tuple[int, str]],
) -> None:
    # One statement may not change a row twice: of one instance the last outcome counts.
    last = {(outcome.task, outcome.index): outcome for outcome in outcomes}
    if not last:
        return
    columns = columns_of(last.values(), keys, _gone(connection, last.values()))
    before = connection.execute(
        "SELECT task, state, count(*) FROM instance"
        " JOIN unnest(%s::bigint[], %s::bigint[]) AS changed (task, element) USING (task, element)"
        " GROUP BY task, state",
        columns[:2],
    )
    for task, state, number in before:
        tally[task, state] -= number
    connection.execute(PUT, columns)
    tally.update(zip(columns[0], columns[2], strict=True))


def _gone(connection: Connection, outcomes: Iterable[Outcome]) -> frozenset[str]:
    """Return the runs that results are from and that the store does not have (any more)."""
    origins = {outcome.origin for outcome in outcomes if outcome.origin}
    if not origins:
        return frozenset()
    # Locked, so that none is dropped without noticing these.
    rows = connection.execute(
        "SELECT run_id FROM run WHERE run_id = ANY(%s) ORDER BY key FOR KEY SHARE",
        ([stored(origin) for origin in sorted(origins)],),
    )
    return frozenset(origins - {loaded(run_id) for (run_id,) in rows})


def _count(connection: Connection, tally: Mapping[tuple[int, str], int]) -> None:
    # Sorted, so that two transactions that count the same tasks do not lock each other.
    changed = [(*key, number) for key, number in sorted(tally.items()) if number]
    if changed:
        tasks, states, numbers = zip(*changed, strict=True)
        connection.execute(
            "INSERT INTO tally (task, state, number)"
            " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[])"
            " ON CONFLICT (task, state) DO UPDATE SET number = tally.number + excluded.number",
            (list(tasks), list(states), list(numbers)),
        )
