"""The contract of executors over one that calls no commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from contract.spool import SpoolExecutor, stop

from reflow.testing import ExecutorContract


class TestSpool(ExecutorContract):
    executor = SpoolExecutor
    samples = ({"spool": "/some where"},)
    refusal = "no queue 'no-such-queue'"
    outer = {"SPOOL_OTHER": "77"}  # noqa: RUF012
    time_limit = 1
    spool: Path

    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> Iterator[None]:
        self.spool = tmp_path / "spool"
        (self.spool / "jobs").mkdir(parents=True)
        self.settings = {"spool": str(self.spool)}
        yield
        stop(self.spool)

    def unknown_job(self, number: int) -> str:
        return str(67_000_000 + number)

    def break_down(self) -> None:
        (self.spool / "down").touch()

    def repair(self) -> None:
        (self.spool / "down").unlink()

    def forget(self, job: str) -> None:
        SpoolExecutor(spool=str(self.spool)).forget(job)

    def beyond_limit(self) -> Mapping[str, Any]:
        (self.spool / "full").touch()
        return {}
