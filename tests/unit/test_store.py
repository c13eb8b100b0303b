"""The SQLite index over runs: what it keeps, finds and refuses."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.errors import (
    StoreError,
    StoreVersionError,
    UnknownRunError,
    UnknownTaskError,
)
from reflow.records import WHOLE_TASK, Outcome
from reflow.states import CACHED, CANCELLED, FAILED, RUNNING, SKIPPED, SUBMITTED, SUCCESS
from reflow.stores import sqlite
from reflow.stores.base import Position, QueryError, RunRow, TaskRow
from reflow.stores.sqlite import SqliteStore, default_store_path, open_store

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


def test_a_run_comes_back_as_it_was_added(store: SqliteStore) -> None:
    row = run_row()
    store.add_run(row, TASKS)
    assert store.run("flow-1") == row
    assert store.position("flow-1") == Position(0, 0)
    assert store.tasks("flow-1") == [
        TaskRow(name="first", array=False, size=1),
        TaskRow(name="many", array=True, size=None),
        TaskRow(name="last", array=False, size=1),
    ]


def test_names_that_are_not_unicode_come_back(filled: SqliteStore) -> None:
    odd = "/runs/\udcff"
    row = evolve(run_row("odd-1"), run_dir=odd, record=odd)
    store = filled
    store.add_run(row, TASKS)
    store.apply("odd-1", [success("first", value='"\ud800"', detail="\ud800")], {}, None,
                Position(1, 1))  # fmt: skip
    assert store.run("odd-1").record == odd
    (instance,) = store.instances("odd-1")
    assert (instance.value, instance.detail) == ('"\ud800"', "\ud800")
    (found,) = store.lookup([instance.identity]).values()
    assert (found.value, found.record) == ('"\ud800"', odd)


def test_outcomes_are_indexed_with_sizes_status_and_position(filled: SqliteStore) -> None:
    changes = [
        success("first", paths=("/a", "/b"), job="7", started=1.5, ended=2.5),
        success("many", 1, value=None),
        Outcome("many", 0, 2, FAILED, sha("i"), cause="OOM", detail="Traceback …"),
        Outcome("last", 0, 0, SKIPPED, detail="many[0]"),
    ]
    assert filled.apply("flow-1", changes, {"many": 3}, FAILED, Position(2, 10))
    assert filled.position("flow-1") == Position(2, 10)
    assert filled.run("flow-1").status == FAILED
    assert filled.summary("flow-1") == {
        "first": {SUCCESS: 1},
        "many": {FAILED: 1, SUCCESS: 1, "PENDING": 1},
        "last": {SKIPPED: 1},
    }
    first, failed, spilled, last = filled.instances("flow-1")
    assert (first.index, first.paths, first.job) == (None, ("/a", "/b"), "7")
    assert (first.started, first.ended, first.spilled) == (1.5, 2.5, False)
    assert (failed.index, failed.attempt, failed.cause, failed.detail) == (
        0, 2, "OOM", "Traceback …",
    )  # fmt: skip
    assert (spilled.index, spilled.value, spilled.spilled) == (1, None, True)
    assert (last.state, last.identity, last.spilled) == (SKIPPED, "", False)
    assert filled.instances("flow-1", "many", [FAILED]) == [failed]
    assert filled.instances("flow-1", states=[SKIPPED, FAILED]) == [failed, last]


def test_the_last_outcome_of_an_instance_stands_and_again_is_harmless(
    filled: SqliteStore,
) -> None:
    changes = [Outcome("first", 0, 1, FAILED), success("first", attempt=2)]
    for _ in range(2):
        assert filled.apply("flow-1", changes, {}, None, Position(1, 5))
    (instance,) = filled.instances("flow-1")
    assert (instance.state, instance.attempt) == (SUCCESS, 2)


def test_a_slower_process_does_not_turn_the_index_back(filled: SqliteStore) -> None:
    assert filled.apply("flow-1", [success("first")], {}, SUCCESS, Position(1, 9))
    assert not filled.apply("flow-1", [Outcome("first", 0, 1, FAILED)], {}, FAILED, Position(1, 5))
    assert filled.position("flow-1") == Position(1, 9)
    assert filled.run("flow-1").status == SUCCESS


def test_a_whole_array_gives_way_to_its_elements(filled: SqliteStore) -> None:
    filled.apply("flow-1", [Outcome("many", WHOLE_TASK, 0, SKIPPED)], {}, None, Position(1, 1))
    (whole,) = filled.instances("flow-1", "many")
    assert (whole.index, whole.state) == (None, SKIPPED)
    filled.apply("flow-1", [success("many")], {"many": 1}, None, Position(1, 2))
    assert [row.index for row in filled.instances("flow-1", "many")] == [0]


def test_what_is_under_way_is_replaced_as_a_whole(filled: SqliteStore) -> None:
    under_way = [Outcome("many", i, 1, SUBMITTED, job="5") for i in range(3)]
    filled.apply("flow-1", [], {"many": 3}, None, Position(1, 1), under_way)
    assert filled.summary("flow-1")["many"] == {SUBMITTED: 3}
    filled.apply("flow-1", [success("many", 0)], {}, None, Position(1, 2))
    assert filled.summary("flow-1")["many"] == {SUCCESS: 1, SUBMITTED: 2}
    filled.apply("flow-1", [], {}, None, Position(1, 2), [Outcome("many", 1, 1, RUNNING)])
    assert filled.summary("flow-1")["many"] == {SUCCESS: 1, RUNNING: 1, "PENDING": 1}


def test_lookup_finds_successes_only_and_the_first(filled: SqliteStore) -> None:
    hit = success("many", 4, paths=("/p",))
    cached = success("many", 5, state=CACHED)
    failed = success("many", 6, state=FAILED)
    filled.apply("flow-1", [hit, cached, failed], {"many": 7}, None, Position(1, 1))
    filled.add_run(run_row("flow-2"), TASKS)
    filled.apply("flow-2", [hit._replace(value="2")], {}, None, Position(1, 1))
    wanted = [hit.identity, cached.identity, failed.identity, sha("none")]
    (found,) = filled.lookup(wanted).values()
    assert (found.run_id, found.task, found.index, found.value, found.paths, found.record) == (
        "flow-1", "many", 4, hit.value, ("/p",), "/runs/flow-1/.reflow",
    )  # fmt: skip
    assert filled.lookup([bytes.fromhex(hit.identity)]) == {hit.identity: found}
    assert filled.lookup(wanted, newest=True)[hit.identity].run_id == "flow-2"
    filled.drop_run("flow-1")
    assert filled.lookup(wanted)[hit.identity].run_id == "flow-2"
    assert filled.lookup([]) == {}


def test_equal_beginnings_of_identities_are_told_apart(filled: SqliteStore) -> None:
    one, two = "ab" * 31 + "00", "ab" * 31 + "01"
    filled.apply("flow-1", [success("first", identity=one)], {}, None, Position(1, 1))
    assert filled.lookup([two]) == {}
    filled.apply("flow-1", [success("last", identity=two)], {}, None, Position(1, 2))
    assert {key: row.task for key, row in filled.lookup([one, two]).items()} == {
        one: "first", two: "last",
    }  # fmt: skip


def test_a_result_that_was_superseded_is_found_no_more(filled: SqliteStore) -> None:
    filled.apply("flow-1", [success("first")], {}, None, Position(1, 1))
    filled.apply("flow-1", [success("first", state=CANCELLED)], {}, None, Position(1, 2))
    assert filled.lookup([success("first").identity]) == {}


def test_many_identities_are_looked_up_in_one_call(filled: SqliteStore) -> None:
    changes = [success("many", i) for i in range(3000)]
    filled.apply("flow-1", changes, {"many": 3000}, None, Position(1, 1))
    found = filled.lookup([change.identity for change in changes])
    assert {row.index for row in found.values()} == set(range(3000))


def test_runs_are_listed_newest_first_and_filtered(store: SqliteStore) -> None:
    store.add_run(run_row("a-1", "2026-03-31T23:30:00+00:00"), TASKS)
    store.add_run(run_row("b-2", "2026-04-01T00:00:00Z"), TASKS)
    store.add_run(run_row("a-3", "2026-04-02T00:00:00.000001"), TASKS)
    store.set_status("b-2", FAILED)

    def ids(**query: object) -> list[str]:
        return [run.run_id for run in store.list_runs(**query)]  # type: ignore[arg-type]

    assert ids() == ["a-3", "b-2", "a-1"]
    assert ids(limit=2) == ["a-3", "b-2"]
    assert ids(limit=0) == []
    assert ids(graph_name="a") == ["a-3", "a-1"]
    assert ids(status=FAILED) == ["b-2"]
    assert ids(since="2026-04-01") == ["a-3", "b-2"]
    assert ids(until="2026-04-01T00:00:00Z") == ["a-1"]
    assert ids(since="2026-04-01T02:00:00+02:00", until="2026-04-02") == ["b-2"]
    assert ids(graph_name="none") == []


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


def test_adding_again_keeps_what_is_indexed_unless_tasks_differ(filled: SqliteStore) -> None:
    filled.apply("flow-1", [success("first")], {}, None, Position(1, 1))
    filled.add_run(run_row(), TASKS)
    assert filled.position("flow-1") == Position(1, 1)
    filled.add_run(run_row(), [("first", False)])
    assert filled.position("flow-1") == Position()
    assert filled.instances("flow-1") == []


def test_a_dropped_run_leaves_nothing(filled: SqliteStore) -> None:
    filled.add_run(run_row("flow-2"), TASKS)
    for run_id in ("flow-1", "flow-2"):
        filled.apply(run_id, [success("first", seed=run_id)], {}, None, Position(1, 1))
    filled.drop_run("flow-1")
    filled.drop_run("never-there")
    assert [run.run_id for run in filled.list_runs()] == ["flow-2"]
    assert len(filled.instances("flow-2")) == 1
    assert filled.lookup([success("first", seed="flow-1").identity]) == {}


def test_the_file_is_opened_on_first_use_and_again_after_close(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.sqlite")
    assert not store.path.exists()
    store.add_run(run_row(), TASKS)
    store.close()
    store.close()
    assert store.run("flow-1").graph_name == "flow"


def test_the_journal_is_safe_on_a_network_file_system(filled: SqliteStore) -> None:
    with filled._reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_an_older_schema_is_brought_up_to_date(
    filled: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.close()
    later = (*sqlite.MIGRATIONS, ("ALTER TABLE run ADD COLUMN remark TEXT",))
    monkeypatch.setattr(sqlite, "MIGRATIONS", later)
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
    broken = (*sqlite.MIGRATIONS, ("CREATE TABLE fresh (x)", "no sql"))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            filled.list_runs()
    assert filled.run("flow-1").run_id == "flow-1"


def test_a_newer_schema_is_refused_with_both_versions(filled: SqliteStore) -> None:
    filled.close()
    with sqlite3.connect(filled.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match=r"version 99.*up to 1: upgrade reflow"):
        filled.list_runs()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to be sure of it\n" * 50)
    with pytest.raises(StoreError, match=r"text: file is not a database.*move it away"):
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
    with filled._reading() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    changes = [success("many", i, value='"' + "x" * 1000 + '"') for i in range(500)]
    with pytest.raises(StoreError, match=r"reflow\.sqlite: database or disk is full: make room"):
        filled.apply("flow-1", changes, {"many": 500}, None, Position(1, 1))
    assert filled.position("flow-1") == Position()
    filled.close()
    assert filled.apply("flow-1", changes, {"many": 500}, None, Position(1, 1))


def test_locked_for_too_long(filled: SqliteStore) -> None:
    other = SqliteStore(filled.path, timeout=0.05)
    with filled._writing(), pytest.raises(StoreError, match=r"locked.*0\.05 s; try again"):
        other.set_status("flow-1", FAILED)
    other.set_status("flow-1", FAILED)
    assert filled.run("flow-1").status == FAILED


def test_threads_share_a_store(filled: SqliteStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(20):
                filled.add_run(run_row(f"t{number}-{i}"), TASKS)
                filled.apply(f"t{number}-{i}", [success("first")], {}, None, Position(1, i))
                filled.summary(f"t{number}-{i}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(filled.list_runs()) == 81


def _write_runs(path: str, number: int) -> None:
    store = SqliteStore(path)
    for i in range(15):
        run_id = f"p{number}-{i}"
        store.add_run(run_row(run_id), TASKS)
        for batch in range(2):
            changes = [success("many", batch * 50 + k, run_id) for k in range(50)]
            store.apply(run_id, changes, {"many": 100}, None, Position(1, batch + 1))


def test_four_processes_write_at_once_to_a_new_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    path = str(tmp_path / "x.sqlite")
    workers = [context.Process(target=_write_runs, args=(path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    with SqliteStore(path) as store:
        runs = store.list_runs()
        assert len(runs) == 60
        assert all(store.summary(run.run_id)["many"] == {SUCCESS: 100} for run in runs)


def test_an_open_store_survives_a_fork(filled: SqliteStore) -> None:
    with filled._lock:  # as another thread might hold it
        child = os.fork()
        if child == 0:
            try:
                filled.add_run(run_row("child-1"), TASKS)
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert {run.run_id for run in filled.list_runs()} == {"flow-1", "child-1"}


def test_open_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def path_of(url: str | Path | None) -> Path:
        opened = open_store(url)
        assert isinstance(opened, SqliteStore)
        return opened.path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert path_of(f"sqlite:///{tmp_path}/a%20b.sqlite") == tmp_path / "a b.sqlite"
    assert path_of("sqlite:///x.sqlite") == tmp_path / "x.sqlite"
    assert path_of(tmp_path / "y.sqlite") == tmp_path / "y.sqlite"
    assert path_of(None) == tmp_path / "state" / "reflow" / "reflow.sqlite"
    for wrong in ("postgres://x/y", "sqlite://x", "sqlite:///"):
        with pytest.raises(StoreError, match="give a path"):
            open_store(wrong)


def test_the_default_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    with open_store() as store:
        assert store.list_runs() == []
    assert default_store_path().exists()
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    with pytest.raises(StoreError, match="set XDG_STATE_HOME"):
        open_store().list_runs()


_outcomes = st.builds(
    lambda index, state, seed: success("many", index, str(seed), state=state),
    st.integers(0, 5),
    st.sampled_from([SUCCESS, CACHED, FAILED, SKIPPED]),
    st.integers(0, 3),
)


@settings(max_examples=40, deadline=None)
@given(changes=st.lists(_outcomes, max_size=30), cut=st.integers(0, 30))
def test_the_index_is_what_the_outcomes_say(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Outcome], cut: int
) -> None:
    last = {change.index: change for change in changes}
    with SqliteStore(tmp_path_factory.mktemp("store") / "x.sqlite") as store:
        store.add_run(run_row(), TASKS)
        store.apply("flow-1", changes[:cut], {"many": 6}, None, Position(1, 1))
        store.apply("flow-1", changes[cut:], {}, None, Position(1, 2))
        rows = store.instances("flow-1")
        assert {(row.index, row.state, row.identity) for row in rows} == {
            (index, change.state, change.identity) for index, change in last.items()
        }
        assert sum(store.summary("flow-1")["many"].values()) == 6
        hits = {change.identity for change in last.values() if change.state == SUCCESS}
        assert set(store.lookup([change.identity for change in changes])) == hits
