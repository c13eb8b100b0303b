"""Two queued runs that need the same at the same time: one of them computes it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .engine.simulator import Simulator
from .person import Person, elements_of, states

FLOW = """
    import time
    from pathlib import Path
    from typing import Annotated
    from reflow import Param, Result, Workflow

    HERE = Path(__file__).parent
    wf = Workflow("shared")

    def ran(task, x=""):
        with open(HERE / "ran", "a") as file:
            print(f"{task}{x}", file=file)
        while not (HERE / f"go-{task}").exists() and not (HERE / "go").exists():
            time.sleep(0.05)

    @wf.job()
    def a(n: Annotated[int, Param()]) -> list[int]:
        ran("a")
        return list(range(n))

    @wf.job(array=True)
    def b(x: Annotated[int, Result(step="a")]) -> int:
        ran("b", x)
        return x * x

    @wf.job(array=True)
    def c(y: Annotated[int, Result(step="b")]) -> int:
        ran("c", y)
        return y + 1

    @wf.job()
    def d(zs: Annotated[list[int], Result(step="c")], last: Annotated[int, Param()] = 0) -> int:
        ran("d", last)
        return sum(zs)

    if __name__ == "__main__":
        wf.cli()
    """
ONCE = Counter(["a", "b0", "b1", "b2", "c0", "c1", "c4", "d0"])


class Somebody(Person):
    """Submits the workflow, lets its tasks go on, and counts what ran."""

    def go(self, task: str = "") -> None:
        (self.folder / (f"go-{task}" if task else "go")).touch()

    def ran(self) -> Counter[str]:
        file = self.folder / "ran"
        return Counter(file.read_text().split() if file.exists() else [])

    def begun(self, number: int) -> None:
        end = time.monotonic() + 240
        while sum(self.ran().values()) < number:
            assert time.monotonic() < end, (self.ran(), self.simulator.jobs())
            time.sleep(0.1)

    def at_rest(self, number: int, running: int) -> None:
        """Wait until `number` elements have begun and the last `running` of them run alone.

        Then what its pass has queued ahead is reserved, too: that is entered when a pass ends.
        """
        self.begun(number)
        end = time.monotonic() + 240
        while sum(job["state"] == "running" for job in self.simulator.jobs()) != running:
            assert time.monotonic() < end, self.simulator.jobs()
            time.sleep(0.1)

    def wait_for_note(self, run: str, of_run: str) -> None:
        text = f"under way in run {of_run}"
        self.until(run, lambda status: any(text in note for note in status["notes"]))

    def jobs_of(self, run: str) -> list[int]:
        jobs = self.simulator.jobs()
        return [job["id"] for job in jobs if job["state"] != "ended" and run in job["name"]]


@pytest.fixture
def person(tmp_path: Path, slurm_simulators: Callable[..., Simulator]) -> Somebody:
    somebody = Somebody(tmp_path, slurm_simulators(speed=20.0), "slurm")
    somebody.write(FLOW)
    return somebody


def both(person: Somebody, first: str, second: str) -> dict[str, Any]:
    """Let everything go on, wait for both runs to end well, and return the second's status."""
    person.go()
    for run in (first, second):
        assert person.ended(run)["run"]["status"] == "SUCCESS"
    return person.status(second)


def test_run_waits_for_what_another_run_has_queued(person: Somebody) -> None:
    first = person.submit("--n", "3")
    second = person.submit("--n", "3", run_dir="second")
    person.wait_for_note(second, first)
    person.go("a")
    person.at_rest(4, 3)
    status = both(person, first, second)
    assert person.ran() == ONCE
    assert elements_of(status, "d")[0]["output"] == 0 + 1 + 1 + 1 + 4 + 1


def test_task_queued_before_its_inputs_is_reserved_by_lineage(person: Somebody) -> None:
    person.go("a")
    person.go("b")
    first = person.submit("--n", "3")
    person.at_rest(7, 3)  # c runs: it was queued before its inputs were known
    second = person.submit("--n", "3", "--last", "1", run_dir="second")
    person.wait_for_note(second, first)
    status = both(person, first, second)
    assert person.ran() == ONCE + Counter(["d1"])
    assert [states(status, task) for task in "abcd"] == [
        ["CACHED"], ["CACHED"] * 3, ["CACHED"] * 3, ["SUCCESS"]
    ]  # fmt: skip


def test_elements_that_only_one_needs_begin_at_once(person: Somebody) -> None:
    person.go("a")
    first = person.submit("--n", "2")
    person.begun(3)
    second = person.submit("--n", "3", run_dir="second")
    person.begun(5)  # a of its own, and the third element of b
    status = both(person, first, second)
    assert [person.ran()[f"b{x}"] for x in range(3)] == [1, 1, 1]
    assert sorted(states(status, "b")) == ["CACHED", "CACHED", "SUCCESS"]


