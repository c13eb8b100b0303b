"""Live tests: workflows on real schedulers, submitted by an ordinary user.

They run where `sites` says that a scheduler is there and may be used (``make live``).
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live.sites import BASE, PYTHON, SCHEDULERS, USER, Scheduler, as_user

CLUSTERS = Path(__file__).parents[2] / "tools" / "clusters"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


class Site:
    """A folder of the user, and what a person does there at a prompt."""

    def __init__(self, folder: Path, scheduler: Scheduler) -> None:
        self.folder, self.scheduler = folder, scheduler
        self.environment = {
            **scheduler.environment,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        if scheduler.settings:
            self.configure()

    def configure(self, **settings: object) -> None:
        """Write the configuration: settings of the executor, texts, numbers and tables of them."""
        configured = {**self.scheduler.settings, **settings}
        lines = [f"{key} = {toml(value)}" for key, value in configured.items()]
        folder = self.folder / "config" / "reflow"
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join([f"[executor.{self.scheduler.backend}]", *lines, ""])
        (folder / "config.toml").write_text(text)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            as_user(*command),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, code: int | None = 0, timeout: float = 240) -> str:
        """Run a command as the user and return what it printed."""
        process = self.start(*command)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            raise AssertionError(f"{command} did not end: {out}\n{self.queue()}") from None
        assert code is None or process.returncode == code, f"{command}: {out}"
        return out

    def write(self, source: str, name: str = "flow.py") -> str:
        (self.folder / name).write_text(textwrap.dedent(source))
        return name

    def python(self, source: str, *arguments: str, name: str = "flow.py", **how: Any) -> str:
        """Write a script and run it."""
        return self.run(PYTHON, self.write(source, name), *arguments, **how)

    def reflow(self, *arguments: str, **how: Any) -> str:
        """Run the command ``reflow``."""
        return self.run(str(Path(PYTHON).parent / "reflow"), *arguments, **how)

    def status(self, run_id: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.reflow("status", run_id, "--json"))
        return status

    def submit(self, source: str, *arguments: str, run_dir: str = "out") -> str:
        """Submit a script's workflow and return the run's id."""
        executor = ("--executor", self.scheduler.backend, "--run-dir", run_dir)
        return self.python(source, "submit", *executor, *arguments).split()[-1]

    def queue(self) -> str:
        """Return ``id name`` of each job in the queue."""
        return self.run("sh", "-c", self.scheduler.listing)

    def jobs(self, run_id: str) -> list[str]:
        """Return the names of the jobs of a run that are in the queue."""
        names = [line.split()[-1] for line in self.queue().splitlines()]
        return [name for name in names if name.startswith(f"{run_id}.")]

    def ids(self, run_id: str, role: str) -> list[str]:
        """Return the ids of the run's jobs in the queue: w(orker), s(entinel), g(uard)."""
        jobs = [
            job
            for job, name in (line.split()[:2] for line in self.queue().splitlines())
            if name.startswith(f"{run_id}.") and name.endswith(f".{role}")
        ]
        return list(dict.fromkeys(jobs))  # some list an array element by element

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs by hand, as a person does; some may be gone.

        LSF's bkill has exit code 255 for an array that runs: "Operation is in progress".
        """
        if jobs:
            self.run(*self.scheduler.cancel, *jobs, code=None)

    def ended(self, run_id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a run has ended without a waiting command; return its status.

        Then no job of it is left, and the record and the store agree.
        """
        until = time.monotonic() + seconds
        while (status := self.status(run_id))["run"]["status"] in ("PENDING", "RUNNING", "WAITING"):
            assert time.monotonic() < until, f"{status}\n{self.queue()}"
            time.sleep(0.5)
        until = time.monotonic() + 30
        while self.jobs(run_id):
            assert time.monotonic() < until, self.queue()
            time.sleep(0.3)
        (row,) = [
            entry
            for entry in json.loads(self.reflow("runs", "--json"))
            if entry["run_id"] == run_id
        ]
        assert row["status"] == status["run"]["status"]
        return status


def toml(value: object) -> str:
    """Write a setting as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value)


@pytest.fixture
def scheduler() -> Scheduler:
    """The default scheduler of a test."""
    return SCHEDULERS["slurm"]


@pytest.fixture
def site(request: pytest.FixtureRequest, scheduler: Scheduler) -> Iterator[Site]:
    scheduler.need()
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    folder = BASE / f"{name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if USER:
        entry = pwd.getpwnam(USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    new_site = Site(folder, scheduler)
    yield new_site
    for run in folder.glob("*/.reflow/*"):
        new_site.cancel(*(job for role in "wsgd" for job in new_site.ids(run.name, role)))
    if not request.session.testsfailed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(scheduler: Scheduler) -> Callable[[str, str], None]:
    """Stop and start the cluster's daemons; only for root."""
    assert os.getuid() == 0, "only root can stop a daemon"

    def act(what: str, program: str) -> None:
        command = [str(CLUSTERS / f"{scheduler.name}.sh"), what, program]
        subprocess.run(command, check=True, capture_output=True)

    return act
