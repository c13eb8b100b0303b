"""The SQLite index over runs: its file, its messages, and how it shares them.

What every store must do is in `reflow.testing.StoreContract`, run by tests/contract.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from reflow.errors import (
    StoreError,
    StoreVersionError,
    UnknownPluginError,
    UnknownRunError,
    UnknownTaskError,
)
from reflow.plugins.open_store import open_store
from reflow.states import CACHED, FAILED, RUNNING, SUCCESS
from reflow.storage.outcome import Outcome
from reflow.storage.stores.sqlite import schema
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.storage.user_state import default_store_path
from reflow.stores.base import Position, QueryError, RunRow

TASKS = [("first", False), ("many", True), ("last", False)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_row(run_id: str = "flow-1", created_at: str = "2026-04-01T12:00:00+00:00") -> RunRow:
    return RunRow(
        run_id=run_id,
        graph_name=run_id.rsplit("-", 1)[0],
        user_id="me",
        created_at=created_at,
        run_dir=f"/runs/{run_id}",
        record=f"/runs/{run_id}/.reflow",
        status=RUNNING,
        parameters={"x": 1, "y": ["ä"]},
        executor="local",
    )


def success(task: str, index: int = 0, seed: str = "", **more: object) -> Outcome:
    text = f"{task}{index}{seed}"
    done = Outcome(task, index, 1, SUCCESS, sha(text), sha("v" + text), f'"{text}"')
    return done._replace(**more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "reflow.sqlite", timeout=5.0) as opened:
        yield opened


@pytest.fixture
def filled(store: SqliteStore) -> SqliteStore:
    store.add_run(run_row(), TASKS)
    return store


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"status": "failed"}, "did you mean 'FAILED'"),
        ({"status": "BUSY"}, "allowed: PENDING, RUNNING"),
        ({"limit": -1}, "0 or more"),
        ({"limit": 1.5}, "whole number"),
        ({"since": "yesterday"}, "since must be an ISO-8601"),
        ({"until": "2026-13-01"}, "until must be an ISO-8601"),
    ],
)
def test_queries_that_make_no_sense(
    store: SqliteStore, query: dict[str, object], says: str
) -> None:
    with pytest.raises(QueryError, match=says):
        store.list_runs(**query)  # type: ignore[arg-type]


def test_a_run_is_found_by_the_beginning_of_its_id(store: SqliteStore) -> None:
    for run_id in ("flow-abc", "flow-abd", "other-1"):
        store.add_run(run_row(run_id), TASKS)
    assert store.run("oth").run_id == "other-1"
    with pytest.raises(UnknownRunError, match="several runs begin with 'flow-ab': flow-ab"):
        store.run("flow-ab")
    with pytest.raises(UnknownRunError, match=r"did you mean 'flow-ab[cd]'"):
        store.run("flow-abcd")
    with pytest.raises(UnknownRunError):
        store.run("")


def test_unknown_runs_tasks_and_states(filled: SqliteStore) -> None:
    for call in (filled.position, filled.summary, filled.instances, filled.tasks):
        with pytest.raises(UnknownRunError, match="did you mean 'flow-1'"):
            call("flow-2")
    with pytest.raises(UnknownTaskError, match="did you mean 'many'"):
        filled.instances("flow-1", "mayn")
    with pytest.raises(UnknownTaskError, match="no task named 'other'"):
        filled.apply("flow-1", [success("other")], {}, None, Position(1, 1))
    with pytest.raises(QueryError, match="did you mean 'SKIPPED'"):
        filled.instances("flow-1", states=["SKIPED"])
    with pytest.raises(QueryError):
        filled.set_status("flow-1", "DONE")
    with pytest.raises(StoreError, match="hex"):
        filled.apply("flow-1", [success("first", identity="xyz")], {}, None, Position(1, 1))
    assert filled.position("flow-1") == Position()
    assert filled.instances("flow-1") == []


def test_the_journal_is_safe_on_a_network_file_system(filled: SqliteStore) -> None:
    with filled._file.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_an_older_schema_is_brought_up_to_date(
    filled: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.close()
    later = (*schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN remark TEXT",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    with pytest.raises(StoreVersionError, match="open it once with write access"):
        SqliteStore(filled.path, read_only=True).list_runs()
    assert SqliteStore(filled.path).run("flow-1").run_id == "flow-1"
    with sqlite3.connect(filled.path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)
        assert connection.execute("SELECT remark FROM run").fetchall() == [(None,)]


def test_a_failed_migration_changes_nothing(
    filled: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.close()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE fresh (x)", "no sql"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            filled.list_runs()
    assert filled.run("flow-1").run_id == "flow-1"


def test_a_newer_schema_is_refused_with_both_versions(filled: SqliteStore) -> None:
    filled.close()
    with sqlite3.connect(filled.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match=r"version 99.*up to 4: upgrade reflow"):
        filled.list_runs()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to be sure of it\n" * 50)
    with pytest.raises(StoreError, match=r"text: file is not a database.*moves it away"):
        SqliteStore(text).list_runs()
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program's database"):
        SqliteStore(foreign).list_runs()
    with pytest.raises(StoreError, match="this is a folder"):
        SqliteStore(tmp_path).list_runs()


def test_a_folder_that_is_missing_or_not_writable(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no folder {tmp_path / 'none'}; make it with"):
        SqliteStore(tmp_path / "none" / "x.sqlite").list_runs()
    with pytest.raises(StoreError, match="no write access"):
        SqliteStore("/proc/self/x.sqlite").list_runs()


def test_read_only(filled: SqliteStore, tmp_path: Path) -> None:
    reader = SqliteStore(filled.path, read_only=True)
    assert reader.run("flow-1") == filled.run("flow-1")
    assert reader.lookup([sha("x")]) == {}
    with pytest.raises(StoreError, match="opened read-only"):
        reader.set_status("flow-1", FAILED)
    with pytest.raises(StoreError, match="no such file; nothing was indexed"):
        SqliteStore(tmp_path / "none.sqlite", read_only=True).list_runs()
    assert not (tmp_path / "none.sqlite").exists()


def test_a_full_disk(filled: SqliteStore) -> None:
    with filled._file.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    changes = [success("many", i, value='"' + "x" * 1000 + '"') for i in range(500)]
    with pytest.raises(StoreError, match=r"reflow\.sqlite: database or disk is full: make room"):
        filled.apply("flow-1", changes, {"many": 500}, None, Position(1, 1))
    assert filled.position("flow-1") == Position()
    filled.close()
    assert filled.apply("flow-1", changes, {"many": 500}, None, Position(1, 1))


def test_locked_for_too_long(filled: SqliteStore) -> None:
    other = SqliteStore(filled.path, timeout=0.05)
    with filled._file.writing(), pytest.raises(StoreError, match=r"locked.*0\.05 s; try again"):
        other.set_status("flow-1", FAILED)
    other.set_status("flow-1", FAILED)
    assert filled.run("flow-1").status == FAILED


def test_an_open_store_survives_a_fork(filled: SqliteStore) -> None:
    with filled._file._lock:  # as another thread might hold it
        child = os.fork()
        if child == 0:
            try:
                filled.add_run(run_row("child-1"), TASKS)
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert {run.run_id for run in filled.list_runs()} == {"flow-1", "child-1"}


def test_the_default_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    with open_store() as store:
        assert store.list_runs() == []
    assert default_store_path().exists()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    with pytest.raises(StoreError, match="set XDG_STATE_HOME"):
        open_store().list_runs()


def test_the_file_is_made_on_first_use(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.sqlite")
    assert store.position  # looking at it is no use
    assert not store.path.exists()
    store.list_runs()
    assert store.path.exists()


def test_lookup_finds_reused_results_whose_value_is_in_a_file(filled: SqliteStore) -> None:
    """The first run may be gone with its copy of the file; values in rows are stored once."""
    here = success("many", 0, state=CACHED, origin="flow-1")
    file = success("many", 1, state=CACHED, value=None, origin="flow-1")
    filled.apply("flow-1", [here, file], {"many": 2}, None, Position(1, 1))
    assert filled.lookup([here.identity, file.identity]).keys() == {file.identity}


def test_identities_and_digests_are_given_in_hex(filled: SqliteStore) -> None:
    with pytest.raises(StoreError, match="hex"):
        filled.apply("flow-1", [success("first", identity="xyz")], {}, None, Position(1, 1))
    with pytest.raises(StoreError, match="hex"):
        filled.lookup(["xyz"])
    assert filled.position("flow-1") == Position()


def test_a_rival_brings_the_schema_in_while_a_new_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever two processes read what the other writes, neither sees a foreign database."""
    path = tmp_path / "x.sqlite"
    rivals: list[str] = []

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
            cursor = super().execute(sql, *parameters)  # type: ignore[arg-type]
            if sql == "PRAGMA application_id" and not rivals:
                rivals.append(sql)
                cursor = super().execute(sql)
                mark = cursor.fetchall()
                # It may have to wait for us, but must not write in between.
                with contextlib.suppress(StoreError):
                    SqliteStore(path, timeout=0.01).add_run(run_row(), TASKS)
                return super().execute(f"SELECT {mark[0][0]}")
            return cursor

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
        assert SqliteStore(path).list_runs() in ([], [run_row()])
    assert rivals


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///{tmp}/a%20b.sqlite", "{tmp}/a b.sqlite"),
        ("sqlite:///x.sqlite", "{tmp}/x.sqlite"),
        ("{tmp}/y.sqlite", "{tmp}/y.sqlite"),
        ("z%20.sqlite", "{tmp}/z%20.sqlite"),
        (None, "{tmp}/state/reflow/reflow.sqlite"),
    ],
)
def test_open_store(
    url: str | None, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    opened = open_store(url and url.format(tmp=tmp_path))
    assert isinstance(opened, SqliteStore)
    assert opened.path == Path(path.format(tmp=tmp_path))


def test_open_store_refuses_what_names_no_store() -> None:
    for wrong in ("sqlite://x", "sqlite:///"):
        with pytest.raises(StoreError, match=r"write sqlite:///relative/path, sqlite:////abs"):
            open_store(wrong)
    with pytest.raises(UnknownPluginError, match="'mariadb'"):
        open_store("mariadb://x/y")
