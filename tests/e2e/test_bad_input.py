"""Wrong input and failing file systems: the messages, and that nothing is left behind."""

import errno
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Param, Result, RunDir, Workflow
from reflow.errors import (
    ParameterError,
    RecordError,
    RecordVersionError,
    ReflowError,
    RunDirectoryError,
    RunFailedError,
    StoreError,
    StoreVersionError,
    UnknownRunError,
    UnknownTaskError,
    ValidationError,
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def pipeline():
    wf = Workflow("pipeline")

    @wf.job()
    def make(n: Annotated[int, Param(help="how many")], word: str = "w") -> list[str]:
        return [f"{word}{k}" for k in range(n)]

    @wf.job(array=True)
    def shout(item: Annotated[str, Result(step=make)], run_dir: RunDir) -> str:
        return item.upper()

    @wf.job()
    def join(items: Annotated[list[str], Result(step=shout)]) -> list[str]:
        return items

    return wf


def starters():
    return [
        pytest.param(lambda wf, *folder, **more: wf.run_local(*folder, **more), id="run_local"),
        pytest.param(
            lambda wf, *folder, **more: wf.submit(*folder, executor="local", **more), id="submit"
        ),
    ]


both_ways = pytest.mark.parametrize("start", starters())


def nothing_was_created(wf, out):
    return not out.exists() and wf.store.list_runs() == []


# Parameters


@both_ways
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, r"parameter 'n' \(int\) is missing: task 'make' needs it"),
        ({"n": 1, "m": 2}, "no parameter 'm'"),
        ({"n": 1, "wrod": "x"}, "did you mean 'word'"),
        ({"n": "one"}, "'n' of task 'make' must be int, got 'one'"),
        ({"n": 1.5}, "must be int"),
        ({"n": True}, "must be int"),
        ({"n": None}, "must be int"),
        ({"n": 1, "word": 3}, "'word' of task 'make' must be str, got 3"),
        ({"n": object()}, "must be int"),
    ],
)
def test_parameters(out, start, parameters, message):
    wf = pipeline()
    with pytest.raises(ParameterError, match=message):
        start(wf, out, **parameters)
    assert nothing_was_created(wf, out)


@both_ways
def test_all_bad_parameters_are_reported_at_once(out, start):
    with pytest.raises(ParameterError) as caught:
        start(pipeline(), out, word=3, m=1)
    for message in ("'n' (int) is missing", "no parameter 'm'", "must be str, got 3"):
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_workers": 0}, "max_workers"),
        ({"max_workers": "two"}, "max_workers"),
        ({"max_workers": True}, "max_workers"),
        ({"on_error": "ignore"}, "'stop' or 'continue'"),
        ({"force_tasks": "make"}, "list of task names"),
    ],
)
def test_options(out, options, message):
    wf = pipeline()
    with pytest.raises(ParameterError, match=message):
        wf.run_local(out, n=1, **options)
    assert nothing_was_created(wf, out)


def test_an_unknown_executor(out):
    wf = pipeline()
    with pytest.raises(ReflowError, match="'slrm'"):
        wf.submit(out, executor="slrm", n=1)
    assert nothing_was_created(wf, out)


# Names


@both_ways
def test_unknown_task_in_step(out, start):
    wf = pipeline()

    @wf.job()
    def more(x: Annotated[str, Result(step="jion")]) -> str:
        return x

    with pytest.raises(ValidationError, match=r"'more'.*'jion'.*did you mean 'join'"):
        wf.validate()
    with pytest.raises(ValueError, match="did you mean 'join'"):
        start(wf, out, n=1)
    assert nothing_was_created(wf, out)


def test_unknown_task_in_after(out):
    wf = pipeline()

    @wf.job(after=["jion"])
    def more() -> int:
        return 1

    with pytest.raises(ValidationError, match=r"'more', after: .*'jion'.*did you mean 'join'"):
        wf.run_local(out, n=1)
    assert nothing_was_created(wf, out)


def test_a_function_that_is_no_task(out):
    wf = pipeline()

    def stranger() -> int:
        return 1

    @wf.job()
    def more(x: Annotated[int, Result(step=stranger)]) -> int:
        return x

    with pytest.raises(ValidationError, match="stranger"):
        wf.run_local(out, n=1)
    with pytest.raises(ValidationError, match="stranger"):
        wf.validate()


@both_ways
def test_unknown_task_in_force_tasks(out, start):
    wf = pipeline()
    with pytest.raises(UnknownTaskError, match=r"force_tasks: .*'jion'.*did you mean 'join'"):
        start(wf, out, n=1, force_tasks=["make", "jion"])
    assert nothing_was_created(wf, out)


