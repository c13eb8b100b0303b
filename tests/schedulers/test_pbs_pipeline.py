"""Workflows on the simulated PBS: what differs from other schedulers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .engine.simulator import Simulator
from .person import Person, elements_of, states

SLEEPS = """
import time
from typing import Annotated
from reflow import Result, Workflow

wf = Workflow("sleeps")

@wf.job()
def numbers() -> list[int]:
    return list(range(4))

@wf.job(array=True)
def nap(x: Annotated[int, Result(step="numbers")]) -> int:
    time.sleep(900)
    return x

@wf.job(array=True)
def plus(x: Annotated[int, Result(step="nap")]) -> int:
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


@pytest.fixture
def person(tmp_path: Path, simulators: Callable[..., Simulator]) -> Person:
    return Person(tmp_path, simulators("pbs", message_timeout=0.1), "pbs")


def test_a_waiting_job_deleted_by_hand_holds_nothing_up(person: Person) -> None:
    """PBS never releases a job that waits for one deleted before it began."""
    person.write(SLEEPS)
    run = person.submit()

    def arrays() -> dict[str, set[str]]:
        """Return the ids of the arrays in the queue, and the states of their elements."""
        states: dict[str, set[str]] = {}
        for job in person.simulator.jobs():
            if job["index"] is not None and job["state"] != "ended":
                states.setdefault(job["id"], set()).add(job["state"])
        return states

    def one_runs_and_one_waits(_: object) -> bool:
        """The second is submitted some time after the first, which may have begun by then."""
        running = ["running" in array for array in arrays().values()]
        return sorted(running) == [False, True]

    person.until(run, one_runs_and_one_waits)
    ids = [
        f"{job}[]" for job, _ in sorted(arrays().items(), key=lambda entry: "running" in entry[1])
    ]
    for job in ids:  # first the waiting job, then the running one
        assert person.simulator.call("qdel", job).returncode == 0
    status = person.ended(run)
    assert status["run"]["status"] == "FAILED"
    assert set(states(status, "nap")) == {"FAILED"}


def test_jobs_that_end_before_those_behind_them_are_submitted(person: Person) -> None:
    person.write(CHAIN)
    status = person.ended(person.submit())
    assert status["run"]["status"] == "SUCCESS", status
    assert [element["output"] for element in elements_of(status, "three")] == [3]
