"""The contract of executors on Flux."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedulers.contract import SchedulerContract


class TestFlux(SchedulerContract):
    entry = "flux"
    refusal = "'no-such-queue' is not a valid queue"
    native = {"urgency": "17", "o": "cpu-affinity=off"}  # noqa: RUF012
    own = {"job-name": "x", "cc": "0-3", "n": "2"}  # noqa: RUF012
    outer = {"FLUX_JOB_CC": "3", "FLUX_JOB_ID": "f77", "PMI_RANK": "1"}  # noqa: RUF012

    def unknown_job(self, number: int) -> str:
        digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
        return f"f9{digits[number // 33 % 33]}{digits[number % 33]}"

    def beyond_limit(self) -> Mapping[str, Any]:
        self.sim("has limits").inject(
            "refuse", command="submit", text="[Errno 1] user has max number of jobs submitted"
        )
        return {}

    def forbid(self) -> None:
        self.sim("forbids").inject(
            "refuse", command="submit", text="[Errno 1] Operation not permitted"
        )
