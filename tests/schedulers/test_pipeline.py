"""Workflows from submission to the end, in processes of their own, on each simulated scheduler.

What a scheduler needs that differs stands in `DIFFERENT`, and nowhere else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .engine.simulator import Simulator
from .plugin import FACES


@dataclass(frozen=True, kw_only=True)
class Face:
    """What differs: settings of the executor, and the command that submits, "" for the first."""

    settings: Mapping[str, object] = field(default_factory=dict)
    submits: str = ""


DIFFERENT: dict[str, Face] = {}

SQUARES = """
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers(n: Annotated[int, Param(help="How many")] = 4) -> list[int]:
    return list(range(n))

@wf.job(array=True, mem="1G", time="00:30:00")
def square(x: Annotated[int, Result(step="numbers")]) -> int:
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="square")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""

# Each element leaves a line for each time that it ran. Simulated minutes are seconds.
WAYS = """
import os, signal, time
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("ways")

@wf.job()
def ways() -> list[str]:
    return ["fine", "raise", "kill", "exit", "sleep", "well"]

@wf.job(array=True, array_parallelism=4, time="00:15:00")
def go(how: Annotated[str, Result(step="ways")], where: RunDir) -> str:
    with open(where / f"ran-{how}", "a") as file:
        file.write("x")
    if not (where / "mended").exists():
        if how == "raise":
            raise ValueError(how)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
        if how == "sleep":
            time.sleep(600)
    return how

@wf.job(array=True)
def then(how: Annotated[str, Result(step="go")], where: RunDir) -> str:
    with open(where / f"ran-then-{how}", "a") as file:
        file.write("x")
    return how.upper()

@wf.job()
def joined(hows: Annotated[list[str], Result(step="then")]) -> str:
    return " ".join(hows)

@wf.job()
def beside() -> str:
    return os.environ["ODD"] + os.environ["LOADED"]

if __name__ == "__main__":
    wf.cli()
"""

SLEEPS = """
import time
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("sleeps")

@wf.job()
def first(where: RunDir) -> list[int]:
    while not (where / "go").exists():
        time.sleep(0.1)
    return [0, 1, 2]

@wf.job(array=True)
def nap(x: Annotated[int, Result(step="first")], where: RunDir) -> int:
    (where / f"began-{x}").touch()
    while not (where / "wake").exists():
        time.sleep(0.1)
    with open(where / f"ran-{x}", "a") as file:
        file.write("x")
    return x

@wf.job()
def last(xs: Annotated[list[int], Result(step="nap")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""


class Person:
    """Somebody at a prompt in a folder, with the simulated commands on PATH."""

    def __init__(self, folder: Path, face: str, simulator: Simulator) -> None:
        self.folder, self.face, self.simulator = folder, face, simulator
        self.differs = DIFFERENT.get(face, Face())
        self.submits = self.differs.submits or FACES[face][0]
        self.environment = {
            **simulator.environment,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self.configure()

    def configure(self, **settings: object) -> None:
        """Write the configuration: settings of the executor."""
        given = {**self.differs.settings, **settings}
        lines = [f"{key} = {_toml(value)}" for key, value in given.items()]
        folder = self.folder / "config" / "reflow"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(
            "\n".join([f"[executor.{self.face}]", *lines, ""])
        )

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, source: str, *arguments: str, where: str = "out") -> str:
        """Submit a workflow, and return the run's id."""
        (self.folder / "flow.py").write_text(source)
        out = self.run(
            "flow.py", "submit", "--executor", self.face, "--run-dir", where, *arguments
        )
        return out.split()[-1]

    def status(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("flow.py", "status", run, "--json"))
        return found

    def live(self) -> list[dict[str, Any]]:
        return [one for one in self.simulator.jobs() if one["state"] != "ended"]

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"it did not come about: {self.live()}"
            time.sleep(0.1)
        return found

    def ended(self, run: str) -> dict[str, Any]:
        """Wait until no job is left, with nobody to help; then the run must have ended."""
        self.until(lambda: not self.live())
        status = self.status(run)
        assert status["run"]["status"] in ("SUCCESS", "FAILED", "CANCELLED"), status
        return status

    def counts(self, pattern: str = "ran-*") -> dict[str, int]:
        """Return how often elements ran that leave a mark each time."""
        return {
            file.name.removeprefix("ran-"): len(file.read_text())
            for file in (self.folder / "out").glob(pattern)
        }


@pytest.fixture(params=list(FACES))
def person(
    request: pytest.FixtureRequest, tmp_path: Path, simulators: Callable[..., Simulator]
) -> Person:
    return Person(tmp_path, request.param, simulators(request.param, message_timeout=0.1))


