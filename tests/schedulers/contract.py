"""The contract of executors on the simulated schedulers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from reflow.testing import ExecutorContract

from .engine.simulator import Simulator
from .plugin import start


class SimulatedContract(ExecutorContract):
    """The contract of the executor `entry` on its simulated scheduler.

    `site` are the simulator's settings, `submits` the command that submits.
    """

    site: ClassVar[dict[str, Any]] = {"message_timeout": 0.05, "kill_wait": 0.1}
    speed = 60.0
    simulator: Simulator

    @pytest.fixture
    def scheduler(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
        self.simulator = start(self.entry, **self.site)
        monkeypatch.setenv("PATH", self.simulator.environment["PATH"])
        yield self.simulator
        assert self.simulator.stop() == ""

    def break_down(self) -> None:
        self.simulator.inject("down")

    def repair(self) -> None:
        self.simulator.inject("up")
