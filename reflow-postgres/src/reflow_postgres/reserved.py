"""What runs have reserved: see `reflow.stores.base.Store.reserve`."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.stores.base import Reservation, Underway

from .rows import digest_of, loaded, stored
from .session import Connection

_HOLDERS = (
    "SELECT held.name, held.element, task.name, run.key, run.run_id, run.record FROM ("
    "SELECT identity AS name, task, element FROM instance WHERE found AND identity = ANY(%s)"
    " UNION ALL SELECT name, task, element FROM reserved WHERE name = ANY(%s)"
    ") AS held JOIN task ON task.key = held.task JOIN run ON run.key = task.run"
)


def reserve(
    connection: Connection, run: int, wanted: Sequence[Reservation]
) -> dict[str, Underway]:
    """Reserve what is free; return by identity the instances that have the rest."""
    tasks = {
        loaded(name): int(key)
        for name, key in connection.execute("SELECT name, key FROM task WHERE run = %s", (run,))
    }
    for over in sorted({one.over for one in wanted if one.over}):
        names = [
            digest_of(text) for one in wanted if one.over == over for text in one[2:4] if text
        ]
        connection.execute(
            "DELETE FROM reserved USING task, run WHERE reserved.name = ANY(%s)"
            " AND task.key = reserved.task AND run.key = task.run AND run.run_id = %s",
            (names, stored(over)),
        )
    held = _held(connection, run, wanted)
    free = {digest_of(one.identity): one for one in wanted if one.identity not in held}
    names = sorted(free)  # in one order, so that two who reserve the same do not lock each other
    connection.execute(
        "INSERT INTO reserved (name, task, element)"
        " SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[])"
        " ON CONFLICT (name) DO NOTHING",
        (names, [tasks[free[name].task] for name in names], [free[name].index for name in names]),
    )
    # Somebody else may have been quicker since they were looked at.
    return {**held, **_held(connection, run, list(free.values()))}


def _held(
    connection: Connection, run: int, wanted: Sequence[Reservation]
) -> dict[str, Underway]:
    """Return by identity the instances of other runs that have reserved the same."""
    names = {digest_of(text): one for one in wanted for text in one[2:4] if text}
    new = [digest_of(one.identity) for one in wanted if not one.anew]
    rows = connection.cursor(binary=True).execute(_HOLDERS, (new, [*names]))
    over = {one.identity: stored(one.over) for one in wanted if one.over}
    return {
        names[bytes(name)].identity: Underway(
            loaded(run_id), loaded(record), loaded(task), max(element, 0)
        )
        for name, element, task, holder, run_id, record in rows
        if holder != run and run_id != over.get(names[bytes(name)].identity)
    }


def give_up(
    connection: Connection, run: int, instances: Sequence[tuple[int, int]] | None = None
) -> None:
    """Let what some instances of a run had reserved be free; by default all of its.

    `instances` are (task key, element).
    """
    if instances is None:
        connection.execute(
            "DELETE FROM reserved WHERE task IN (SELECT key FROM task WHERE run = %s)", (run,)
        )
    elif instances:
        tasks, elements = zip(*instances, strict=True)
        connection.execute(
            "DELETE FROM reserved USING unnest(%s::bigint[], %s::bigint[]) AS given (task, element)"
            " WHERE reserved.task = given.task AND reserved.element = given.element",
            (list(tasks), list(elements)),
        )
