"""Workflows from submission to the end, on every real scheduler that the machine has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from live.sites import SCHEDULERS, Scheduler
from schedulers.person import elements_of, states
from schedulers.workflows import SLEEPS, readme, ways


@pytest.fixture(params=list(SCHEDULERS))
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    return SCHEDULERS[request.param]


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.3)
    return result


def outputs(status: dict[str, Any], task: str) -> list[Any]:
    return [element["output"] for element in elements_of(status, task)]


def squares(size: int) -> int:
    return sum(x * x for x in range(size))


def counts(site: Any) -> dict[str, int]:
    """Return how often elements ran that leave a mark each time."""
    files = (site.folder / "out").glob("ran-*")
    return {file.name.removeprefix("ran-"): len(file.read_text()) for file in files}


def make(site: Any, *names: str) -> None:
    """Make files that a run waits for."""
    for name in names:
        (site.folder / "out" / name).touch()


def napping(site: Any) -> str:
    """Submit a run, and return its id once its array runs; the array ends when woken."""
    run_id: str = site.submit(SLEEPS)
    make(site, "go")
    until(lambda: len(list((site.folder / "out").glob("began-*"))) == 3)
    return run_id


@pytest.mark.parametrize("size", [0, 1, 5, 300])
def test_the_pipeline_goes_on_with_nobody_there(site: Any, size: int) -> None:
    run_id = site.submit(readme(), "--n", str(size))
    status = site.ended(run_id, 300)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [squares(size)]
    status = site.ended(site.submit(readme(), "--n", str(size)))
    assert set(states(status, "square")) <= {"CACHED"}


def test_every_way_to_fail_has_its_cause_and_retry_runs_exactly_those(site: Any) -> None:
    odd = "it's \"odd\",\n$HOME 100% ü"
    site.configure(environment={"ODD": odd}, prologue="LOADED=yes\nexport LOADED")
    minutes, seconds = divmod(site.scheduler.limit, 60)
    run_id = site.submit(ways(f"00:{minutes:02}:{seconds:02}"))
    status = site.ended(run_id, site.scheduler.overdue)
    assert status["run"]["status"] == "FAILED"
    failed = {
        element["array_index"]: element
        for element in elements_of(status, "go")
        if element["state"] == "FAILED"
    }
    assert {index: element["cause"] for index, element in failed.items()} == {
        1: "ERROR", 2: "ERROR", 3: "ERROR", 4: "TIMEOUT"
    }, status  # fmt: skip
    assert failed[1]["error_text"].splitlines()[-1] == "ValueError: raise"
    assert "killed by signal SIGKILL" in failed[2]["error_text"]
    assert "ended with exit code 3" in failed[3]["error_text"]
    assert sorted(states(status, "then")) == ["SKIPPED"] * 4 + ["SUCCESS"] * 2
    assert states(status, "joined") == ["SKIPPED"]
    assert outputs(status, "beside") == [f"{odd}yes"]
    make(site, "mended")
    site.reflow("retry", run_id)
    status = site.ended(run_id, site.scheduler.overdue)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "joined") == ["FINE RAISE KILL EXIT SLEEP WELL"]
    again = ("raise", "kill", "exit", "sleep")
    all_of_them = (*again, "fine", "well")
    assert counts(site) == {
        **{how: 2 if how in again else 1 for how in all_of_them},
        **{f"then-{how}": 1 for how in all_of_them},
    }


def test_cancel_in_the_middle_leaves_no_job_and_retry_goes_on(site: Any) -> None:
    run_id = napping(site)
    site.reflow("cancel", run_id, "--yes")
    status = site.ended(run_id)
    assert status["run"]["status"] == "CANCELLED"
    assert states(status, "nap") == ["CANCELLED"] * 3
    assert counts(site) == {}
    make(site, "wake")
    site.reflow("retry", run_id)
    status = site.ended(run_id)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "last") == [3]


def test_an_array_that_is_cancelled_by_hand_is_noticed(site: Any) -> None:
    run_id = napping(site)
    site.cancel(*site.ids(run_id, "w"))
    status = site.ended(run_id, 240)
    assert status["run"]["status"] == "FAILED", status
    assert {element["cause"] for element in elements_of(status, "nap")} == {
        site.scheduler.cancelled
    }
    make(site, "wake")
    site.reflow("retry", run_id)
    assert site.ended(run_id)["run"]["status"] == "SUCCESS"


@pytest.mark.parametrize("role", ["s", "g"])
def test_without_its_sentinel_or_its_guard_a_run_goes_on(site: Any, role: str) -> None:
    run_id = napping(site)
    jobs = site.ids(run_id, role)
    if not jobs and role == "g":
        pytest.skip(f"{site.scheduler.name} cannot put jobs off: there is no guard")
    site.cancel(*jobs)
    make(site, "wake")
    status = site.ended(run_id, 240)
    assert status["run"]["status"] == "SUCCESS", status
    assert counts(site) == {"0": 1, "1": 1, "2": 1}


def test_with_every_job_deleted_retry_carries_on(site: Any) -> None:
    run_id = napping(site)
    site.cancel(*(job for role in "wsgd" for job in site.ids(run_id, role)))
    until(lambda: not site.jobs(run_id))
    make(site, "wake")
    site.reflow("retry", run_id)
    status = site.ended(run_id, 240)
    if status["run"]["status"] == "FAILED":  # cancelled by hand: stays so until a retry
        site.reflow("retry", run_id)
        status = site.ended(run_id)
    assert status["run"]["status"] == "SUCCESS", status


def test_arrays_are_split_and_held_back_below_a_limit(site: Any) -> None:
    site.configure(max_submit_jobs=40)
    status = site.ended(site.submit(readme(), "--n", "50"), 400)
    assert status["run"]["status"] == "SUCCESS", status
    assert outputs(status, "total") == [squares(50)]


def test_refused_element_fails_with_the_message_of_the_scheduler_and_others_go_on(
    site: Any,
) -> None:
    source = """
        from reflow import Workflow
        wf = Workflow("refused")
        @wf.job(queue="no-such-queue")
        def bad() -> int:
            return 1
        @wf.job()
        def good() -> int:
            return 1
        if __name__ == "__main__":
            wf.cli()
        """
    status = site.ended(site.submit(source))
    assert states(status, "good") == ["SUCCESS"]
    (bad,) = elements_of(status, "bad")
    assert (bad["state"], bad["cause"]) == ("FAILED", "ERROR")
    assert f"{site.scheduler.backend} refused job" in bad["error_text"]


def test_runs_at_once_do_not_meet(site: Any) -> None:
    runs = {size: site.submit(readme(), "--n", str(size), run_dir=f"o{size}") for size in (1, 2, 3)}
    for size, run_id in runs.items():
        status = site.ended(run_id, 240)
        assert status["run"]["status"] == "SUCCESS", status
        assert outputs(status, "total") == [squares(size)]


def test_result_that_two_runs_need_at_once_is_computed_once(site: Any) -> None:
    first = napping(site)
    second = site.submit(SLEEPS)
    until(lambda: any(f"under way in run {first}" in note for note in site.status(second)["notes"]))
    make(site, "wake")
    for run_id in (first, second):
        assert site.ended(run_id, 240)["run"]["status"] == "SUCCESS"
    assert counts(site) == {"0": 1, "1": 1, "2": 1}


@pytest.mark.alone
def test_a_scheduler_that_is_down_for_a_while_loses_nothing(site: Any, cluster: Any) -> None:
    if not site.scheduler.down:
        pytest.skip(f"nobody knows how to stop {site.scheduler.name}")
    run_id = napping(site)
    for program in site.scheduler.down:
        cluster("stop", program)
    try:
        make(site, "wake")
        until(lambda: len(counts(site)) == 3)
        time.sleep(10)  # dispatch passes begin and cannot reach the scheduler
    finally:
        for program in site.scheduler.down:
            cluster("start", program)
    status = site.ended(run_id, 240)
    assert status["run"]["status"] == "SUCCESS", status
    assert counts(site) == {"0": 1, "1": 1, "2": 1}
