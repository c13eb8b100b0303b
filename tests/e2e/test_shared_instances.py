"""Elements that two runs need at the same time are computed by one of them."""

import contextlib
import os
import signal
import textwrap
import time
from collections import Counter

import pytest

from reflow import LocalExecutor

SOURCE = """
import os, time
from pathlib import Path
from typing import Annotated
from reflow import Workflow, Param, Result

HERE = Path(__file__).parent
wf = Workflow("shared")

def ran(task, x):
    with open(HERE / "ran", "a") as file:
        print(task, x, file=file)
    while not (HERE / "go").exists():
        time.sleep(0.02)

@wf.job()
def numbers(first: int, last: int) -> list[int]:
    return list(range(first, last))

@wf.job(array=True)
def square(x: Annotated[int, Result(step="numbers")]) -> int:
    ran("square", x)
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="square")]) -> int:
    ran("total", len(xs))
    return sum(xs)
"""
FOUR = LocalExecutor(max_workers=4)


@pytest.fixture
def flow(load, tmp_path):
    """The workflow, and how often each element has run by now."""
    wf = load(SOURCE).wf

    def ran():
        with contextlib.suppress(FileNotFoundError):
            return Counter((tmp_path / "ran").read_text().split("\n")[:-1])
        return Counter()

    def go():
        (tmp_path / "go").touch()

    return wf, ran, go


def submit(wf, folder, first=1, last=5, **more):
    return wf.submit(run_dir=folder, executor=FOUR, first=first, last=last, **more)


def begun(watch, ran, number):
    watch.until(lambda: sum(ran().values()) >= number)


def is_noted(run, of):
    notes = run.status(as_dict=True)["notes"]
    return any(f"under way in run {of.run_id}" in note for note in notes)


def waiting_run(flow, watch, tmp_path):
    """Return a run that has begun, and another that waits for the elements it has reserved."""
    wf, ran, _ = flow
    first = submit(wf, tmp_path / "a")
    begun(watch, ran, 4)
    second = submit(wf, tmp_path / "b")
    watch.until(lambda: is_noted(second, first))
    return first, second


