"""Workflows on the simulated LSF: what differs from other schedulers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .engine.simulator import Simulator
from .person import Person, elements_of, states

SOURCE = """
import os, signal, time
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers(n: Annotated[int, Param()] = 4) -> list[int]:
    return list(range(n))

@wf.job(array=True, mem="500M", time="00:15:00", array_parallelism=3)
def square(x: Annotated[int, Result(step="numbers")], how: Annotated[str, Param()] = "") -> int:
    if how == "shell" and x == 2:
        os.killpg(0, signal.SIGKILL)
    if how == "sleep" and x == 2:
        time.sleep(120)
    return x * x

@wf.job(array=True)
def half(x: Annotated[int, Result(step="square")]) -> int:
    return x // 2

@wf.job()
def total(xs: Annotated[list[int], Result(step="half")]) -> int:
    return sum(xs)

if __name__ == "__main__":
    wf.cli()
"""

Begin = Callable[..., tuple[Person, Simulator]]


@pytest.fixture
def begin(tmp_path: Path, simulators: Callable[..., Simulator]) -> Begin:
    def start(**settings: Any) -> tuple[Person, Simulator]:
        simulator = simulators("lsf", message_timeout=0.1, **settings)
        person = Person(tmp_path, simulator, "lsf")
        person.write(SOURCE)
        return person, simulator

    return start


def test_lsf_that_forgets_jobs_at_once_does_not_delay_a_run(begin: Begin) -> None:
    person, simulator = begin(min_job_age=0.01)
    status = person.ended(person.submit())
    assert [element["output"] for element in elements_of(status, "total")] == [6], status
    assert simulator.calls["bsub"] < 24


def test_arrays_larger_than_the_site_takes_are_split(begin: Begin) -> None:
    person, simulator = begin(max_array_size=3)
    status = person.ended(person.submit("--n", "7"))
    assert [element["output"] for element in elements_of(status, "total")] == [
        sum(x * x // 2 for x in range(7))
    ]
    indices = [job["index"] for job in simulator.jobs() if job["index"] is not None]
    assert set(indices) == {1, 2, 3}, "each part counts from 1"


def test_an_element_whose_whole_group_was_killed_is_lost(begin: Begin) -> None:
    """No shell survives to report anything, and LSF calls the job done."""
    person, _ = begin()
    status = person.ended(person.submit("--how", "shell"))
    assert states(status, "square") == ["SUCCESS", "SUCCESS", "FAILED", "SUCCESS"], status
    [failed] = [
        element for element in elements_of(status, "square") if element["state"] == "FAILED"
    ]
    assert (failed["array_index"], failed["cause"]) == (2, "LOST")
    assert "without an outcome" in failed["error_text"]
    assert states(status, "total") == ["SKIPPED"]


def test_an_element_that_a_person_kills_is_cancelled(begin: Begin) -> None:
    person, simulator = begin(speed=1.0)
    run = person.submit("--how", "sleep")
    person.until(run, lambda status: states(status, "square").count("SUCCESS") == 3)
    [job] = {row["id"] for row in simulator.jobs() if row["index"] == 3 and row["pid"]}
    assert simulator.call("bkill", f"{job}[3]").returncode == 0
    simulator.set(speed=60.0)
    status = person.ended(run)
    [failed] = [
        element for element in elements_of(status, "square") if element["state"] == "FAILED"
    ]
    assert (failed["array_index"], failed["cause"]) in [(2, "CANCELLED"), (2, "ERROR")]
