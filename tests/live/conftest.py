"""Live tests: workflows on a real scheduler, submitted by an ordinary user.

They run where REFLOW_LIVE_SLURM=1 says that a Slurm is there (``make live`` boots one);
what is missing then is a failure. As root they submit as REFLOW_LIVE_USER, with the Python
REFLOW_LIVE_PYTHON, in which reflow is installed and which that user can run.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WANTED = os.environ.get("REFLOW_LIVE_SLURM") == "1"
PYTHON = os.environ.get("REFLOW_LIVE_PYTHON", sys.executable)
USER = os.environ.get("REFLOW_LIVE_USER", "reflow") if os.getuid() == 0 else ""
BASE = Path(os.environ.get("REFLOW_LIVE_BASE", "/var/tmp/reflow-live/tests"))
CLUSTER = Path(__file__).parents[2] / "tools" / "clusters" / "slurm.sh"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)
            if not WANTED:
                item.add_marker(pytest.mark.skip(reason="no live Slurm: try make live"))


class Site:
    """A folder of the user's, and what a person does there at a prompt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "LANG": "C.UTF-8",
        }
        if "SLURM_CONF" in os.environ:
            self.environment["SLURM_CONF"] = os.environ["SLURM_CONF"]

    def argv(self, *command: str) -> list[str]:
        """Return a command as the ordinary user runs it."""
        return ["runuser", "-u", USER, "--", *command] if USER else list(command)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*command),
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
            raise AssertionError(f"{command} did not end: {out}\n{self.run('squeue')}") from None
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
        found: dict[str, Any] = json.loads(self.reflow("status", run_id, "--json"))
        return found

    def jobs(self, run_id: str) -> list[str]:
        """Return the names of the jobs of a run that are in the queue."""
        names = self.run("squeue", "--noheader", "--format=%j").split()
        return [name for name in names if name.startswith(f"{run_id}.")]

    def ids(self, run_id: str, role: str) -> list[str]:
        """Return the ids of the run's jobs in the queue: w(orker), s(entinel), g(uard)."""
        lines = self.run("squeue", "--noheader", "--format=%i %j").splitlines()
        return [
            job
            for job, name in (line.split(None, 1) for line in lines)
            if name.startswith(f"{run_id}.") and name.strip().endswith(f".{role}")
        ]

    def ended(self, run_id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a run has ended by itself, with nobody waiting for it; return its status.

        Then no job of it is left, and the record and the store agree.
        """
        until = time.monotonic() + seconds
        while (found := self.status(run_id))["run"]["status"] in ("PENDING", "RUNNING", "WAITING"):
            assert time.monotonic() < until, f"{found}\n{self.run('squeue')}"
            time.sleep(0.5)
        until = time.monotonic() + 30
        while self.jobs(run_id):
            assert time.monotonic() < until, self.run("squeue")
            time.sleep(0.3)
        (row,) = [
            one
            for one in json.loads(self.reflow("runs", "--json"))
            if one["run_id"] == run_id
        ]
        assert row["status"] == found["run"]["status"]
        return found


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    folder = BASE / f"{name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if USER:
        entry = pwd.getpwnam(USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    made = Site(folder)
    yield made
    leftover = {name.rsplit(".", 3)[0] for name in made.run("squeue", "-h", "-o", "%j").split()}
    for run in folder.glob("*/.reflow/*"):
        if run.name in leftover:
            made.run("scancel", *made.ids(run.name, "w"), *made.ids(run.name, "s"),
                     *made.ids(run.name, "g"), *made.ids(run.name, "d"), code=None)  # fmt: skip
    if not request.session.testsfailed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster() -> Callable[[str, str], None]:
    """Stop and start the cluster's daemons; only for root."""
    assert os.getuid() == 0, "only root can stop a daemon"

    def act(what: str, program: str) -> None:
        subprocess.run([str(CLUSTER), what, program], check=True, capture_output=True)

    return act
