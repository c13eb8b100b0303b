"""Workflows from submission to the end, in processes of their own, on each simulated scheduler.

What a scheduler needs that differs stands in `DIFFERENT`, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from .engine.simulator import Simulator
from .person import ENDED, Person, elements_of
from .plugin import FACES
from .workflows import SLEEPS, readme, ways


@dataclass(frozen=True, kw_only=True)
class Face:
    """What differs: settings of the executor; the command that submits, "": the first of them."""

    settings: Mapping[str, object] = field(default_factory=dict)
    submits: str = ""


DIFFERENT: dict[str, Face] = {"flux": Face(submits="submit")}


class Submitter(Person):
    """A person who submits to one of the schedulers and does nothing afterwards."""

    def __init__(self, folder: Path, face: str, simulator: Simulator) -> None:
        super().__init__(folder, simulator, face)
        self.differs = DIFFERENT.get(face, Face())
        self.submits = self.differs.submits or FACES[face][0]
        self.configure()

    def configure(self, **settings: object) -> None:
        """Write the configuration: settings of the executor."""
        super().configure(**{**self.differs.settings, **settings})

    def begin(self, source: str, *arguments: str, run_dir: str = "out") -> str:
        """Submit a workflow, and return the run's id."""
        self.write(source)
        return self.submit(*arguments, run_dir=run_dir)

    def live(self) -> list[dict[str, Any]]:
        return [job for job in self.simulator.jobs() if job["state"] != "ended"]

    def wait(self, condition: Callable[[], Any], seconds: float = 240) -> Any:
        end = time.monotonic() + seconds
        while not (result := condition()):
            assert time.monotonic() < end, f"it did not come about: {self.live()}"
            time.sleep(0.1)
        return result

    def the_only_one_left(self, limit: int) -> dict[str, Any]:
        """Wait until one job or position with that time limit is left, and runs; return it."""
        def single() -> dict[str, Any] | None:
            matches = [job for job in self.live() if job["limit"] == limit]
            return matches[0] if len(matches) == 1 and matches[0]["state"] == "running" else None

        job: dict[str, Any] = self.wait(single)
        return job

    def left_alone(self, run: str) -> dict[str, Any]:
        """Wait until no job is left, without intervening; then the run must have ended."""
        self.wait(lambda: not self.live())
        status = self.status(run)
        assert status["run"]["status"] in ENDED, status
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
) -> Submitter:
    return Submitter(tmp_path, request.param, simulators(request.param, message_timeout=0.1))


def summary(status: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = status["summary"]
    return counts


def outputs(status: dict[str, Any], task: str) -> list[Any]:
    return [element["output"] for element in elements_of(status, task)]


@pytest.mark.parametrize("size", [0, 1, 5, pytest.param(300, marks=pytest.mark.slow)])
def test_the_pipeline_goes_on_with_nobody_there(person: Submitter, size: int) -> None:
    run = person.begin(readme(), "--n", str(size))
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [sum(x * x for x in range(size))]
    assert sum(person.simulator.calls.values()) < 60, person.simulator.calls
    assert person.simulator.calls[person.submits] < 30


def test_every_way_to_fail_has_its_cause_and_retry_runs_exactly_those(person: Submitter) -> None:
    odd = "it's \"odd\",\n$HOME 100% ü"
    person.configure(environment={"ODD": odd}, prologue="LOADED=yes\nexport LOADED")
    run = person.begin(ways("10:00:00"))
    person.wait(lambda: (person.folder / "out" / "ran-sleep").exists())
    job = person.the_only_one_left(10 * 3600)
    person.simulator.inject("overdue", job=job["id"], index=job["index"])
    status = person.left_alone(run)
    assert status["run"]["status"] == "FAILED"
    endings = {
        element["array_index"]: (element["cause"], (element["error_text"] or "").splitlines()[-1:])
        for element in elements_of(status, "go")
        if element["state"] == "FAILED"
    }
    assert {index: cause for index, (cause, _) in endings.items()} == {
        1: "ERROR", 2: "ERROR", 3: "ERROR", 4: "TIMEOUT"
    }, status  # fmt: skip
    assert endings[1][1] == ["ValueError: raise"]
    assert "killed by signal SIGKILL" in endings[2][1][0]
    assert endings[3][1][0].endswith("ended with exit code 3")
    assert summary(status)["then"] == {"SUCCESS": 2, "SKIPPED": 4}
    assert summary(status)["joined"] == {"SKIPPED": 1}
    assert outputs(status, "beside") == [f"{odd}yes"]
    (person.folder / "out" / "mended").touch()
    person.reflow("retry", run)
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "joined") == ["FINE RAISE KILL EXIT SLEEP WELL"]
    again = {"raise", "kill", "exit", "sleep"}
    counts = person.counts()
    assert {how: count for how, count in counts.items() if "then" not in how} == {
        how: 2 if how in again else 1 for how in (*again, "fine", "well")
    }
    assert set(person.counts("ran-then-*").values()) == {1}


def test_cancel_in_the_middle_leaves_no_job_and_retry_goes_on(person: Submitter) -> None:
    run = person.begin(SLEEPS)
    out = person.folder / "out"
    (out / "go").touch()
    person.wait(lambda: list(out.glob("began-*")))
    person.reflow("cancel", run, "--yes")
    status = person.left_alone(run)
    assert status["run"]["status"] == "CANCELLED"
    assert summary(status)["nap"] == {"CANCELLED": 3}
    assert person.counts() == {}
    (out / "wake").touch()
    person.reflow("retry", run)
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "last") == [3]


def test_a_scheduler_that_is_down_for_a_while_loses_nothing(person: Submitter) -> None:
    run = person.begin(SLEEPS)
    out = person.folder / "out"
    (out / "go").touch()
    person.wait(lambda: len(list(out.glob("began-*"))) == 3)
    person.simulator.inject("down")
    (out / "wake").touch()
    person.wait(lambda: len(person.counts()) == 3)
    time.sleep(3)  # dispatch passes begin and cannot reach the scheduler
    person.simulator.inject("up")
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert person.counts() == {"0": 1, "1": 1, "2": 1}


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after"])
def test_submissions_in_doubt_are_neither_lost_nor_doubled(person: Submitter, fault: str) -> None:
    run = person.begin(SLEEPS)
    # Not those of the submission itself: then nobody would be left to look.
    person.simulator.inject(fault, command=person.submits, times=2)
    for name in ("go", "wake"):
        (person.folder / "out" / name).touch()
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert person.counts() == {"0": 1, "1": 1, "2": 1}


def test_arrays_are_split_and_held_back_below_a_limit(person: Submitter) -> None:
    person.configure(max_submit_jobs=16)
    run = person.begin(readme(), "--n", "20")
    status = person.left_alone(run)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [sum(x * x for x in range(20))]
    elements = [job for job in person.simulator.jobs() if job["index"] is not None]
    assert len(elements) >= 20
    changes = [(element["submitted"], 1) for element in elements] + [
        (element["ended"], -1) for element in elements
    ]
    assert 1 < max(accumulate(change for _, change in sorted(changes))) <= 16


def test_runs_at_once_do_not_meet(person: Submitter) -> None:
    runs = {
        size: person.begin(readme(), "--n", str(size), run_dir=f"out{size}") for size in (2, 3)
    }
    for size, run in runs.items():
        status = person.left_alone(run)
        assert status["run"]["status"] == "SUCCESS", status
        assert outputs(status, "total") == [sum(x * x for x in range(size))]
