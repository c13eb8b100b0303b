"""Whichever process is killed at whichever moment, the run ends with the right result."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from reflow import LocalExecutor

SOURCE = """
import time
from typing import Annotated
from reflow import Workflow, Param, Result

wf = Workflow("killed")

@wf.job()
def items(salt: Annotated[int, Param()] = 0) -> list[int]:
    time.sleep(0.05)
    return list(range(8))

@wf.job(array=True)
def double(item: Annotated[int, Result(step="items")]) -> int:
    time.sleep(0.04)
    return item * 2

@wf.job(array=True)
def plus(item: Annotated[int, Result(step="double")]) -> int:
    time.sleep(0.04)
    return item + 1

@wf.job()
def total(all: Annotated[list[int], Result(step="plus")]) -> list[int]:
    return all
"""
EXPECTED = [2 * index + 1 for index in range(8)]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def victims(watch, run, victim):
    """Return the pids to kill, by the kind of process."""
    processes = watch.processes(run)
    pythons = {pid: line for pid, line in processes.items() if "reflow.job" in line}
    parents = {}
    for pid in processes:
        try:
            with open(f"/proc/{pid}/stat") as file:
                parents[pid] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    workers = [pid for pid in pythons if parents.get(pid) in pythons]
    if victim == "workers":
        return workers
    if victim == "driver":
        return [pid for pid in pythons if pid not in workers]
    if victim == "shell":
        return [pid for pid in processes if pid not in pythons]
    return list(processes)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("victim", ["driver", "workers", "shell", "all"])
def test_killed_at_a_random_moment(load, watch, tmp_path, victim, seed):
    wf = load(SOURCE).wf
    chance = random.Random(f"{victim}{seed}")
    run = wf.submit(run_dir=tmp_path / "r", executor=LocalExecutor(max_workers=2))
    time.sleep(chance.uniform(0, 0.7))
    hit = victims(watch, run, victim)
    for pid in hit if victim != "workers" else hit[:1]:
        kill(pid)
    state = run.wait(60)
    if state != "SUCCESS":
        assert victim in ("workers", "all")  # only an element's own process is to blame
        run.retry()
        assert run.wait(60) == "SUCCESS"
    assert run.result("total") == EXPECTED
    watch.assert_recorded_once(run)
    watch.until(lambda: not watch.processes(run))


def test_killed_over_and_over(load, watch, tmp_path):
    wf = load(SOURCE).wf
    run = wf.submit(run_dir=tmp_path / "r", executor=LocalExecutor(max_workers=2))
    chance = random.Random(1)
    for _ in range(6):
        time.sleep(chance.uniform(0.3, 0.5))  # long enough for some progress
        for pid in victims(watch, run, "all"):
            kill(pid)
        if run.state == "SUCCESS":
            break
        try:
            run.wait(0)
        except TimeoutError:
            continue
    if run.wait(60) != "SUCCESS":
        run.retry()
        assert run.wait(60) == "SUCCESS"
    assert run.result("total") == EXPECTED
    watch.assert_recorded_once(run)


def test_a_driver_that_cannot_live_is_given_up(load, watch, tmp_path):
    dying = "if 'REFLOW_TEST_DIE' in os.environ: os.kill(os.getpid(), 9)"
    module = load(f"{SOURCE}\nimport os\n{dying}\n")
    os.environ["REFLOW_TEST_DIE"] = "1"
    try:
        run = module.wf.submit(run_dir=tmp_path / "r", executor="local")
        assert run.wait(60) == "FAILED"
    finally:
        del os.environ["REFLOW_TEST_DIE"]
    with pytest.raises(RuntimeError, match="died one after the other"):
        run.result("total")
    run.retry()
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == EXPECTED


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_caller_is_taken_over(load, watch, tmp_path, workers, seed):
    module = load(SOURCE)
    caller = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import {module.__name__} as m\n"
            f"m.wf.run_local(run_dir={str(tmp_path / 'r')!r}, max_workers={workers})",
        ],
        cwd=tmp_path,
    )
    (row,) = watch.until(module.wf.store.list_runs)
    time.sleep(random.Random(seed).uniform(0, 0.6))
    caller.kill()
    caller.wait()
    code = (
        f"import {module.__name__} as m\n"
        f"run = m.wf.run({row.run_id!r})\n"
        "assert run.wait(60) == 'SUCCESS'\n"
        "print(run.result('total'))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(EXPECTED)
    watch.assert_recorded_once(module.wf.run(row.run_id))
