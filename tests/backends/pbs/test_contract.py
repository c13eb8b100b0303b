"""The contract of executors on PBS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        """PBS deletes who is behind a waiting job that is deleted; it says so, and it is lost."""
        first = jobs.submit("await go")
        parent = jobs.submit("note parent x", after=(first.id,))
        child = jobs.submit("note child x", after=(parent.id,))
        jobs.cancel(parent)
        assert jobs.ended(child).cause == LOST
        jobs.make("go")
        jobs.gone(first)
        assert jobs.lines("parent") == jobs.lines("child") == []
