"""Failed elements are retried automatically if the task asks for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Result, Retry, RunFailedError, Scale, Workflow


def flaky(folder: Path, failures: int, retry: object, *, dies: bool = False) -> Workflow:
    wf = Workflow("flaky")

    @wf.job()
    def items() -> list[int]:
        return [1, 2, 3]

    @wf.job(array=True, retry=retry)  # type: ignore[call-overload]
    def each(x: Annotated[int, Result(step="items")]) -> int:
        count = folder / f"tries-{x}"
        tries = int(count.read_text()) if count.exists() else 0
        count.write_text(str(tries + 1))
        if x == 2 and tries < failures:
            if dies:
                os._exit(1)
            raise ValueError(f"try {tries}")
        return x

    @wf.job()
    def total(xs: Annotated[list[int], Result(step="each")]) -> int:
        return sum(xs)

    return wf


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_element_that_succeeds_on_a_retry_is_no_failure(
    tmp_path: Path, workers: int, on_error: str
) -> None:
    wf = flaky(tmp_path, 2, 2)
    run = wf.run_local(tmp_path / "run", max_workers=workers, on_error=on_error)
    assert run.result("total") == 6
    status = run.status(as_dict=True)
    assert status is not None
    attempts = [
        element["attempt"] for element in status["instances"] if element["task_name"] == "each"
    ]
    assert attempts == [1, 3, 1]
    assert (tmp_path / "tries-1").read_text() == "1"


def test_the_last_failure_is_the_one_on_record(tmp_path: Path) -> None:
    wf = flaky(tmp_path, 9, 1)
    with pytest.raises(RunFailedError, match="try 1"):
        wf.run_local(tmp_path / "run")
    run = wf.run(wf.store.list_runs(limit=1)[0].run_id)
    # A retry by a person resets the count.
    (tmp_path / "tries-2").write_text("8")
    run.retry()
    assert run.wait(60) == "SUCCESS"


def test_an_error_of_the_task_itself_is_final_for_a_retry_by_cause(tmp_path: Path) -> None:
    wf = flaky(tmp_path, 1, Retry(3))
    with pytest.raises(RunFailedError, match="try 0"):
        wf.run_local(tmp_path / "run")


def test_a_process_that_dies_is_tried_again(tmp_path: Path) -> None:
    run = flaky(tmp_path, 1, 3, dies=True).submit(tmp_path / "run", executor="local")
    assert run.wait(60) == "SUCCESS"
    assert run.result("total") == 6


def killed_once(folder: Path, retry: Retry) -> Workflow:
    wf = Workflow("killed_once")

    @wf.job(mem="100M", retry=retry)
    def eat() -> int:
        tried = folder / "tried"
        if not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 1

    return wf


def ended(wf: Workflow, folder: Path, how: str) -> dict[str, Any]:
    if how == "run_local":
        run = wf.run_local(folder / "run", max_workers=2, on_error="continue")
    else:
        run = wf.submit(folder / "run", executor="local")
        run.wait(60)
    status = run.status(as_dict=True)
    assert status is not None
    return status


@pytest.mark.parametrize("how", ["run_local", "submit"])
def test_memory_is_suspected_if_a_process_was_killed_here(tmp_path: Path, how: str) -> None:
    retry = Retry(2, oom=Scale(mem=2), lost=False)
    status = ended(killed_once(tmp_path, retry), tmp_path, how)
    (element,) = status["instances"]
    assert (element["state"], element["attempt"]) == ("SUCCESS", 2)


def test_killed_process_is_an_error_without_a_rule_for_memory(tmp_path: Path) -> None:
    wf = killed_once(tmp_path, Retry(2, oom=False))
    with pytest.raises(RunFailedError, match=r"was killed by signal SIGKILL: memory suspected"):
        wf.run_local(tmp_path / "run", max_workers=2)


def test_memory_is_not_suspected_if_reflow_killed_the_process(tmp_path: Path) -> None:
    """reflow ends a process that closed its connection, as it cannot answer any more."""
    wf = Workflow("mute")

    @wf.job(mem="100M", retry=Retry(2, oom=Scale(mem=2)))
    def mute() -> int:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever number the connection has
        signal.pause()
        return 1

    with pytest.raises(RunFailedError, match="had closed its connection to the run"):
        wf.run_local(tmp_path / "run", max_workers=2)
