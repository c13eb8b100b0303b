"""The SQLite store's file under faults: kills, full and read-only disks, damage, network mounts."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reflow.errors import StoreError, StoreVersionError
from reflow.states import CACHED, FAILED, PENDING, RUNNING, SUCCESS
from reflow.storage.outcome import Outcome
from reflow.storage.stores.sqlite.store import SqliteStore
from reflow.stores.base import Position
from reflow.testing.stores import TASKS, everything, run_row, success

ELSEWHERE = "node7/boot/ns/4711/99"
OLD = Path(__file__).parent / "data" / "store-schema-1.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reflow.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path, timeout=5.0) as opened:
        opened.add_run(run_row(), TASKS)
        opened.apply("flow-1", [success("first")], {"many": 3}, None, Position(1, 1))
        yield opened


@pytest.fixture
def old(path: Path) -> Path:
    """A store as a reflow of schema version 1 left it."""
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD.read_text())
    connection.close()
    return path


def as_another_user(work: Callable[[], None]) -> None:
    """Call a function in a process that is not root; it must succeed there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the traceback is in the captured output"


def open_for_all(folder: Path) -> None:
    """Let another user come to a folder of pytest's."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)


# Versions of the schema


def test_a_store_of_an_earlier_schema_is_brought_up_to_date(old: Path) -> None:
    with SqliteStore(old) as store:
        assert [run.run_id for run in store.list_runs()] == ["old-2", "old-1"]
        assert store.summary("old-1") == {
            "first": {SUCCESS: 1}, "many": {SUCCESS: 3, FAILED: 1, PENDING: 1},
            "last": {RUNNING: 1},
        }  # fmt: skip
        assert store.position("old-1") == Position(1, 100)
        assert [row.cause for row in store.instances("old-1", states=[FAILED])] == ["ERROR"]
        assert {row.prints for row in store.instances("old-1")} == {()}
        assert store.check() == []
        # Results that were reused before that table existed survive the older run too.
        store.drop_run("old-1")
        identity = success("many", 0).identity
        assert store.lookup([identity])[identity].run_id == "old-2"
        store.apply("old-2", [Outcome("first", 0, 1, FAILED)], {}, FAILED, Position(3, 1))
        assert store.summary("old-2")["first"] == {FAILED: 1}
        assert store.check() == []


def test_an_earlier_schema_is_not_read_without_write_access(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(StoreVersionError, match=r"version 1, older than the 4.*write access"):
        SqliteStore(old, read_only=True).list_runs()
    assert old.read_bytes() == before


def test_processes_that_all_find_an_earlier_schema(old: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with SqliteStore(old) as store:
                assert len(store.list_runs()) == 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_write_ahead_log_is_taken_back(store: SqliteStore) -> None:
    """Another program set that mode, whose shared memory machines cannot share."""
    store.close()
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    connection.close()
    store.set_status("flow-1", FAILED)
    store.close()
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# Killed in the middle


def half_written(store: SqliteStore, folder: Path) -> Path:
    """Return a copy of the store as a writer leaves it that is killed within its commit."""
    store.close()
    folder.mkdir()
    copy = folder / "reflow.sqlite"
    child = os.fork()
    if child == 0:
        try:
            shutil.copy(store.path, copy)
            writing = sqlite3.connect(copy, isolation_level=None)
            writing.execute("PRAGMA cache_size = 1")  # so that pages reach the file early
            writing.execute("BEGIN IMMEDIATE")
            writing.execute("UPDATE run SET status = 'CANCELLED'")
            writing.executemany(
                "INSERT INTO instance (key, state, attempt, started, ended, value)"
                " VALUES (?, 'SUCCESS', 1, 0, 0, ?)",
                ((1 << 40 | n, "x" * 5000) for n in range(500)),
            )
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert Path(f"{copy}-journal").stat().st_size > 0
    return copy


def test_transaction_of_a_killed_writer_is_rolled_back(store: SqliteStore, tmp_path: Path) -> None:
    before = everything(store)
    copy = half_written(store, tmp_path / "copy")
    with pytest.raises(StoreError, match="complete an interrupted write"):
        SqliteStore(copy, read_only=True).list_runs()
    with SqliteStore(copy) as recovered:
        assert everything(recovered) == before
        assert recovered.check() == []
    assert not Path(f"{copy}-journal").exists()
    with SqliteStore(copy, read_only=True) as reading:
        assert everything(reading) == before


def test_only_the_holder_rolls_back(store: SqliteStore, tmp_path: Path) -> None:
    """The journal belongs to a writer on another machine, whose locks are not visible here."""
    copy = half_written(store, tmp_path / "copy")
    journal = Path(f"{copy}-journal").read_bytes()
    lease = Path(f"{copy}-lease")
    lease.mkdir()
    (lease / "000000001").write_text(f"{ELSEWHERE}\n")
    with pytest.raises(StoreError, match="locked by process 4711 on node7"):
        SqliteStore(copy, timeout=0.05).list_runs()
    assert Path(f"{copy}-journal").read_bytes() == journal


def test_killed_within_a_batch(path: Path) -> None:
    """At any moment the position says what is indexed, and the next writer continues there."""
    for wait in (0.0, 0.02, 0.05, 0.1):
        begun, begins = os.pipe()
        child = os.fork()
        if child == 0:
            store = SqliteStore(path)
            store.add_run(run_row(), TASKS)
            os.write(begins, b"x")
            offset = store.position("flow-1").offset
            while True:
                offset += 1
                changes = [success("many", i, str(offset)) for i in range(2000)]
                store.apply("flow-1", changes, {"many": 2000}, None, Position(1, offset))
        assert os.read(begun, 1) == b"x"
        time.sleep(0.3 + wait)
        os.kill(child, 9)
        for end in (begun, begins):
            os.close(end)
        os.waitpid(child, 0)
        with SqliteStore(path) as store:
            assert store.check() == []
            offset = store.position("flow-1").offset
            seed = str(offset)
            if offset:
                identities = [success("many", i, seed).identity for i in range(99)]
                assert len(store.lookup(identities)) == 99
            store.set_status("flow-1", RUNNING)


# No room, no rights, damage


def test_a_full_disk_in_the_middle_of_a_batch(store: SqliteStore) -> None:
    before = everything(store)
    with store._file.writing() as connection:
        connection.execute("PRAGMA max_page_count = 20")
    changes = [success("many", i, value='"' + "x" * 3000 + '"') for i in range(500)]
    with pytest.raises(StoreError, match=r"database or disk is full: make room"):
        store.apply("flow-1", changes, {"many": 500}, None, Position(1, 2))
    assert everything(store) == before
    store.close()
    assert store.apply("flow-1", changes, {"many": 500}, None, Position(1, 2))


def test_no_room_for_the_lease(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store._file.lease._files, "create", full)
    with pytest.raises(StoreError, match="is full: make room"):
        store.set_status("flow-1", FAILED)
    assert store.run("flow-1").status == RUNNING, "reading needs no room"


def test_store_without_write_access_is_readable(store: SqliteStore, tmp_path: Path) -> None:
    open_for_all(tmp_path)
    store.close()
    for path in tmp_path.rglob("*"):  # whatever the umask of who runs the tests
        path.chmod(0o755 if path.is_dir() else 0o644)

    def work() -> None:
        with SqliteStore(store.path) as theirs:
            assert theirs.run("flow-1").status == RUNNING
            with pytest.raises(StoreError, match=r"no write access to the file or to its folder"):
                theirs.set_status("flow-1", FAILED)
            assert theirs.run("flow-1").status == RUNNING

    as_another_user(work)


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    open_for_all(tmp_path)

    def work() -> None:
        for call in (SqliteStore.list_runs, lambda store: store.add_run(run_row(), TASKS)):
            with pytest.raises(StoreError, match="no write access"):
                call(SqliteStore(tmp_path / "new.sqlite"))

    as_another_user(work)
    assert list(tmp_path.iterdir()) == []


def test_a_group_shares_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    folder.mkdir()
    open_for_all(tmp_path)
    if os.geteuid() == 0:
        os.chown(folder, -1, 65534)
    folder.chmod(0o2775)
    before = os.umask(0o022)
    try:
        with SqliteStore(folder / "reflow.sqlite") as store:
            store.add_run(run_row(), TASKS)
    finally:
        os.umask(before)

    def work() -> None:
        with SqliteStore(folder / "reflow.sqlite") as theirs:
            theirs.set_status("flow-1", FAILED)

    as_another_user(work)
    assert SqliteStore(folder / "reflow.sqlite").run("flow-1").status == FAILED


@pytest.mark.parametrize("place", [0, 100, "middle"])
def test_a_damaged_file(store: SqliteStore, place: int | str) -> None:
    changes = [success("many", i) for i in range(3000)]
    store.apply("flow-1", changes, {"many": 3000}, None, Position(1, 2))
    assert store.check() == []
    store.close()
    with open(store.path, "r+b") as file:
        where = store.path.stat().st_size // 2 if isinstance(place, str) else place
        file.seek(where)
        file.write(b"\xff" * 20_000)
    if place == "middle":
        try:
            problems = store.check()
        except StoreError as error:
            problems = [str(error)]
        assert problems
    else:
        with pytest.raises(StoreError, match="`reflow store rebuild --new`"):
            store.list_runs()
    aside = store.set_aside()
    assert aside is not None
    assert aside.name == "reflow.sqlite.1"
    assert store.list_runs() == []


def test_rows_that_belong_to_nothing_are_found(store: SqliteStore) -> None:
    with store._file.writing() as connection:
        connection.execute("DELETE FROM run")
        connection.execute("UPDATE tally SET number = number + 1")
    assert store.check() == [
        "3 tasks of runs that are not there", "1 counts of states that are wrong"
    ]  # fmt: skip


# Machines that do not see each other's locks


def test_a_holder_that_was_taken_for_dead_commits_nothing(store: SqliteStore) -> None:
    lease = Path(store._file.lease._row.folder)

    def slow() -> None:
        with store._file.writing() as connection:
            connection.execute("UPDATE run SET status = 'FAILED'")
            newest = max(int(file.name) for file in lease.iterdir())
            (lease / f"{newest + 1:09d}").write_text(f"{ELSEWHERE}\nfree\n")

    with pytest.raises(StoreError, match="took this one for dead"):
        slow()
    assert store.run("flow-1").status == RUNNING


def test_read_is_repeated_if_another_machine_wrote_meanwhile(store: SqliteStore) -> None:
    lease = Path(store._file.lease._row.folder)
    queries: list[int] = []

    def query(connection: sqlite3.Connection) -> str:
        queries.append(1)
        (status,) = connection.execute("SELECT status FROM run").fetchone()
        if len(queries) == 1:  # a writer elsewhere comes and goes meanwhile
            newest = max(int(file.name) for file in lease.iterdir())
            (lease / f"{newest + 1:09d}").write_text(f"{ELSEWHERE}\nfree\n")
        return str(status)

    assert store._file.read(query) == RUNNING
    assert len(queries) == 2


@pytest.mark.parametrize("read_only", [True, False])
def test_read_waits_while_another_machine_commits(
    store: SqliteStore, path: Path, read_only: bool
) -> None:
    """Its journal looks like that of a killed writer, which only a writer may roll back."""
    reader = SqliteStore(path, read_only=read_only)
    lease = Path(store._file.lease._row.folder)
    queries: list[int] = []

    def query(connection: sqlite3.Connection) -> str:
        queries.append(1)
        if len(queries) <= 2:
            newest = max(int(file.name) for file in lease.iterdir())
            (lease / f"{newest + 1:09d}").write_text(f"{ELSEWHERE}\nfree\n")
            raise sqlite3.OperationalError("attempt to write a readonly database")
        (status,) = connection.execute("SELECT status FROM run").fetchone()
        return str(status)

    assert reader._file.read(query) == RUNNING


def test_read_fails_if_another_machine_writes_all_the_time(store: SqliteStore) -> None:
    lease = Path(store._file.lease._row.folder)
    newest = max(int(file.name) for file in lease.iterdir())
    (lease / f"{newest + 1:09d}").write_text(f"{ELSEWHERE}\n")
    store._file.timeout = 0.05
    with pytest.raises(StoreError, match=r"other machines wrote to it all the time"):
        store.list_runs()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_without_any_locks(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """On a file system mounted without locks the lease alone keeps writers apart."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    SqliteStore(path).add_run(run_row(), TASKS)
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            ended = 1
            try:
                with SqliteStore(path) as store:
                    for i in range(5):
                        store.add_run(run_row(f"p{number}-{i}"), TASKS)
                        assert store.run(f"p{number}-{i}").status == RUNNING
                        store.apply(f"p{number}-{i}", [success("first")], {}, None, Position(1, 1))
                ended = 0
            finally:
                os._exit(ended)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with SqliteStore(path) as store:
        assert not store._file._has_locks()
        assert len(store.list_runs()) == 16
        assert store.check() == []