def test_unknown_task_of_a_run(out):
    run = pipeline().run_local(out, n=1)

    def stranger() -> int:
        return 1

    for ask in (run.cancel, run.retry):
        with pytest.raises(UnknownTaskError, match=r"'jion'.*did you mean 'join'.*tasks: "):
            ask(task="jion")
    for task in ("jion", stranger, 3):
        with pytest.raises(UnknownTaskError):
            run.result(task)
    assert run.state == "SUCCESS"
    assert run.result("join") == ["W0"]


def test_unknown_run(out):
    wf = pipeline()
    with pytest.raises(UnknownRunError, match="no-such-run"):
        wf.run("no-such-run")
    run = wf.submit(out, executor="local", n=1)
    with pytest.raises(UnknownRunError, match="no-such-run"):
        wf.cancel_runs([run.run_id, "no-such-run"], wf.store)
    assert run.wait(60) == "SUCCESS"  # not cancelled: the list was wrong
    with pytest.raises(UnknownRunError):
        wf.run(run.run_id + "x")


# Empty fan-out


@both_ways
def test_empty_fan_out(out, start):
    run = start(pipeline(), out, n=0)
    assert run.wait(60) == "SUCCESS"
    assert run.result("make") == run.result("shout") == run.result("join") == []
    status = run.status(as_dict=True)
    assert status["run"]["status"] == "SUCCESS"
    assert status["failed_instances"] == []
    assert not any(state != "SUCCESS" for state in status["summary"]["shout"])


def test_status_of_an_empty_array_is_success(out, capsys):
    run = pipeline().run_local(out, n=0)
    assert run.status(as_dict=True)["summary"]["shout"] == {"SUCCESS": 0}
    run.status()
    line = next(line for line in capsys.readouterr().out.splitlines() if "shout" in line)
    assert "SUCCESS 0" in line


# Values that cannot be serialized, and values that do not fit their annotation


class Opaque:
    def __init__(self, *, secret):
        self._hidden = secret


def test_an_annotation_that_cannot_be_serialized(out):
    wf = Workflow("opaque")

    @wf.job()
    def make() -> Opaque:
        return Opaque(secret=1)

    with pytest.raises(ValidationError, match=r"'make', return value: .*Opaque"):
        wf.validate()
    with pytest.raises(ValidationError):
        wf.run_local(out)
    assert nothing_was_created(wf, out)


def test_a_parameter_that_cannot_be_serialized():
    wf = Workflow("opaque")

    @wf.job()
    def use(x: dict[str, list[Opaque]]) -> int:
        return 1

    with pytest.raises(ValidationError, match=r"'use', parameter 'x': .*Opaque"):
        wf.validate()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_value_that_cannot_be_serialized(out, workers):
    wf = Workflow("opaque")

    @wf.job()
    def make() -> Any:
        return {"a": [1, Opaque(secret=1)]}

    with pytest.raises(RunFailedError, match=r"(?s)'make'.*Opaque"):
        wf.run_local(out, max_workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("announced", "value", "pattern"),
    [
        (int, "text", "int.*str"),
        (int, 1.5, "int.*float"),
        (str, None, "str.*None"),
        (list[int], [1, "two"], r"int.*str 'two'.*\[1\]"),
        (list[str], "text", "list.*str"),
        (Path, "text", "Path.*str"),
        (None, 3, "None.*int"),
    ],
)
def test_result_that_does_not_fit_the_annotation_fails_the_task(
    out, announced, value, pattern, workers
):
    wf = Workflow("liar")

    def make():
        return value

    make.__annotations__ = {"return": announced}
    wf.job()(make)

    @wf.job(after="make")
    def more() -> int:
        return 1

    run = wf.run_local(out, on_error="continue", max_workers=workers)
    status = run.status(as_dict=True)
    assert status["run"]["status"] == "FAILED"
    assert status["summary"] == {"make": {"FAILED": 1}, "more": {"SKIPPED": 1}}
    (failed,) = status["failed_instances"]
    message = failed["error_text"].splitlines()[-1]
    assert "'make'" in message
    import re

    assert re.search(pattern, message), message
    with pytest.raises(RunFailedError, match="'make'"):
        run.result("make")


# File systems that fail


@both_ways
@pytest.mark.parametrize("where", ["the folder", "above it", "the records"])
def test_a_file_in_place_of_the_run_directory(tmp_path, start, where):
    blocked = tmp_path / "blocked"
    if where == "the records":
        blocked.mkdir()
        (blocked / ".reflow").write_text("in the way")
    else:
        blocked.write_text("in the way")
    wf = pipeline()
    with pytest.raises(RunDirectoryError, match=r"blocked.*give a run_dir that you can write") as e:
        start(wf, blocked if where != "above it" else blocked / "x", n=1)
    assert isinstance(e.value, OSError)
    assert e.value.errno in (errno.EEXIST, errno.ENOTDIR)
    assert wf.store.list_runs() == []


