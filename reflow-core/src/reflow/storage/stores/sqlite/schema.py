"""The schema of the SQLite store: its versions, and how a file is brought to the newest.

An instance is one row whose integer key is ``task key << 32 | element + 1``, so a
run's rows lie together in the order of task and element. A successful instance
is found by the first bytes of its identity through a partial index, and the rest
is compared then: there is no second copy of any result, and the index is small,
which is most of the cost of writing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ....errors import StoreError, StoreVersionError

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
    (
        # How many instances of a task are in which state: nobody counts a million rows.
        """
        CREATE TABLE tally (
            task INTEGER NOT NULL,
            state TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (task, state)
        ) WITHOUT ROWID
        """,
        "INSERT INTO tally SELECT key >> 32, state, count(*) FROM instance GROUP BY 1, 2",
        """
        CREATE TRIGGER instance_added AFTER INSERT ON instance BEGIN
            INSERT INTO tally VALUES (NEW.key >> 32, NEW.state, 1)
                ON CONFLICT (task, state) DO UPDATE SET number = number + 1;
        END
        """,
        """
        CREATE TRIGGER instance_moved AFTER UPDATE OF state ON instance
        WHEN OLD.state <> NEW.state BEGIN
            UPDATE tally SET number = number - 1
                WHERE task = OLD.key >> 32 AND state = OLD.state;
            INSERT INTO tally VALUES (NEW.key >> 32, NEW.state, 1)
                ON CONFLICT (task, state) DO UPDATE SET number = number + 1;
        END
        """,
        """
        CREATE TRIGGER instance_gone AFTER DELETE ON instance BEGIN
            UPDATE tally SET number = number - 1
                WHERE task = OLD.key >> 32 AND state = OLD.state;
        END
        """,
        "CREATE INDEX instance_failed ON instance (key) WHERE state = 'FAILED'",
        # Which runs took results over from which: they keep them when the older run goes.
        """
        CREATE TABLE taken (
            origin TEXT NOT NULL,  -- a run_id
            run INTEGER NOT NULL,
            PRIMARY KEY (origin, run)
        ) WITHOUT ROWID
        """,
        """
        INSERT INTO taken SELECT DISTINCT instance.origin, task.run
            FROM instance JOIN task ON task.key = instance.key >> 32
            WHERE instance.origin IS NOT NULL
        """,
    ),
    # What stood under the paths; the last column, as most rows have none.
    ("ALTER TABLE instance ADD COLUMN prints TEXT",),  # JSON
    (
        # What runs have in hand, so that no two compute the same: see `Store.reserve`.
        """
        CREATE TABLE reserved (
            prefix INTEGER PRIMARY KEY,  -- first bytes of an identity or lineage
            key INTEGER NOT NULL  -- as in instance
        )
        """,
        "CREATE INDEX reserved_key ON reserved (key)",
    ),
)
"""What brings the schema from version n to n + 1, for each n."""

APPLICATION_ID = 0x72_66_6C_77
"""Marks the file as reflow's ("rflw"), so that no other database is taken for one."""


def newest_version() -> int:
    """Return the version that files are brought to."""
    return len(MIGRATIONS)


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file's schema, 0 for a new file; to be read in a transaction.

    Raises `StoreError` for another program's database and `StoreVersionError` for a
    schema that this reflow does not know yet.
    """
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if mark != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if mark or version or tables:
            raise StoreError(
                f"store {path}: this is another program's database; choose another store path"
            )
    if version > len(MIGRATIONS):
        raise StoreVersionError(
            f"store {path}: its schema is version {version}, written by a newer reflow;"
            f" this one knows versions up to {len(MIGRATIONS)}: upgrade reflow, or choose"
            " another store path"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to the newest version, within a transaction that the caller ends."""
    for statements in MIGRATIONS[version_of(connection, path) :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def inconsistencies(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong in a file: its pages, its indexes, and what rows say of each other."""
    problems = [
        text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"
    ]
    if problems:
        return problems
    for what, query in _CHECKS:
        (number,) = connection.execute(query).fetchone()
        if number:
            problems.append(f"{number} {what}")
    return problems


_CHECKS = (
    (
        "tasks of runs that are not there",
        "SELECT count(*) FROM task WHERE run NOT IN (SELECT key FROM run)",
    ),
    (
        "tasks with instances that belong to no run",
        "SELECT count(*) FROM tally WHERE number > 0 AND task NOT IN (SELECT key FROM task)",
    ),
    (
        "reservations that belong to no run",
        "SELECT count(*) FROM reserved WHERE key >> 32 NOT IN (SELECT key FROM task)",
    ),
    (
        "counts of states that are wrong",
        """
        SELECT count(*) FROM (
            SELECT key >> 32 AS task, state, count(*) AS number FROM instance GROUP BY 1, 2
            EXCEPT SELECT task, state, number FROM tally
        )
        """,
    ),
)
