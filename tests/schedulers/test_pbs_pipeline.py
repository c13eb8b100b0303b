"""Workflows on the simulated PBS, from submission to the end, in processes of their own."""

import json
import subprocess
import sys
import time

import pytest

SOURCE = """
import os, signal, time
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers(n: Annotated[int, Param()] = 4) -> list[int]:
    return list(range(n))

@wf.job(array=True, mem="500M")
def square(x: Annotated[int, Result(step="numbers")], how: Annotated[str, Param()] = "") -> int:
    if how == "die" and x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "sleep":
        time.sleep(60)
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="square")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""


class Person:
    """Somebody at a prompt in a folder, with the simulated commands on PATH."""

    def __init__(self, folder, simulator):
        self.folder = folder
        self.environment = {
            **simulator.environment,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        (folder / "squares.py").write_text(SOURCE)

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *arguments):
        out = self.run(
            "squares.py", "submit", "--executor", "pbs", "--run-dir", "out", *arguments
        )
        return out.split()[-1]

    def status(self, run):
        return json.loads(self.run("squares.py", "status", run, "--json"))

    def ended(self, run):
        until = time.monotonic() + 90
        while (status := self.status(run))["run"]["status"] not in (
            "SUCCESS", "FAILED", "CANCELLED"
        ):  # fmt: skip
            assert time.monotonic() < until, status
            time.sleep(0.2)
        return status


@pytest.fixture
def person(tmp_path, pbs_simulator):
    return Person(tmp_path, pbs_simulator)


def live(simulator):
    return [one for one in simulator.jobs() if one["state"] != "ended"]


def gone(simulator):
    until = time.monotonic() + 30
    while live(simulator):
        assert time.monotonic() < until, live(simulator)
        time.sleep(0.1)


def test_success(person, pbs_simulator):
    status = person.ended(person.submit())
    assert status["run"]["status"] == "SUCCESS", status
    outputs = [one["output"] for one in status["instances"] if one["task_name"] == "total"]
    assert outputs == [14], status
    gone(pbs_simulator)
    assert pbs_simulator.calls["qsub"] < 12


def test_killed_element(person, pbs_simulator):
    status = person.ended(person.submit("--how", "die"))
    assert status["run"]["status"] == "FAILED", status
    failed = [one for one in status["instances"] if one["state"] == "FAILED"]
    assert [(one["task_name"], one["array_index"]) for one in failed] == [("square", 2)]
    assert "killed by signal SIGKILL" in failed[0]["error_text"]
    assert failed[0]["cause"]
    gone(pbs_simulator)


def test_cancel(person, pbs_simulator):
    run = person.submit("--how", "sleep")
    until = time.monotonic() + 60
    while not [one for one in pbs_simulator.jobs()
               if one["index"] is not None and one["state"] == "running"]:  # fmt: skip
        assert time.monotonic() < until
        time.sleep(0.1)
    person.run("squares.py", "cancel", run, "--yes")
    assert person.ended(run)["run"]["status"] == "CANCELLED"
    gone(pbs_simulator)