@both_ways
def test_a_working_directory_that_is_gone(out, start, tmp_path, monkeypatch):
    wf = pipeline()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(RunDirectoryError, match="change to one that exists"):
        start(wf, out, n=1)


class FullDisk:
    """Fails writes below a folder once `room` bytes are written there."""

    def __init__(self, monkeypatch, folder, room):
        self.folder, self.room = str(folder), room
        self.write, self.fsync = os.write, os.fsync
        monkeypatch.setattr(os, "write", self.limited)

    def limited(self, handle, data):
        if os.readlink(f"/proc/self/fd/{handle}").startswith(self.folder):
            if self.room < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= len(data)
        return self.write(handle, data)


@both_ways
def test_no_room_for_the_record(out, start, monkeypatch):
    wf = pipeline()
    with monkeypatch.context() as patch:
        FullDisk(patch, out, 0)
        with pytest.raises(RunDirectoryError, match=r"No space left.*room"):
            start(wf, out, n=1)
    assert wf.store.list_runs() == []
    assert wf.run_local(out, n=1).result("join") == ["W0"]  # as soon as there is room again


@pytest.mark.parametrize("room", [*range(5_000, 7_000, 50), 8_000, 12_000])
def test_no_room_left_during_a_run(out, monkeypatch, room):
    """The run ends with an error that names the path, and it can be resumed."""
    wf = pipeline()
    with monkeypatch.context() as patch:
        FullDisk(patch, out, room)
        with pytest.raises(ReflowError, match="No space left") as caught:
            wf.run_local(out, n=200)
    assert str(out) in str(caught.value)
    runs = wf.store.list_runs()
    if runs:
        run = wf.run(runs[0].run_id)
        run.retry()
        assert run.wait(60) == "SUCCESS"
        assert len(run.result("join")) == 200


def test_no_room_for_a_request_names_the_place(out, monkeypatch):
    run = pipeline().run_local(out, n=1)
    with monkeypatch.context() as patch:
        FullDisk(patch, out, 0)
        with pytest.raises(OSError, match="No space left") as caught:
            run.retry()
    assert str(caught.value.filename).startswith(str(out))


def test_no_room_for_a_large_value(out, monkeypatch):
    wf = Workflow("large")

    @wf.job()
    def make(size: int) -> str:
        return "x" * size

    with monkeypatch.context() as patch:
        FullDisk(patch, out, 60_000)
        with pytest.raises(RunFailedError, match="value of 'make': No space left"):
            wf.run_local(out, size=100_000)
    assert len(wf.run_local(out, size=100_000).result("make")) == 100_000


@both_ways
@pytest.mark.parametrize("what", ["a folder", "no folder", "no database", "another's", "newer"])
def test_the_store(tmp_path, out, start, what):
    path = tmp_path / "runs.sqlite"
    error: type[StoreError] = StoreError
    if what == "a folder":
        path.mkdir()
    elif what == "no folder":
        path = tmp_path / "missing" / "runs.sqlite"
    elif what == "no database":
        path.write_text("no database " * 1000)
    elif what == "another's":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (x)")
    else:
        Workflow("x", store=path).store.list_runs()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        error = StoreVersionError
    wf = pipeline()
    wf._store = path
    with pytest.raises(error, match=str(path)):
        start(wf, out, n=1)
    assert not out.exists()


@both_ways
def test_a_store_that_is_only_readable(tmp_path, out, start):
    from reflow.storage.stores.sqlite.store import SqliteStore

    SqliteStore(tmp_path / "runs.sqlite").list_runs()
    wf = pipeline()
    wf._store = SqliteStore(tmp_path / "runs.sqlite", read_only=True)
    with pytest.raises(StoreError, match="read-only"):
        start(wf, out, n=1)
    assert not list(out.glob(".reflow/*"))  # no record of a run that is in no store


def test_a_store_that_fails_during_a_run_catches_up(out, monkeypatch):
    from reflow.storage.stores.sqlite.store import SqliteStore

    def fail(*_, **__):
        raise StoreError("the disk is full")

    wf = pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "apply", fail)
        patch.setattr(SqliteStore, "lookup", fail)
        run = wf.run_local(out, n=2)
    assert run.result("join") == ["W0", "W1"]
    assert run.status(as_dict=True)["summary"]["shout"] == {"SUCCESS": 2}
    assert wf.store.list_runs()[0].status == "SUCCESS"


