import contextlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from reflow import LocalExecutor, RunFailedError, UnknownTaskError

SLOW = """
import os, subprocess, time
from typing import Annotated
from reflow import Workflow, Param, Result, RunDir

wf = Workflow("slow")

@wf.job()
def items(n: Annotated[int, Param()] = 6) -> list[int]:
    return list(range(n))

@wf.job(array=True)
def work(item: Annotated[int, Result(step="items")], folder: RunDir) -> int:
    if not (folder / "go").exists():
        process = subprocess.Popen(["sleep", "1000"], stderr=subprocess.DEVNULL)
        (folder / f"new-{item}").write_text(str(process.pid))
        (folder / f"new-{item}").rename(folder / f"pid-{item}")  # whole, whoever is killed when
        process.wait()
    with open(folder / "ran", "a") as file:
        file.write(f"{item}\\n")
    return item * 10

@wf.job()
def total(all: Annotated[list[int], Result(step="work")]) -> int:
    return sum(all)

@wf.job()
def other(folder: RunDir) -> str:
    return "other"
"""

FAULTY = """
import ctypes, os, signal, sys
from typing import Annotated
from reflow import Workflow, Param, Result, RunDir

wf = Workflow("faulty")

@wf.job()
def items() -> list[int]:
    return list(range(6))

@wf.job(array=True)
def work(item: Annotated[int, Result(step="items")], folder: RunDir,
         how: Annotated[str, Param()] = "raise") -> int:
    with open(folder / "ran", "a") as file:
        file.write(f"{item}\\n")
    if item == 3 and not (folder / "repaired").exists():
        if how == "exit": sys.exit(7)
        if how == "_exit": os._exit(7)
        if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if how == "segfault": ctypes.string_at(0)
        if how == "orphan":
            if os.fork() == 0:
                import time; time.sleep(30); os._exit(0)
            os._exit(7)
        if how == "system": raise SystemExit("gone")
        raise ValueError("three")
    return item * 10

@wf.job(array=True)
def after(item: Annotated[int, Result(step="work")]) -> int:
    return item + 1

@wf.job()
def total(all: Annotated[list[int], Result(step="after")]) -> int:
    return sum(all)

@wf.job()
def apart(folder: RunDir) -> str:
    return "apart"
"""


def ran(folder: Path) -> Counter:
    path = folder / "ran"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def states(run, task):
    return {
        element["array_index"]: element["state"]
        for element in run.status(as_dict=True)["instances"]
        if element["task_name"] == task
    }


@pytest.fixture(autouse=True)
def no_sleeper_left(tmp_path):
    """End the processes that tasks started: they outlive a worker that is killed."""
    yield
    for file in tmp_path.glob("*/pid-*"):
        pid = file.read_text()
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0" + b"1000\0":
                os.kill(int(pid), 9)


def test_cancel_ends_everything_and_retry_goes_on(load, watch, tmp_path):
    wf = load(SLOW).wf
    run = wf.submit(run_dir=tmp_path / "r", executor=LocalExecutor(max_workers=2))
    pids = watch.until(
        lambda: len(started := [int(p.read_text()) for p in (tmp_path / "r").glob("pid-*")]) == 2
        and started
    )
    run.cancel()
    assert run.state == "CANCELLED"
    watch.until(lambda: not any(map(alive, pids)))
    watch.until(lambda: not watch.processes(run))
    assert run.wait(60) == "CANCELLED"
    with pytest.raises(RunFailedError):
        run.result("total")
    run.cancel()  # ended: stays as it is
    assert run.state == "CANCELLED"
    (tmp_path / "r" / "go").touch()
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 150
    watch.assert_recorded_once(run)


def test_cancel_of_one_task_lets_the_others_go_on(load, watch, tmp_path):
    wf = load(SLOW).wf
    run = wf.submit(run_dir=tmp_path / "r", executor=LocalExecutor(max_workers=3))
    watch.until(lambda: list((tmp_path / "r").glob("pid-*")))
    run.cancel(task="work")
    assert run.wait(60) == "CANCELLED"
    assert run.result("other") == "other"
    assert set(states(run, "work").values()) == {"CANCELLED"}
    assert set(states(run, "total").values()) == {"SKIPPED"}
    (tmp_path / "r" / "go").touch()
    run.retry(task="work")
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 150


def test_cancel_and_retry_of_an_unknown_task_say_so(load, tmp_path):
    wf = load(FAULTY).wf
    run = wf.run_local(run_dir=tmp_path / "r", on_error="continue")
    with pytest.raises(UnknownTaskError, match="did you mean 'work'"):
        run.retry(task="wrok")
    assert run.state == "FAILED"


def test_cancel_by_a_second_process(load, watch, tmp_path):
    module = load(SLOW)
    run = module.wf.submit(run_dir=tmp_path / "r", executor="local")
    watch.until(lambda: list((tmp_path / "r").glob("pid-*")))
    code = f"import {module.__name__} as m; m.wf.cancel_runs([{run.run_id!r}])"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    assert run.state == "CANCELLED"


def test_cancel_of_a_run_that_nobody_carries_on(load, watch, tmp_path):
    wf = load(SLOW).wf
    run = wf.submit(run_dir=tmp_path / "r", executor="local")
    watch.until(lambda: list((tmp_path / "r").glob("pid-*")))
    while pids := watch.processes(run):  # again: a driver that its shell had just begun
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
    watch.until(lambda: run.state == "WAITING")  # a dying process loses its command line first
    run.cancel()
    assert run.state == "CANCELLED"