def command(person: Somebody, *words: object) -> None:
    """Type a command of the scheduler's."""
    typed = list(map(str, words))
    person.run("-c", f"import subprocess; subprocess.run({typed!r}, check=True)")


def job_of(person: Somebody, run: str, task: str) -> str:
    """Return the id of the job that runs a task."""
    jobs = person.status(run)["jobs"]
    return next(str(job["job_id"]) for job in jobs if job["task_name"] == task)


def take_out(person: Somebody, run: str) -> None:
    """Take all jobs of a run out of the queue."""
    command(person, "scancel", *person.jobs_of(run))


@pytest.mark.parametrize("how", ["cancelled", "taken out of the queue", "deleted"])
def test_run_does_not_wait_for_a_result_that_no_run_will_compute(
    person: Somebody, how: str
) -> None:
    first = person.submit("--n", "3")
    person.begun(1)
    second = person.submit("--n", "3", run_dir="second")
    person.wait_for_note(second, first)
    if how == "cancelled":
        person.reflow("cancel", first, "--yes")
    elif how == "deleted":
        (person.folder / "out").rename(person.folder / "gone")
    else:
        take_out(person, first)
    person.begun(2)
    person.go()
    assert person.until(second, lambda status: status["run"]["status"] == "SUCCESS")
    assert person.ran() == ONCE + Counter(["a"])
    if how == "taken out of the queue":
        # When the first run continues, it finds what was computed in its place.
        person.reflow("status", first, "--refresh")
        assert person.ended(first)["run"]["status"] == "FAILED"  # as `a` was killed
        person.reflow("retry", first)
        assert person.ended(first)["run"]["status"] == "SUCCESS"
        assert person.ran() == ONCE + Counter(["a"])


def test_a_job_that_is_held_is_not_waited_for(person: Somebody) -> None:
    person.simulator.inject("partition_down", partition="compute")
    first = person.submit("--n", "3")
    job = job_of(person, first, "a")
    command(person, "scontrol", "hold", job)
    person.simulator.inject("partition_up", partition="compute")
    second = person.submit("--n", "3", run_dir="second")
    person.go()
    person.until(second, lambda status: status["run"]["status"] == "SUCCESS")
    assert person.ran() == ONCE
    command(person, "scontrol", "release", job)
    assert person.ended(first)["run"]["status"] == "SUCCESS"


@pytest.mark.parametrize("where", ["other settings", "this machine"])
def test_the_scheduler_is_asked_after_the_jobs_of_any_run(person: Somebody, where: str) -> None:
    first = person.submit("--n", "3")
    person.begun(1)
    if where == "this machine":
        out = person.run("flow.py", "submit", "--executor", "local", "--run-dir", "b", "--n", "3")
        second = out.split()[-1]
    else:
        person.configure(prologue="true")
        second = person.submit("--n", "3", run_dir="second")
    person.wait_for_note(second, first)
    take_out(person, first)
    person.begun(2)  # once the scheduler has had the time to report all its jobs
    person.go()
    person.until(second, lambda status: status["run"]["status"] == "SUCCESS")


def test_a_run_inside_a_job_does_not_wait_for_that_job_s_run(person: Somebody) -> None:
    person.write("""
        from pathlib import Path
        from typing import Annotated
        from reflow import Param, Result, Workflow

        inner, outer = Workflow("inner"), Workflow("outer")

        @inner.job()
        def leaf() -> int:
            return 1

        @outer.job()
        def nest() -> int:
            return inner.run_local(run_dir=Path(__file__).parent / "inner").result("leaf")

        outer.job()(leaf)

        if __name__ == "__main__":
            outer.cli()
        """)
    person.simulator.inject("partition_down", partition="compute")
    run = person.submit()
    job = job_of(person, run, "leaf")
    command(person, "scontrol", "hold", job)
    person.simulator.inject("partition_up", partition="compute")
    person.until(run, lambda status: states(status, "nest") == ["SUCCESS"])
    command(person, "scontrol", "release", job)
    assert person.ended(run)["run"]["status"] == "SUCCESS"


def test_a_silent_scheduler_says_nothing_of_the_other_run(person: Somebody) -> None:
    first = person.submit("--n", "3")
    person.begun(1)
    second = person.submit("--n", "3", run_dir="second")
    person.wait_for_note(second, first)
    person.simulator.inject("down")
    person.reflow("status", second, "--refresh")
    person.simulator.inject("up")
    person.go("a")
    person.at_rest(4, 3)
    both(person, first, second)
    assert person.ran() == ONCE


def test_a_run_that_waits_can_be_cancelled(person: Somebody) -> None:
    first = person.submit("--n", "3")
    person.begun(1)
    second = person.submit("--n", "3", run_dir="second")
    person.wait_for_note(second, first)
    person.reflow("cancel", second, "--yes")
    assert person.status(second)["run"]["status"] == "CANCELLED"
    assert not person.jobs_of(second)
    person.go()
    assert person.ended(first)["run"]["status"] == "SUCCESS"
    assert person.ran() == ONCE
