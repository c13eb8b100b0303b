"""The contract of executors on PBS, and on Torque."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from schedulers.contract import SchedulerContract

from reflow.states import LOST
from reflow.testing.jobs import Jobs


class TestPBS(SchedulerContract):
    entry = "pbs"
    samples = ({"max_array_size": 10, "history": False}, {"options": {"p": "10"}})
    refusal = "Unknown queue"
    native = {"p": "10", "place": "free"}  # noqa: RUF012
    own = {"N": "x", "J": "0-3"}  # noqa: RUF012
    outer = {"PBS_JOBID": "77.other", "PBS_DPREFIX": "#!", "PBS_ARRAY_INDEX": "3"}  # noqa: RUF012
    refused_paths = ("caret", "unicode", "newline", "tab")
    starts_in_directory = False

    def unknown_job(self, number: int) -> str:
        return f"{9_900_000 + number}.pbshost"

    def forget(self, job: str) -> None:
        self.sim("loses jobs").inject("lose", job=int(job.partition(".")[0]))

    def beyond_limit(self) -> Mapping[str, Any]:
        self.sim("has a limit").inject("submit_limit", limit=5)
        return {"size": 9}

    def forbid(self) -> None:
        self.sim("forbids").inject(
            "refuse", command="qsub", text="Access from host not allowed, or unknown host"
        )

    def test_behind_one_that_is_cancelled_before_it_began_it_runs(self, jobs: Jobs) -> None:
        """PBS deletes the jobs behind a deleted waiting job; it says so, and they are lost."""
        first = jobs.submit("await go")
        parent = jobs.submit("note parent x", after=(first.id,))
        child = jobs.submit("note child x", after=(parent.id,))
        jobs.cancel(parent)
        assert jobs.ended(child).cause == LOST
        jobs.make("go")
        jobs.gone(first)
        assert jobs.lines("parent") == jobs.lines("child") == []


class TestTorque(SchedulerContract):
    """On a real Torque only: there is no simulated one."""

    entry = "pbs"
    real = "torque"
    samples = ({"torque": True}, {"torque": False, "history": True})
    refusal = "Unknown queue"
    native: ClassVar = {"p": "10", "l": "file=1mb"}
    own: ClassVar = {"N": "x", "t": "0-3", "depend": "afterany:1"}
    outer: ClassVar = {"PBS_JOBID": "77.other", "PBS_DPREFIX": "#!", "PBS_ARRAYID": "3"}
    starts_in_directory = False
    slots = 8

    @pytest.fixture(params=[pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])])
    def scheduler(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        yield from self.started(request, monkeypatch)

    def unknown_job(self, number: int) -> str:
        return f"{9_900_000 + number}.{os.uname().nodename}"
