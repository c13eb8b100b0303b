"""What runs have reserved: see `reflow.stores.base.Store.reserve`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from reflow.storage.stores.queries import digest_of
from reflow.storage.stores.sql import names_of
from reflow.stores.base import Reservation, Underway

from .rows import loaded, stored
from .session import Connection

_HOLDERS = (
    "SELECT held.name, held.element, task.name, run.key, run.run_id, run.record FROM ("
    "SELECT identity AS name, task, element FROM instance WHERE found AND identity = ANY(%s)"
    " UNION ALL SELECT name, task, element FROM reserved WHERE name = ANY(%s)"
    ") AS held JOIN task ON task.key = held.task JOIN run ON run.key = task.run"
)


def reserve(
    connection: Connection, run: int, reservations: Sequence[Reservation]
) -> dict[str, Underway]:
    """Reserve what is free; return by identity the instances that have the others."""
    rows = connection.execute("SELECT name, key FROM task WHERE run = %s", (run,))
    tasks = {loaded(name): int(key) for name, key in rows}
    _free_what_gives_way(connection, reservations)
    held = _held(connection, run, reservations)
    free = {
        digest_of(reservation.identity): reservation
        for reservation in reservations
        if reservation.identity not in held
    }
    names = sorted(free)  # in one order, so that two who reserve the same do not lock each other
    connection.execute(
        "INSERT INTO reserved (name, task, element)"
        " SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (name) DO NOTHING",
        (names, [tasks[free[name].task] for name in names], [free[name].index for name in names]),
    )
    # Somebody else may have been quicker since they were looked at.
    return {**held, **_held(connection, run, list(free.values()))}


def _free_what_gives_way(connection: Connection, reservations: Sequence[Reservation]) -> None:
    names: dict[str, list[bytes]] = defaultdict(list)
    for reservation in reservations:
        if reservation.over:
            names[reservation.over].extend(map(digest_of, names_of(reservation)))
    for over in sorted(names):
        connection.execute(
            "DELETE FROM reserved USING task, run WHERE reserved.name = ANY(%s)"
            " AND task.key = reserved.task AND run.key = task.run AND run.run_id = %s",
            (names[over], stored(over)),
        )


def _held(
    connection: Connection, run: int, reservations: Sequence[Reservation]
) -> dict[str, Underway]:
    """Return by identity the instances of other runs that have reserved the same."""
    names = {
        digest_of(name): reservation
        for reservation in reservations
        for name in names_of(reservation)
    }
    results = [
        digest_of(reservation.identity) for reservation in reservations if not reservation.anew
    ]
    held: dict[str, Underway] = {}
    rows = connection.cursor(binary=True).execute(_HOLDERS, (results, [*names]))
    for name, element, task, holder, run_id, record in rows:
        reservation = names[bytes(name)]
        gives_way = bool(reservation.over) and run_id == stored(reservation.over)
        if holder != run and not gives_way:
            held[reservation.identity] = Underway(
                loaded(run_id), loaded(record), loaded(task), max(element, 0)
            )
    return held


def give_up(
    connection: Connection, run: int, instances: Iterable[tuple[int, int]] | None = None
) -> None:
    """Free what some instances of a run had reserved; by default all of the run.

    `instances` are (task key, element).
    """
    if instances is None:
        connection.execute(
            "DELETE FROM reserved WHERE task IN (SELECT key FROM task WHERE run = %s)", (run,)
        )
    elif pairs := list(instances):
        tasks, elements = zip(*pairs, strict=True)
        connection.execute(
            "DELETE FROM reserved USING unnest(%s::bigint[], %s::bigint[]) AS ended (task, element)"
            " WHERE reserved.task = ended.task AND reserved.element = ended.element",
            (list(tasks), list(elements)),
        )
