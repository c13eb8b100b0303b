"""The contract of executors on Slurm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedulers.contract import SchedulerContract

from reflow.model.spec import Resources


class TestSlurm(SchedulerContract):
    entry = "slurm"
    samples = ({"cluster": "big", "max_array_size": 10},)
    refusal = "invalid partition specified: no-such-queue"
    native = {"nice": "100", "exclusive": ""}  # noqa: RUF012
    own = {"job-name": "x", "a": "0-3"}  # noqa: RUF012
    outer = {"SBATCH_ARRAY_INX": "0-3", "SBATCH_WAIT": "1", "SLURM_JOB_ID": "77"}  # noqa: RUF012
    refused_paths = ("backslash",)

    def unknown_job(self, number: int) -> str:
        return str(67_000_000 + number)

    def forget(self, job: str) -> None:
        self.sim("loses jobs").inject("lose", job=int(job))

    def beyond_limit(self) -> Mapping[str, Any]:
        return {"size": 9, "resources": Resources(account="limited")}

    def forbid(self) -> None:
        self.sim("forbids").inject("refuse", text="Access/permission denied")