def summary(status: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = status["summary"]
    return found


def outputs(status: Mapping[str, Any], task: str) -> list[Any]:
    return [one["output"] for one in status["instances"] if one["task_name"] == task]


@pytest.mark.parametrize("size", [0, 1, 5, pytest.param(300, marks=pytest.mark.slow)])
def test_the_pipeline_goes_on_with_nobody_there(person: Person, size: int) -> None:
    run = person.submit(SQUARES, "--n", str(size))
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [sum(x * x for x in range(size))]
    assert sum(person.simulator.calls.values()) < 60, person.simulator.calls
    assert person.simulator.calls[person.submits] < 30


def test_every_way_to_fail_has_its_cause_and_retry_runs_exactly_those(person: Person) -> None:
    odd = "it's \"odd\",\n$HOME 100% ü"
    person.configure(environment={"ODD": odd}, prologue="LOADED=yes\nexport LOADED")
    run = person.submit(WAYS)
    status = person.ended(run)
    assert status["run"]["status"] == "FAILED"
    told = {
        one["array_index"]: (one["cause"], (one["error_text"] or "").splitlines()[-1:])
        for one in status["instances"]
        if one["task_name"] == "go" and one["state"] == "FAILED"
    }
    assert {index: cause for index, (cause, _) in told.items()} == {
        1: "ERROR", 2: "ERROR", 3: "ERROR", 4: "TIMEOUT"
    }, status  # fmt: skip
    assert told[1][1] == ["ValueError: raise"]
    assert "killed by signal SIGKILL" in told[2][1][0]
    assert told[3][1][0].endswith("ended with exit code 3")
    assert summary(status)["then"] == {"SUCCESS": 2, "SKIPPED": 4}
    assert summary(status)["joined"] == {"SKIPPED": 1}
    assert outputs(status, "beside") == [f"{odd}yes"]
    (person.folder / "out" / "mended").touch()
    person.run("flow.py", "retry", run)
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "joined") == ["FINE RAISE KILL EXIT SLEEP WELL"]
    again = {"raise", "kill", "exit", "sleep"}
    counts = person.counts()
    assert {how: count for how, count in counts.items() if "then" not in how} == {
        how: 2 if how in again else 1 for how in (*again, "fine", "well")
    }
    assert set(person.counts("ran-then-*").values()) == {1}


def test_cancel_in_the_middle_leaves_no_job_and_retry_goes_on(person: Person) -> None:
    run = person.submit(SLEEPS)
    out = person.folder / "out"
    (out / "go").touch()
    person.until(lambda: list(out.glob("began-*")))
    person.run("flow.py", "cancel", run, "--yes")
    status = person.ended(run)
    assert status["run"]["status"] == "CANCELLED"
    assert summary(status)["nap"] == {"CANCELLED": 3}
    assert person.counts() == {}
    (out / "wake").touch()
    person.run("flow.py", "retry", run)
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "last") == [3]


def test_a_scheduler_that_is_down_for_a_while_loses_nothing(person: Person) -> None:
    run = person.submit(SLEEPS)
    out = person.folder / "out"
    (out / "go").touch()
    person.until(lambda: len(list(out.glob("began-*"))) == 3)
    person.simulator.inject("down")
    (out / "wake").touch()
    person.until(lambda: len(person.counts()) == 3)
    time.sleep(3)  # passes begin, and find nobody
    person.simulator.inject("up")
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert person.counts() == {"0": 1, "1": 1, "2": 1}


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after"])
def test_submissions_in_doubt_are_neither_lost_nor_doubled(person: Person, fault: str) -> None:
    run = person.submit(SLEEPS)
    # Not those of the submission itself: then nobody would be left to look.
    person.simulator.inject(fault, command=person.submits, times=2)
    for name in ("go", "wake"):
        (person.folder / "out" / name).touch()
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert person.counts() == {"0": 1, "1": 1, "2": 1}


def test_arrays_are_split_and_held_back_below_a_limit(person: Person) -> None:
    person.configure(max_submit_jobs=16)
    run = person.submit(SQUARES, "--n", "20")
    most = 0

    def over() -> bool:
        nonlocal most
        live = person.live()
        most = max(most, sum(one["index"] is not None for one in live))
        return not live

    person.until(over)
    status = person.ended(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [sum(x * x for x in range(20))]
    assert 1 < most <= 16


def test_runs_at_once_do_not_meet(person: Person) -> None:
    runs = {
        size: person.submit(SQUARES, "--n", str(size), where=f"out{size}") for size in (2, 3)
    }
    for size, run in runs.items():
        status = person.ended(run)
        assert status["run"]["status"] == "SUCCESS", status
        assert outputs(status, "total") == [sum(x * x for x in range(size))]


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
