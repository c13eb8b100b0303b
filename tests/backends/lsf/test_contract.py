"""The contract of executors on LSF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedulers.contract import SchedulerContract


class TestLSF(SchedulerContract):
    entry = "lsf"
    samples = ({"memory_unit": "GB", "max_array_size": 10, "dialect": "json"},)
    refusal = "no-such-queue: No such queue"
    native = {"P": "project", "R": "rusage[mem=1]"}  # noqa: RUF012
    own = {"J": "x", "w": "ended(1)"}  # noqa: RUF012
    outer = {  # noqa: RUF012
        "BSUB_QUIET": "1", "LSB_JOBINDEX": "7", "LSB_JOBID": "77", "LSB_BJOBS_FORMAT": "stat",
    }  # fmt: skip

    def unknown_job(self, number: int) -> str:
        return str(900_000 + number)

    def forget(self, job: str) -> None:
        self.sim("loses jobs").inject("lose", job=int(job))

    def beyond_limit(self) -> Mapping[str, Any]:
        self.sim("has limits").inject(
            "refuse", text="The destination queue has reached its job limit"
        )
        return {}

    def forbid(self) -> None:
        self.sim("forbids").inject("refuse", text="Request from non-LSF host rejected")
