"""What the engine requires of any executor, not only of reflow's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import frozen

from reflow import Workflow
from reflow.engine import local_driver
from reflow.engine.dispatcher import ask
from reflow.executors.base import Capabilities, Executor, JobRequest, JobStatus
from reflow.runs import lifecycle
from reflow.storage.run_directory import RunRecord


@frozen(kw_only=True)
class Inline(Executor):
    """An executor of a plugin, with `workers` as a setting."""

    name: ClassVar[str] = "inline"
    workers: int = 3

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(inline=True)

    def submit(self, request: JobRequest) -> str:
        return "1"

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        return {}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        return None


@frozen(kw_only=True)
class Shows(Inline):
    """An executor that submits nothing."""

    name: ClassVar[str] = "shows"
    runs_nothing: ClassVar[bool] = True


@pytest.fixture
def workflow() -> Workflow:
    wf = Workflow("port")

    @wf.job()
    def task() -> int:
        return 1

    return wf


def test_an_inline_executor_says_how_many_elements_run_at_a_time(
    workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = workflow.run_local(tmp_path / "run")
    record = RunRecord(str(tmp_path / "run" / ".reflow" / run.run_id))
    ask(record, record.request(), "retry", None)
    sizes = []

    def drive(dispatch: Any, tasks: Any, *, max_workers: int, isolate: bool) -> str:
        sizes.append(max_workers)
        return "SUCCESS"

    monkeypatch.setattr(local_driver, "drive", drive)
    for executor in (Inline(), Inline(workers=5)):
        monkeypatch.setattr(lifecycle, "current_executor", lambda *_, current=executor: current)
        lifecycle.drive_recorded(record)
    assert sizes == [3, 5]


def test_an_executor_that_runs_nothing_shows_what_would_run(
    workflow: Workflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.submit(tmp_path / "run", executor=Shows())
    assert "task" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_an_executor_that_overrides_nothing_adds_nothing() -> None:
    @frozen(kw_only=True)
    class Bare(Inline):
        workers: int = 1

    executor = Bare()
    assert (executor.prologue, dict(executor.environment)) == ("", {})
    assert executor.located() is executor
    assert not executor.runs_nothing
    assert Executor.workers == 1
