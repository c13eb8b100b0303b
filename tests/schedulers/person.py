"""A person at a prompt in a folder, with the commands of a simulated scheduler on PATH."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reflow.states import ENDED

from .engine.simulator import Simulator


class Person:
    """Writes scripts, runs them, and watches their runs."""

    def __init__(self, folder: Path, simulator: Simulator, executor: str) -> None:
        self.folder, self.simulator, self.executor = folder, simulator, executor
        # The simulated clock is fast: half an hour on it would be less than a pass may take.
        simulator.inject("default_limit", seconds=20 * 3600)
        self.environment = {
            **simulator.environment,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def configure(self, **settings: object) -> None:
        """Write the configuration: settings of the executor, texts, numbers and tables of them."""
        lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
        folder = self.folder / "config" / "reflow"
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join([f"[executor.{self.executor}]", *lines, ""])
        (folder / "config.toml").write_text(text)

    def write(self, source: str, name: str = "flow.py") -> None:
        (self.folder / name).write_text(textwrap.dedent(source))

    def run(self, *arguments: str, code: int | None = 0, **variables: str) -> str:
        """Run Python; return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder, env={**self.environment, **variables}, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def reflow(self, *arguments: str, **how: Any) -> str:
        """Run the command ``reflow``."""
        return self.run("-c", "from reflow.cli import main; main()", *arguments, **how)

    def submit(
        self,
        *arguments: str,
        script: str = "flow.py",
        run_dir: str = "out",
        code: int | None = 0,
    ) -> str:
        """Submit a run and return its id; `code` is None for one that may have failed by then."""
        out = self.run(
            script, "submit", "--executor", self.executor, "--run-dir", run_dir, *arguments,
            code=code,
        )  # fmt: skip
        return out.split()[-1]

    def status(self, run: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.reflow("status", run, "--json"))
        return status

    def until(
        self, run: str, condition: Callable[[dict[str, Any]], Any], seconds: float = 240
    ) -> dict[str, Any]:
        """Wait until the status of a run meets a condition, and return it."""
        end = time.monotonic() + seconds
        while not condition(status := self.status(run)):
            assert time.monotonic() < end, status
            time.sleep(0.2)
        return status

    def ended(self, run: str) -> dict[str, Any]:
        """Wait until a run and all of its jobs have ended; return its status."""
        status = self.until(run, lambda status: status["run"]["status"] in ENDED)
        end = time.monotonic() + 120
        while jobs := [job for job in self.simulator.jobs() if job["state"] != "ended"]:
            assert time.monotonic() < end, jobs
            time.sleep(0.1)
        return status


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value)


def elements_of(status: dict[str, Any], task: str) -> list[dict[str, Any]]:
    """Return the instances of a task."""
    return [element for element in status["instances"] if element["task_name"] == task]


def states(status: dict[str, Any], task: str) -> list[str]:
    return [element["state"] for element in elements_of(status, task)]
