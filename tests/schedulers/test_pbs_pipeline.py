"""Workflows on PBS, simulated and real, from submission to the end, in processes of their own.

The real one is used where REFLOW_LIVE_PBS=1: its commands are first on PATH, and as root they run
as REFLOW_LIVE_USER, with REFLOW_LIVE_PYTHON, in which reflow is installed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

LIVE = os.environ.get("REFLOW_LIVE_PBS") == "1"
SOURCE = """
import os, signal, time
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers(n: Annotated[int, Param()] = 4) -> list[int]:
    return list(range(n))

@wf.job(array=True, mem="500M", time=os.environ.get("LIMIT", "10m"))
def square(x: Annotated[int, Result(step="numbers")], how: Annotated[str, Param()] = "") -> int:
    if how == "die" and x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fail" and x == 2:
        raise ValueError("two")
    if how == "sleep" or (how == "late" and x == 2):
        time.sleep(90)
    return x * x

@wf.job(array=True)
def plus(x: Annotated[int, Result(step="square")]) -> int:
    return x + 1

@wf.job()
def total(xs: Annotated[list[int], Result(step="plus")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""
CHAIN = """
from typing import Annotated
from reflow import Result, Workflow

wf = Workflow("chain")

@wf.job()
def one() -> int:
    return 1

@wf.job()
def two(x: Annotated[int, Result(step="one")]) -> int:
    return x + 1

@wf.job()
def three(x: Annotated[int, Result(step="two")]) -> int:
    return x + 1

if __name__ == "__main__":
    wf.cli()
"""


class Person:
    """Somebody at a prompt in a folder, with the commands of a PBS on PATH."""

    def __init__(self, folder, simulator=None):
        self.folder, self.simulator = folder, simulator
        self.prefix, self.python = [], sys.executable
        self.environment = {
            **(simulator.environment if simulator else {"PATH": os.environ["PATH"]}),
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        if simulator is None:
            self.python = os.environ.get("REFLOW_LIVE_PYTHON", sys.executable)
            if os.getuid() == 0:
                user = os.environ.get("REFLOW_LIVE_USER", "reflow")
                shutil.chown(folder, user)
                self.prefix = ["runuser", "-u", user, "--"]
        (folder / "squares.py").write_text(SOURCE)
        (folder / "chain.py").write_text(CHAIN)
        self.runs = []

    def call(self, *arguments, **variables):
        return subprocess.run(
            [*self.prefix, *arguments],
            cwd=self.folder, env={**self.environment, **variables}, capture_output=True,
            text=True, check=False, timeout=200,
        )  # fmt: skip

    def run(self, *arguments, **variables):
        done = self.call(self.python, *arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *arguments, script="squares.py", **variables):
        out = self.run(
            script, "submit", "--executor", "pbs", "--run-dir", "out", *arguments, **variables
        )
        self.runs.append(out.split()[-1])
        return self.runs[-1]

    def status(self, run):
        return json.loads(self.run("squares.py", "status", run, "--json"))

    def ended(self, run, seconds=180):
        until = time.monotonic() + seconds
        while (status := self.status(run))["run"]["status"] not in (
            "SUCCESS", "FAILED", "CANCELLED"
        ):  # fmt: skip
            assert time.monotonic() < until, (status, self.call("qstat", "-x").stdout)
            time.sleep(0.3)
        return status

    def jobs(self, run):
        """Return the ids of a run's jobs in the queue, and their states."""
        told = self.call("qstat", "-f").stdout.replace("\n\t", "").split("Job Id: ")[1:]
        return {
            one.partition("\n")[0]: one.partition("job_state = ")[2][0]
            for one in told
            if f"Job_Name = {run}." in one
        }

    def gone(self, run):
        until = time.monotonic() + 60
        while left := self.jobs(run):
            assert time.monotonic() < until, left
            time.sleep(0.2)

    def until(self, condition, seconds=90):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end
            time.sleep(0.2)
        return found

    def failed(self, status):
        return [
            (one["task_name"], one["array_index"], one["cause"])
            for one in status["instances"]
            if one["state"] == "FAILED"
        ]


@pytest.fixture(
    params=[
        "simulator",
        *([pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])] if LIVE else []),
    ]
)
def person(request):
    folder = Path(tempfile.mkdtemp(prefix="pbs", dir="/var/tmp"))
    folder.chmod(0o755)
    simulator = None
    if request.param == "simulator":
        simulator = request.getfixturevalue("pbs_simulator")
    made = Person(folder, simulator)
    yield made
    for run in made.runs:
        for job in made.jobs(run):
            made.call("qdel", job)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("size", [1, 5, 300])
def test_success(person, size):
    run = person.submit("--n", str(size))
    status = person.ended(run, 400)
    assert status["run"]["status"] == "SUCCESS", status
    outputs = [one["output"] for one in status["instances"] if one["task_name"] == "total"]
    assert outputs == [sum(x * x + 1 for x in range(size))], status
    person.gone(run)
    if person.simulator:
        assert person.simulator.calls["qsub"] < 14


def test_failing_element(person):
    run = person.submit("--how", "fail")
    status = person.ended(run)
    assert status["run"]["status"] == "FAILED", status
    assert person.failed(status) == [("square", 2, "ERROR")]
    person.gone(run)


def test_killed_element(person):
    run = person.submit("--how", "die")
    status = person.ended(run)
    assert person.failed(status) == [("square", 2, "ERROR")]
    [failed] = [one for one in status["instances"] if one["state"] == "FAILED"]
    assert "killed by signal SIGKILL" in failed["error_text"]
    person.gone(run)


def test_element_over_its_time(person):
    run = person.submit("--how", "late", LIMIT="5s" if person.simulator is None else "240s")
    status = person.ended(run)
    assert person.failed(status) == [("square", 2, "TIMEOUT")], status
    person.gone(run)


def test_cancel(person):
    run = person.submit("--how", "sleep")
    person.until(lambda: "B" in person.jobs(run).values())
    person.run("squares.py", "cancel", run, "--yes")
    assert person.ended(run)["run"]["status"] == "CANCELLED"
    person.gone(run)


def test_a_waiting_job_deleted_by_hand_holds_nothing_up(person):
    """PBS never releases who waits for a job that was deleted before it began."""
    run = person.submit("--n", "4", "--how", "sleep")
    person.until(lambda: "B" in person.jobs(run).values())
    array = next(job for job, state in person.jobs(run).items() if state == "B")
    waiting = [job for job, state in person.jobs(run).items() if "[]" in job and job != array]
    assert len(waiting) == 1
    person.call("qdel", *waiting)
    person.call("qdel", array)
    status = person.ended(run)
    assert status["run"]["status"] == "FAILED"
    person.gone(run)


def test_jobs_that_end_before_those_behind_them_are_submitted(person):
    run = person.submit(script="chain.py")
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    person.gone(run)
