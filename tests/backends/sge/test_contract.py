"""The contract of executors on Grid Engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedulers.contract import SchedulerContract


class TestSGE(SchedulerContract):
    entry = "sge"
    samples = ({"project": "sea", "nodes_pe": "mpi", "accounting_lag": 3.5, "sge_cell": "north"},)
    refusal = 'job requests unknown queue "no-such-queue"'
    native = {"p": "-10", "notify": ""}  # noqa: RUF012
    own = {"N": "x", "-t": "1-3"}  # noqa: RUF012
    outer = {"SGE_TASK_ID": "3", "JOB_ID": "77", "JOB_NAME": "x", "NSLOTS": "4"}  # noqa: RUF012
    # qdel of a running job leaves the record of any SIGKILL; of a waiting job it leaves none.
    tells = ("exit_code", "signal", "timeout", "positions")
    refused_paths = ("comma", "dollar", "newline")

    def unknown_job(self, number: int) -> str:
        return str(9_000_000 + number)

    def forget(self, job: str) -> None:
        self.sim("loses jobs").inject("lose", job=int(job))

    def beyond_limit(self) -> Mapping[str, Any]:
        self.sim("has limits").inject("submit_limit", limit=0)
        return {}
