"""The contract of executors on a scheduler: simulated, and real where the machine has it."""

from __future__ import annotations

# time.strptime imports it when it is first called: the user may not be able to read it then.
import _strptime  # noqa: F401
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from live.sites import SCHEDULERS, become_user

from reflow.testing import ExecutorContract

from .engine.simulator import Simulator
from .plugin import start


class SchedulerContract(ExecutorContract):
    """The contract of the executor `entry`, once on its simulator, once on the real scheduler.

    `site` are the simulator's settings. `simulator` is None on the real one, where nothing
    can be made to go wrong, and all is done as an ordinary user.
    """

    site: ClassVar[dict[str, Any]] = {"message_timeout": 0.05, "kill_wait": 0.1}
    real: ClassVar[str] = ""
    """The name of the real scheduler, where `entry` drives several."""
    simulator: Simulator | None
    _pool: ProcessPoolExecutor | None = None

    @pytest.fixture(
        params=[
            "simulated",
            pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow]),
        ]
    )
    def scheduler(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        yield from self.started(request, monkeypatch)

    def started(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """Start the scheduler that the fixture's parameter names, and stop it."""
        if request.param == "simulated":
            self.simulator, self.speed = start(self.entry, **self.site), 60.0
            monkeypatch.setenv("PATH", self.simulator.environment["PATH"])
            yield
            assert self.simulator.stop() == ""
            return
        real = SCHEDULERS[self.real or self.entry]
        real.need()
        self.simulator, self.patience, self.time_limit = None, real.overdue, real.limit
        self.settings = real.settings
        for name, value in real.environment.items():
            monkeypatch.setenv(name, value)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, context, become_user) as self._pool:
            yield

    def do(self, function: Callable[..., Any], *arguments: object) -> Any:
        if self._pool is None:
            return function(*arguments)
        return self._pool.submit(function, *arguments).result(timeout=300)

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        # Below /var/tmp, where another user may go.
        folder = Path(tempfile.mkdtemp(prefix="reflow-contract-", dir="/var/tmp"))
        os.chmod(folder, 0o777)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def sim(self, what: str) -> Simulator:
        """Return the simulator; where there is none, report that something cannot be made."""
        if self.simulator is None:
            pytest.skip(f"not promised: a real {self.entry} that {what}")
        return self.simulator

    def break_down(self) -> None:
        self.sim("is down").inject("down")

    def repair(self) -> None:
        self.sim("is down").inject("up")