def test_each_instance_is_computed_once(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    assert second.state == "RUNNING"
    go()
    assert (first.wait(60), second.wait(60)) == ("SUCCESS", "SUCCESS")
    assert (first.result("total"), second.result("total")) == (30, 30)
    assert ran() == {**{f"square {x}": 1 for x in range(1, 5)}, "total 4": 1}
    assert {outcome.origin for outcome in watch.outcomes(second)} == {first.run_id}


def test_only_what_both_need_is_awaited(flow, watch, tmp_path):
    wf, ran, go = flow
    first = submit(wf, tmp_path / "a", 1, 4)
    begun(watch, ran, 3)
    second = submit(wf, tmp_path / "b", 2, 6)
    begun(watch, ran, 5)  # elements that only the second run needs begin at once
    go()
    assert (first.wait(60), second.wait(60)) == ("SUCCESS", "SUCCESS")
    assert (first.result("total"), second.result("total")) == (14, 54)
    assert [ran()[f"square {x}"] for x in range(1, 6)] == [1] * 5


def test_a_run_that_waits_can_be_cancelled(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    second.cancel()
    assert second.wait(60) == "CANCELLED"
    go()
    assert first.wait(60) == "SUCCESS"
    second.retry()
    assert second.wait(60) == "SUCCESS"
    assert ran()["square 1"] == 1


def test_waiting_run_computes_what_a_cancelled_run_had_reserved(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    first.cancel()
    begun(watch, ran, 8)
    go()
    assert (first.wait(60), second.wait(60)) == ("CANCELLED", "SUCCESS")
    assert second.result("total") == 30


def test_waiting_run_computes_what_a_killed_run_had_reserved(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    for pid in watch.processes(first):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    begun(watch, ran, 8)
    go()
    assert second.wait(60) == "SUCCESS"
    # When it is resumed, it reuses the results that were computed instead of its own.
    assert first.wait(60) == "SUCCESS"
    assert [ran()[f"square {x}"] for x in range(1, 5)] == [2] * 4


def test_a_run_whose_process_was_suspended_is_not_waited_for(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    stopped = watch.processes(first)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    for segment in (tmp_path / "a").rglob("*.seg"):
        os.utime(segment, (1, time.time() - 120))  # two minutes later
    begun(watch, ran, 8)
    go()
    assert second.wait(60) == "SUCCESS"
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert first.wait(60) == "SUCCESS"


def test_nobody_waits_for_a_run_whose_record_was_deleted(flow, watch, tmp_path):
    _, ran, go = flow
    first, second = waiting_run(flow, watch, tmp_path)
    (tmp_path / "a").rename(tmp_path / "gone")
    begun(watch, ran, 8)
    go()
    assert second.wait(60) == "SUCCESS"
    for pid in watch.processes(first):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_failure_is_not_shared(load, watch, tmp_path):
    source = SOURCE.replace("return x * x", "return 1 // (HERE / 'good').exists()")
    wf = load(source).wf
    first = submit(wf, tmp_path / "a", 1, 2)
    watch.until(lambda: (tmp_path / "ran").exists())
    second = submit(wf, tmp_path / "b", 1, 2)
    watch.until(lambda: is_noted(second, first))
    (tmp_path / "go").touch()
    assert first.wait(60) == "FAILED"
    (tmp_path / "good").touch()
    assert second.wait(60) in ("SUCCESS", "FAILED")  # either is right, but the result is its own
    failed = [outcome for outcome in watch.outcomes(second) if outcome.task == "square"]
    assert [outcome.origin for outcome in failed] == [""]
    assert (tmp_path / "ran").read_text().count("square 1") == 2


def test_a_task_beside_what_is_awaited_can_be_cancelled(load, watch, tmp_path):
    wf = load(SOURCE + textwrap.dedent("""
        @wf.job()
        def other(seed: Annotated[int, Param()] = 0) -> int:
            while not (HERE / "go").exists():
                time.sleep(0.02)
            return seed
        """)).wf
    first = submit(wf, tmp_path / "a")
    watch.until(lambda: (tmp_path / "ran").exists())
    second = submit(wf, tmp_path / "b", seed=1)
    watch.until(lambda: is_noted(second, first))
    second.cancel("other")
    watch.until(lambda: second.counts()["other"] == {"CANCELLED": 1})
    assert second.status(as_dict=True)["run"]["status"] == "RUNNING"
    (tmp_path / "go").touch()
    assert second.wait(60) == "CANCELLED"
    assert second.result("total") == 30
    # By the store the run still goes on: its reservations are not free.
    assert first.wait(60) == "SUCCESS"
    assert (tmp_path / "ran").read_text().count("square 1\n") == 1


def test_run_with_a_cancelled_task_keeps_its_other_reservations(load, watch, tmp_path):
    wf = load(SOURCE + textwrap.dedent("""
        @wf.job()
        def other() -> None:
            time.sleep(60)
        """)).wf
    first = submit(wf, tmp_path / "a")
    watch.until(lambda: (tmp_path / "ran").exists())
    first.cancel("other")
    watch.until(lambda: first.counts()["other"] == {"CANCELLED": 1})
    assert first.store.run(first.run_id).status in ("PENDING", "RUNNING")
    second = submit(wf, tmp_path / "b")
    watch.until(lambda: is_noted(second, first))
    (tmp_path / "go").touch()
    watch.until(lambda: second.counts()["total"] in ({"SUCCESS": 1}, {"CACHED": 1}))
    assert (tmp_path / "ran").read_text().count("square 1\n") == 1
    second.cancel()


def test_retried_elements_are_reserved_again(load, watch, tmp_path):
    source = SOURCE.replace("ran(\"square\", x)", """
    if not (HERE / "good").exists():
        raise ValueError
    ran("square", x)""")
    wf = load(source).wf
    first = submit(wf, tmp_path / "a", 1, 3)
    watch.until(lambda: first.counts()["square"].get("FAILED") == 2)
    (tmp_path / "good").touch()
    first.retry()
    watch.until(lambda: (tmp_path / "ran").exists())
    time.sleep(2.5)  # longer than earlier outcomes wait to be indexed
    second = submit(wf, tmp_path / "b", 1, 3)
    watch.until(lambda: is_noted(second, first))
    (tmp_path / "go").touch()
    assert (first.wait(60), second.wait(60)) == ("SUCCESS", "SUCCESS")
    assert (tmp_path / "ran").read_text().count("square 1\n") == 1


def test_result_of_an_older_folder_is_not_reused(load, watch, tmp_path):
    """A folder counts by its path: a run that reuses it from a live run runs the tasks below it."""
    wf = load("""
import time
from pathlib import Path
from typing import Annotated
from reflow import Workflow, Param, Result

HERE = Path(__file__).parent
wf = Workflow("folders")

@wf.job()
def up(seed: Annotated[int, Param()]) -> Path:
    folder = HERE / "folder"
    folder.mkdir(exist_ok=True)
    (HERE / f"began-{seed}").touch()
    while not (HERE / f"go-{seed}").exists():
        time.sleep(0.02)
    (folder / "seed").write_text(str(seed))
    return folder

@wf.job()
def down(folder: Annotated[Path, Result(step="up")]) -> str:
    found = (folder / "seed").read_text()
    time.sleep(2 if found == "2" else 0)
    return found
""").wf
    (tmp_path / "go-1").touch()
    wf.run_local(run_dir=tmp_path / "r0", seed=1)
    runs = []
    for name in "ab":
        runs.append(wf.submit(run_dir=tmp_path / name, executor=FOUR, seed=2))
        watch.until(lambda: (tmp_path / "began-2").exists())
    watch.until(lambda: is_noted(runs[1], runs[0]))
    (tmp_path / "go-2").touch()
    assert [run.wait(60) for run in runs] == ["SUCCESS"] * 2
    assert [run.result("down") for run in runs] == ["2", "2"]


def test_runs_inside_tasks_wait_for_nobody(load, watch, tmp_path):
    """Otherwise two runs with one worker each, whose tasks need each other's, would deadlock."""
    wf = load("""
import time
from pathlib import Path
from typing import Annotated
from reflow import Workflow, Param, Result

HERE = Path(__file__).parent
leaves, outer = Workflow("leaves"), Workflow("outer")

@leaves.job()
def leaf(n: Annotated[int, Param()]) -> int:
    return n

def nest(n: Annotated[int, Param()]) -> int:
    (HERE / f"nest-{n}").touch()
    while len(list(HERE.glob("nest-*"))) < 2:
        time.sleep(0.02)
    inner = leaves.run_local(run_dir=HERE / f"inner-{n}", n=1 - n)  # the other's
    return inner.result("leaf")

outer.job()(nest)
outer.job()(leaf)
""").outer
    executor = LocalExecutor(max_workers=1)
    runs = [wf.submit(run_dir=tmp_path / str(n), executor=executor, n=n) for n in (0, 1)]
    assert [run.wait(60) for run in runs] == ["SUCCESS"] * 2
    assert [run.result("nest") for run in runs] == [1, 0]


@pytest.mark.parametrize("how", ["cache", "force_tasks"])
def test_forced_tasks_wait_for_nobody(load, watch, tmp_path, how):
    source = SOURCE
    if how == "cache":
        source = SOURCE.replace("@wf.job(array=True)", "@wf.job(array=True, cache=False)")
    wf = load(source).wf
    more = {"force_tasks": ["square"]} if how == "force_tasks" else {}
    runs = [submit(wf, tmp_path / name, **more) for name in "ab"]
    watch.until(lambda: (tmp_path / "ran").exists()
                and len((tmp_path / "ran").read_text().splitlines()) == 8)
    (tmp_path / "go").touch()
    assert [run.wait(60) for run in runs] == ["SUCCESS"] * 2


def test_a_run_inside_a_task_does_not_wait_for_that_task_s_run(load, tmp_path):
    wf = load(SOURCE + textwrap.dedent("""
        outer = Workflow("outer")

        @outer.job()
        def three() -> list[int]:
            return [1, 2, 3]

        @outer.job(array=True)
        def inner(x: Annotated[int, Result(step="three")], depth: int = 1) -> int:
            if depth:
                outer.run_local(run_dir=HERE / f"inner{x}-{depth}", depth=depth - 1)
            return x
        """)).outer
    run = wf.run_local(run_dir=tmp_path / "out")
    assert run.state == "SUCCESS"


def test_many_runs_at_once(flow, script, tmp_path):
    _, ran, go = flow
    go()
    (tmp_path / "many.py").write_text(SOURCE)
    output = script("""
        import subprocess, sys, threading
        from pathlib import Path
        (Path(__file__).parent / "once.py").write_text(
            "import sys; from many import wf; "
            "run = wf.run_local(run_dir=sys.argv[1], first=1, last=30); print(run.result('total'))"
        )
        words = [sys.executable, "once.py"]
        runs = [subprocess.Popen([*words, f"r{i}"], stdout=subprocess.PIPE) for i in range(6)]
        print({run.communicate()[0] for run in runs})
        """.replace("\n        ", "\n"), tmp_path)  # fmt: skip
    assert output.strip() == str({f"{sum(x * x for x in range(1, 30))}\n".encode()})
    assert max(ran().values()) == 1, ran()


@pytest.mark.parametrize("broken", ["reserve raises", "no reservations"])
def test_without_reservations_runs_go_on(flow, monkeypatch, tmp_path, broken):
    from reflow.errors import StoreError
    from reflow.storage.stores.sqlite.store import SqliteStore
    from reflow.stores.base import Store

    wf, _, go = flow
    go()

    def fails(self, run_id, identities):
        raise StoreError("the disk is full")

    monkeypatch.setattr(SqliteStore, "reserve", fails if "raises" in broken else Store.reserve)
    run = wf.run_local(run_dir=tmp_path / "r", first=1, last=4)
    assert run.result("total") == 14