def test_a_record_of_a_newer_format(out):
    wf = pipeline()
    run = wf.run_local(out, n=1)
    path = out / ".reflow" / run.run_id / "run.json"
    native = json.loads(path.read_text())
    path.write_text(json.dumps({"format": native["format"] + 1, "new": "things"}))
    with pytest.raises(RecordVersionError, match=r"run\.json.*newer reflow"):
        wf.run(run.run_id)


def test_a_journal_of_a_newer_format(out, monkeypatch):
    from reflow.storage import journal

    wf = pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "FORMAT", journal.FORMAT + 1)
        run = wf.run_local(out, n=1)
    for ask in (run.wait, run.retry, lambda: run.result("join"), lambda: run.state):
        with pytest.raises(RecordVersionError, match="newer reflow"):
            ask()


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_record(out, damage):
    wf = pipeline()
    run = wf.run_local(out, n=1)
    (out / ".reflow" / run.run_id / "run.json").write_text(damage)
    with pytest.raises(RecordError, match=r"run\.json"):
        wf.run(run.run_id)


# A run directory that goes away


def every_question(run):
    return {
        "status": lambda: run.status(as_dict=True),
        "text": run.status,
        "wait": lambda: run.wait(60),
        "retry": run.retry,
        "cancel": run.cancel,
        "result": lambda: run.result("join"),
        "state": lambda: run.state,
    }


def go_away(out, how):
    if how == "moved":
        out.rename(out.with_name("moved"))
    else:
        # Its processes may be writing.
        until = time.monotonic() + 10
        while out.exists() and time.monotonic() < until:
            shutil.rmtree(out, ignore_errors=True)
        if how == "a file":
            out.write_text("something else")


@pytest.mark.parametrize("how", ["deleted", "moved", "a file"])
def test_the_directory_of_an_ended_run_goes_away(out, how):
    wf = pipeline()
    run = wf.run_local(out, n=1)
    go_away(out, how)
    for name, ask in every_question(run).items():
        with pytest.raises(RecordError, match=str(out)) as caught:
            ask()
        assert run.run_id in str(caught.value), name
    with pytest.raises(RecordError, match=str(out)):
        wf.run(run.run_id)
    if how != "a file":
        assert not out.exists()
        assert wf.run_local(out, n=2).result("join") == ["W0", "W1"]


def slow():
    """Return a workflow that runs as long as its folder exists."""
    wf = Workflow("slow")

    @wf.job()
    def numbers() -> list[int]:
        return list(range(4))

    @wf.job(array=True)
    def nap(n: Annotated[int, Result(step=numbers)], run_dir: RunDir) -> int:
        (run_dir.parent / "napping").touch()
        until = time.monotonic() + 60
        while run_dir.exists() and time.monotonic() < until:
            time.sleep(0.05)
        return n

    @wf.job()
    def join(items: Annotated[list[int], Result(step=nap)]) -> int:
        return sum(items)

    return wf


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_the_directory_of_a_live_run_goes_away(out, how, watch):
    run = slow().submit(out, executor="local")
    watch.until((out.parent / "napping").exists)
    assert run.state == "RUNNING"
    go_away(out, how)
    for ask in every_question(run).values():
        with pytest.raises(RecordError, match=str(out)):
            ask()
    watch.until(lambda: not watch.processes(run))
    assert not out.exists()  # processes that still ran did not create it again


def test_the_directory_goes_away_while_it_is_waited_for(out, watch):
    import threading

    run = slow().submit(out, executor="local")

    def once_it_is_under_way():
        watch.until((out.parent / "napping").exists)
        go_away(out, "deleted")

    meanwhile = threading.Thread(target=once_it_is_under_way)
    meanwhile.start()
    with pytest.raises(RecordError, match=str(out)):
        run.wait(60)
    meanwhile.join()


def test_the_directory_goes_away_under_run_local(out):
    wf = Workflow("suicidal")

    @wf.job()
    def clean(run_dir: RunDir) -> int:
        shutil.rmtree(run_dir)
        return 1

    @wf.job(after="clean")
    def more() -> int:
        return 1

    with pytest.raises(ReflowError):
        wf.run_local(out)


def test_an_error_of_megabytes_is_kept_in_part(tmp_path):
    """Every pass of a run holds the text in memory; an error of 30 MB once killed all passes."""
    wf = Workflow("wordy")

    @wf.job()
    def wordy() -> int:
        raise ValueError("begin" + "x" * 3_000_000 + "end")

    with pytest.raises(RunFailedError) as caught:
        wf.run_local(tmp_path)
    (failed,) = caught.value.run.status(as_dict=True)["failed_instances"]
    text = failed["error_text"]
    assert len(text) < 100_000
    assert "ValueError: begin" in text
    assert text.endswith("end")