@pytest.mark.parametrize("workers", [1, 2])
def test_retry_runs_only_what_failed(load, watch, tmp_path, workers):
    wf = load(FAULTY).wf
    folder = tmp_path / "r"
    run = wf.run_local(run_dir=folder, on_error="continue", max_workers=workers)
    assert run.state == "FAILED"
    assert states(run, "work")[3] == "FAILED"
    assert states(run, "after")[3] == "SKIPPED"
    assert states(run, "after")[4] == "SUCCESS"
    assert states(run, "total") == {None: "SKIPPED"}
    (folder / "repaired").touch()
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 156
    assert ran(folder) == {str(i): 1 + (i == 3) for i in range(6)}
    watch.assert_recorded_once(run)


def test_retry_of_one_task_takes_its_dependants_along(load, tmp_path):
    wf = load(FAULTY).wf
    run = wf.run_local(run_dir=tmp_path / "r", on_error="continue")
    run.retry(task="after")  # skipped again: what it needs has failed
    assert run.wait(60) == "FAILED"
    assert states(run, "after")[3] == "SKIPPED"
    assert ran(tmp_path / "r")["3"] == 1
    (tmp_path / "r" / "repaired").touch()
    run.retry(task="work")
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 156


def test_retry_goes_on_without_anybody_waiting(load, watch, tmp_path):
    wf = load(FAULTY).wf
    run = wf.submit(run_dir=tmp_path / "r", executor="local")
    watch.until(lambda: run.state == "FAILED")
    (tmp_path / "r" / "repaired").touch()
    run.retry()  # the first driver may just be about to end
    watch.until(lambda: run.state == "SUCCESS")
    assert run.result("total") == 156


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_begins_nothing_new(load, tmp_path, workers):
    wf = load(FAULTY).wf
    with pytest.raises(RunFailedError, match=r"work\[3\]") as caught:
        wf.run_local(run_dir=tmp_path / "r", max_workers=workers)
    run = caught.value.run
    assert run.state == "FAILED"
    with pytest.raises(RunFailedError):
        run.result("total")
    if workers == 1:
        assert "4" not in ran(tmp_path / "r")
    (tmp_path / "r" / "repaired").touch()
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 156


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", "sys.exit(7)"),
        ("system", "gone"),
        ("_exit", "exit code 7"),
        ("kill", "SIGKILL"),
        ("segfault", "SIGSEGV"),
        ("orphan", "exit code 7"),
    ],
)
def test_element_that_ends_its_process_fails_alone(load, watch, tmp_path, how, message):
    wf = load(FAULTY).wf
    run = wf.run_local(run_dir=tmp_path / "r", on_error="continue", max_workers=2, how=how)
    assert states(run, "work") == {i: "FAILED" if i == 3 else "SUCCESS" for i in range(6)}
    (failed,) = run.status(as_dict=True)["failed_instances"]
    assert message in failed["error_text"]
    assert run.result("apart") == "apart"
    assert ran(tmp_path / "r") == {str(i): 1 for i in range(6)}
    (tmp_path / "r" / "repaired").touch()
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 156


@pytest.mark.parametrize("how", ["exit", "system"])
def test_sys_exit_with_one_worker_fails_one_element(load, tmp_path, how):
    wf = load(FAULTY).wf
    run = wf.run_local(run_dir=tmp_path / "r", on_error="continue", how=how)
    assert states(run, "work") == {i: "FAILED" if i == 3 else "SUCCESS" for i in range(6)}


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_cancels_what_is_left(load, watch, tmp_path, workers):
    module = load(SLOW)
    folder = tmp_path / "r"
    code = (
        f"import {module.__name__} as m\n"
        f"m.wf.run_local(run_dir={str(folder)!r}, max_workers={workers})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    watch.until(lambda: list(folder.glob("pid-*")))
    process.send_signal(2)
    _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    (row,) = module.wf.store.list_runs()
    run = module.wf.run(row.run_id)
    assert run.state == "CANCELLED"
    pids = [int(file.read_text()) for file in folder.glob("pid-*")]
    if workers > 1:
        watch.until(lambda: not any(map(alive, pids)))
    else:  # these would have got the terminal's Ctrl-C themselves
        for pid in filter(alive, pids):
            os.kill(pid, 9)
    (folder / "go").touch()
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 150


def test_elements_in_status_never_lag_behind_the_run(tmp_path, monkeypatch):
    """A run that ends while its status is read must not be SUCCESS with elements missing."""
    from reflow import Workflow
    from reflow.runs import status

    wf = Workflow("ends", store=tmp_path / "runs.sqlite")

    @wf.job()
    def only() -> int:
        return 1

    run = wf.run_local(tmp_path / "out")
    calls = []
    index, view = status.bring_up_to_date, status.RunView
    monkeypatch.setattr(status, "bring_up_to_date", lambda *a: calls.append("index") or index(*a))
    monkeypatch.setattr(status, "RunView", lambda *a: calls.append("run") or view(*a))
    run.status(as_dict=True)
    run.status()
    assert calls == ["run", "index"] * 2