# Runs that others have taken results over from


def test_results_of_a_dropped_run_stay_with_the_runs_that_reused_them(store: SqliteStore) -> None:
    first = success("first")
    for run_id in ("later-1", "later-2"):
        store.add_run(run_row(run_id), TASKS)
        taken = [first._replace(state=CACHED, origin="flow-1", attempt=0)]
        store.apply(run_id, taken, {}, SUCCESS, Position(1, 1))
    assert store.lookup([first.identity], newest=True)[first.identity].run_id == "flow-1"
    store.drop_run("flow-1")
    assert store.lookup([first.identity])[first.identity].run_id == "later-1"
    assert store.lookup([first.identity], newest=True)[first.identity].run_id == "later-2"
    store.drop_run("later-2")
    store.drop_run("later-1")
    assert store.lookup([first.identity]) == {}
    assert store.check() == []


def test_a_run_is_indexed_anew_in_one_transaction(store: SqliteStore) -> None:
    store.add_run(run_row("later-1"), TASKS)
    outcomes = [success("many", 1), success("first")]
    assert store.replace_run(run_row(), TASKS, outcomes, {"many": 2}, Position(1, 1)) is True
    assert store.summary("flow-1")["many"] == {SUCCESS: 1, PENDING: 1}
    assert store.replace_run(run_row(), TASKS, [], {}, Position(1, 0)) is False
    with pytest.raises(StoreError, match="hex"):
        store.replace_run(run_row(), TASKS, [success("first", identity="x")], {}, Position(2, 1))
    assert store.summary("flow-1")["first"] == {SUCCESS: 1}
    assert store.check() == []
