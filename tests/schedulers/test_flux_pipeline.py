"""Workflows on the simulated Flux: what differs from other schedulers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .engine.simulator import Simulator
from .person import Person, elements_of, states

SOURCE = """
from typing import Annotated
from reflow import Param, Result, Workflow

wf = Workflow("squares")

@wf.job()
def numbers(n: Annotated[int, Param()] = 2) -> list[int]:
    return list(range(n))

@wf.job(array=True, cpus=4000)
def square(x: Annotated[int, Result(step="numbers")]) -> int:
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="square")]) -> int:
    return sum(xs)

@wf.job(gpus=9)
def beside() -> int:
    return 1

@wf.job(cpus=4000)
def behind(xs: Annotated[list[int], Result(step="numbers")]) -> int:
    return len(xs)

if __name__ == "__main__":
    wf.cli()
"""


@pytest.fixture
def person(tmp_path: Path, simulators: Callable[..., Simulator]) -> Person:
    new_person = Person(tmp_path, simulators("flux", message_timeout=0.1), "flux")
    new_person.write(SOURCE)
    return new_person


def test_job_that_flux_can_never_run_fails_at_its_first_start(person: Person) -> None:
    status = person.ended(person.submit())
    assert status["run"]["status"] == "FAILED"
    for task, count in (("square", 2), ("beside", 1), ("behind", 1)):
        assert states(status, task) == ["FAILED"] * count, status
        for element in elements_of(status, task):
            assert element["cause"] == "HELD"
            assert "can never start" in element["error_text"]
            assert "unsatisfiable request: need" in element["error_text"]
    assert states(status, "total") == ["SKIPPED"]
    assert [
        element["attempt"] for element in status["instances"] if element["state"] == "FAILED"
    ] == [1] * 4
    never = [job["name"] for job in person.simulator.jobs() if job["reason"] == "too-big"]
    assert len(never) == 4, never
