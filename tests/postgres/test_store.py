"""The PostgreSQL store: passwords, a server that is down, several users, versions of its tables."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pytest

from postgres.server import PASSWORD, Server, new_server
from reflow import Result, RunDir, Workflow
from reflow.errors import StoreError, StoreVersionError
from reflow.plugins.open_store import open_store
from reflow.states import FAILED, SUCCESS
from reflow.storage.outcome import Outcome
from reflow.stores.base import Position
from reflow.testing.stores import TASKS, everything, run_row, success
from reflow_postgres import schema, session
from reflow_postgres.address import address_of
from reflow_postgres.rows import loaded, stored
from reflow_postgres.store import PostgresStore

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A schema of its own for each test."""
    return request.node.name[:40]


@pytest.fixture
def store(server: Server, name: str) -> Iterator[PostgresStore]:
    with PostgresStore(server.url(name)) as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def configure(home: Path, url: str) -> None:
    folder = home / "config" / "reflow"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f"[store]\nurl = {json.dumps(url)}\n")


def reflow(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from reflow.cli import main; main()", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


# URLs and passwords


@pytest.mark.parametrize(
    ("text", "url", "schema_name", "password"),
    [
        ("postgresql://", "postgresql://", "reflow", None),
        ("postgres://a@h/d", "postgresql://a@h/d", "reflow", None),
        ("postgresql://a:b%20c@h:5/d", "postgresql://a@h:5/d", "reflow", "b c"),
        ("postgresql://:b@h/d", "postgresql://h/d", "reflow", "b"),
        ("postgresql://h/d?password=x&sslmode=require", "postgresql://h/d?sslmode=require",
         "reflow", "x"),
        ("postgresql://h1,h2/d?schema=te%20am", "postgresql://h1,h2/d?schema=te%20am", "te am",
         None),
        ("postgresql:///d?host=/a b", "postgresql:///d?host=%2Fa%20b", "reflow", None),
    ],
)  # fmt: skip
def test_urls_are_parsed(
    text: str, url: str, schema_name: str, password: str | None
) -> None:
    address = address_of(text)
    assert (address.url, address.schema, address.password) == (url, schema_name, password)
    assert address_of(address.url).url == url
    assert "schema" not in address.connection
    assert repr(address).count("'") == 4, "neither the password nor what it connects by"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://a:secret@h/d", "scheme 'mysql'"),
        ("secret", "write postgresql://user@host"),
        ("postgresql://h/d?schema=", "schema .* is empty"),
        ("postgresql://h/d?sslpassword=secret", "sslpassword"),
    ],
)
def test_bad_urls_are_refused(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        PostgresStore.from_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("where", ["user", "query"])
def test_a_password_is_shown_nowhere(
    server: Server, name: str, where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    url = server.url(name, password=PASSWORD)
    if where == "query":
        url = f"{server.url(name)}&password={PASSWORD.replace(' ', '%20')}"
    configure(home, url)
    secrets = (PASSWORD, "s3cret", "word%")
    wf = Workflow("told", store=open_store(url))

    @wf.job()
    def number() -> int:
        return 1

    run = wf.run_local(home / "run")
    assert run.state == SUCCESS
    shown = [repr(wf.store), wf.store.url, pickle.dumps(wf.store).decode("latin-1")]
    shown += [reflow("config", "show"), reflow("config", "show", "--json"), reflow("runs")]
    shown += [path.read_text(errors="replace") for path in (home / "run").rglob("*")
             if path.is_file()]  # fmt: skip
    assert not [text for text in shown for secret in secrets if secret in text]
    # A later process, which opens it by the URL on record, has it from the configuration.
    assert PostgresStore(wf.store.url).run(run.run_id).status == SUCCESS
    with pytest.raises(StoreError, match=r"~/\.pgpass|PGPASSWORD") as caught:
        PostgresStore(server.url("other")).list_runs()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_password_is_not_in_the_error(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    for url in (
        server.url(name, password="wr0ng"),
        "postgresql://me:wr0ng@localhost:port/d",
        "postgresql://me:wr0ng@/d?nothing=1&host=/none",
    ):
        with pytest.raises(StoreError) as caught:
            PostgresStore(url).list_runs()
        assert "wr0ng" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["", "a\\b", "\0", "\x01", "ä\ud800", "\x01\\", "ä\n\x00\x7f€"])
def test_any_text_comes_back(store: PostgresStore, text: str) -> None:
    assert loaded(stored(text)) == text
    assert "\0" not in stored(text)
    stored(text).encode()
    outcome = success("first", value=json.dumps(text), detail=text, paths=(text,))
    store.add_run(run_row(), TASKS)
    store.apply("flow-1", [outcome], {}, None, Position(1, 1))
    (row,) = store.instances("flow-1")
    assert (row.detail, row.paths) == (text, (text,))
    assert store.list_runs(graph_name=text or "none") == []


# A server that is down


def test_a_run_goes_on_without_the_server_and_is_indexed_later(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PAUSES", (0.1,))
    server = new_server()
    try:
        wf = Workflow("alone", store=PostgresStore(server.url("reflow")))

        @wf.job()
        def stop(run_dir: RunDir) -> list[int]:
            server.stop()
            return list(range(20))

        @wf.job(array=True)
        def double(x: Annotated[int, Result(step="stop")]) -> int:
            return 2 * x

        begun = time.monotonic()
        run = wf.run_local(tmp_path / "run")
        assert run.state == SUCCESS
        assert run.result("double") == [2 * x for x in range(20)]
        assert time.monotonic() - begun < 60, "nobody waits for the server again and again"
        with pytest.raises(StoreError, match="see that the server runs"):
            wf.store.list_runs()
        with pytest.raises(StoreError, match="runs go on"):
            wf.run_local(tmp_path / "other")
        assert not (tmp_path / "other" / ".reflow").exists(), "no run that nobody can find"
        server.start()
        time.sleep(0.2)
        assert run.counts() == {"stop": {SUCCESS: 1}, "double": {SUCCESS: 20}}
        assert wf.store.run(run.run_id).status == SUCCESS
    finally:
        server.stop()
        shutil.rmtree(server.folder)


def test_lost_connection_is_opened_again(server: Server, store: PostgresStore) -> None:
    store.add_run(run_row(), TASKS)
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name"
    assert int(server.sql(f"{end} = 'reflow'")) >= 1
    assert store.run("flow-1") == run_row()
    server.sql(f"{end} = 'reflow'")
    store.set_status("flow-1", FAILED)
    assert store.run("flow-1").status == FAILED


def test_no_new_attempt_for_a_while_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[int] = []
    connect = session.psycopg.connect

    def counting(*words: object, **options: object) -> object:
        connections.append(1)
        return connect(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(session.psycopg, "connect", counting)
    monkeypatch.setattr(session, "PAUSES", (30.0,))
    store = PostgresStore(f"postgresql:///d?host={tmp_path}")
    for _ in range(5):
        with pytest.raises(StoreError, match=r"No such file|see that the server runs"):
            store.lookup([success("first").identity])
    assert len(connections) == 1


def test_a_session_of_the_parent_survives_its_children(store: PostgresStore) -> None:
    store.add_run(run_row(), TASKS)
    pid = store._session.read(lambda c: c.info.backend_pid)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store.set_status("flow-1", FAILED)
                store.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    assert store._session.read(lambda c: c.info.backend_pid) == pid


def test_store_gives_up_on_a_transaction_that_never_ends(
    server: Server, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_run(run_row(), TASKS)
    monkeypatch.setattr(session, "LOCK_SECONDS", 1)

    def hold(connection: session.Connection) -> None:
        connection.execute("SELECT 1 FROM run FOR UPDATE")
        with pytest.raises(StoreError, match="other transactions kept it locked for 1 s"):
            PostgresStore(store.url).set_status("flow-1", FAILED)

    store._session.write(hold)


# Several users


def together(number: int, work: Callable[[int], None]) -> None:
    """Call a function in several threads at once."""
    failures: list[BaseException] = []
    start = threading.Barrier(number)

    def begin(which: int) -> None:
        try:
            start.wait()
            work(which)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_many_processes_create_the_tables_at_once(server: Server, name: str) -> None:
    def work(number: int) -> None:
        with PostgresStore(server.url(name)) as own:
            own.add_run(run_row(f"run-{number}"), TASKS)

    together(6, work)
    with PostgresStore(server.url(name)) as own:
        assert len(own.list_runs()) == 6
        assert own.check() == []


def test_writers_of_different_runs_do_not_lose_counts(server: Server, name: str) -> None:
    """Each reuses results of the others' runs while these are dropped and added."""

    def work(number: int) -> None:
        with PostgresStore(server.url(name)) as own:
            for i in range(8):
                own.add_run(run_row(f"run-{number}"), TASKS)
                taken = success("first", state="CACHED", origin=f"run-{(number + 1) % 4}")
                changes = [taken, *(success("many", k, str(number)) for k in range(50))]
                own.apply(f"run-{number}", changes, {"many": 50}, None, Position(1, i))
                if i % 3 == 2:
                    own.drop_run(f"run-{number}")

    together(4, work)
    with PostgresStore(server.url(name)) as own:
        assert own.check() == []


def test_error_names_the_missing_rights(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'theirs'")
    with PostgresStore(server.url(name)) as own:
        own.add_run(run_row(), TASKS)
    monkeypatch.setenv("PGPASSWORD", "theirs")
    with pytest.raises(StoreError, match="GRANT USAGE ON SCHEMA") as caught:
        PostgresStore(server.url(name, user=name)).list_runs()
    with pytest.raises(StoreError, match="CREATE SCHEMA"):
        PostgresStore(server.url(f"{name}_2", user=name)).list_runs()
    # The statements that the error shows are enough.
    text = str(caught.value)
    grants = text[text.index("GRANT USAGE") : text.index(" to make")]
    server.sql(grants)
    with PostgresStore(server.url(name, user=name)) as theirs:
        assert theirs.list_runs() == [run_row()]
        theirs.add_run(run_row("theirs-1"), TASKS)
        theirs.apply("theirs-1", [success("first")], {}, SUCCESS, Position(1, 1))
        theirs.drop_run("flow-1")


def test_users_of_the_schema_may_use_the_tables(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.sql(
        f"CREATE ROLE {name}_team; CREATE ROLE {name} LOGIN PASSWORD 'theirs' IN ROLE {name}_team;"
        f'CREATE SCHEMA "{name}"; GRANT USAGE ON SCHEMA "{name}" TO {name}_team'
    )
    with PostgresStore(server.url(name)) as own:
        own.add_run(run_row(), TASKS)
        before = everything(own)
        monkeypatch.setenv("PGPASSWORD", "theirs")
        with PostgresStore(server.url(name, user=name)) as theirs:
            assert everything(theirs) == before
            theirs.apply("flow-1", [success("first")], {"many": 2}, None, Position(1, 1))
        assert own.summary("flow-1")["first"] == {SUCCESS: 1}


# Versions, and other programs' tables


def test_newer_tables_are_refused(server: Server, store: PostgresStore, name: str) -> None:
    store.add_run(run_row(), TASKS)
    server.sql(f'UPDATE "{name}".reflow_schema SET version = 99')
    with pytest.raises(StoreVersionError, match=r"version 99.*up to 3: upgrade"):
        PostgresStore(store.url).list_runs()


def test_older_tables_are_brought_up_to_date(
    server: Server, store: PostgresStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_run(run_row(), TASKS)
    later = (*schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN remark text",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    with PostgresStore(store.url) as updated:
        assert updated.run("flow-1") == run_row()
    assert server.sql(f'SELECT version FROM "{name}".reflow_schema') == "4"
    broken = (*later, ("CREATE TABLE fresh (x int)", "no sql"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(StoreError, match="syntax error"):
        PostgresStore(store.url).list_runs()
    assert server.sql(f'SELECT version FROM "{name}".reflow_schema') == "4"


def test_tables_of_another_program_are_left_alone(server: Server, name: str) -> None:
    server.sql(f'CREATE SCHEMA "{name}"; CREATE TABLE "{name}".run (theirs int)')
    with pytest.raises(StoreError, match=r"tables of another program \(run\)"):
        PostgresStore(server.url(name)).list_runs()


def test_wrong_counts_are_found(server: Server, store: PostgresStore, name: str) -> None:
    store.add_run(run_row(), TASKS)
    store.apply("flow-1", [success("first"), Outcome("last", 0, 1, FAILED)], {}, None,
                Position(1, 1))  # fmt: skip
    assert store.check() == []
    server.sql(f'UPDATE "{name}".tally SET number = number + 1')
    assert store.check() == ["2 counts of states that are wrong"]


def test_the_command_line(server: Server, name: str, home: Path) -> None:
    configure(home, server.url(name))
    wf = Workflow("listed", store=server.url(name))

    @wf.job()
    def number() -> int:
        return 1

    run = wf.run_local(home / "run")
    assert run.run_id in reflow("runs")
    assert "nothing is wrong" in reflow("store", "check")
    wf.store.drop_run(run.run_id)
    assert "1 run indexed" in reflow("store", "rebuild", str(home / "run"))
    assert "only with a store in a file" in reflow("store", "rebuild", "--new", code=2)
    assert '"value":1' in reflow("store", "export")
    message = reflow("store", "gc", "--max-size", "0", "--keep", "0", "--yes")
    assert "1 run and 0 orphaned" in message
    assert "No runs." in reflow("runs")
