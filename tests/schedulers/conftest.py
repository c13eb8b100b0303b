"""A site to check facts on: the simulator, or the real Slurm of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .gate import Gate

LIVE = os.environ.get("REFLOW_LIVE_SLURM") == "1"


class Site(Gate):
    """Commands of a Slurm, and a folder that its jobs can write."""

    def __init__(
        self, folder: Path, prefix: list[str], path: str, user: str, *, live: bool
    ) -> None:
        self.folder, self._prefix, self._path = folder, prefix, path
        self.user, self.uid, self.live = user, pwd.getpwnam(user).pw_uid, live
        self.name = f"facts-{os.getpid()}-{time.monotonic_ns()}"
        self.submitted: list[str] = []

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> Any:
        """Run a command in the folder."""
        return subprocess.run(
            [*self._prefix, *arguments],
            cwd=self.folder,
            env={"PATH": self._path, "LC_ALL": "C", "HOME": str(self.folder), **variables},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, *arguments: str) -> list[str]:
        """Run a command that must succeed and return its lines."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def submit(self, *arguments: str, wrap: str | None = "true", **options: str) -> str:
        """Submit a job under this test's own name and return its id."""
        more = [] if wrap is None else ["--wrap", wrap]
        done = self.run("sbatch", "--parsable", "-J", self.name, *arguments, *more, **options)
        assert done.returncode == 0, (arguments, done.stderr)
        assert done.stdout.strip().isdigit(), done.stdout
        self.submitted.append(done.stdout.strip())
        return self.submitted[-1]

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return name

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def until(self, condition: Callable[[], Any], seconds: float = 0) -> Any:
        """Wait until a condition holds and return its value; a real scheduler takes its time."""
        end = time.monotonic() + (seconds or 60)
        while not (result := condition()):
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.2 if self.live else 0.02)
        return result

    def queue(self, job: str, form: str, *more: str) -> list[str]:
        """Return what squeue shows of a job, ended or not."""
        done = self.run("squeue", "-h", "-t", "all", "-j", job, "-o", form, *more)
        return sorted(done.stdout.splitlines())

    def wait(self, job: str, *states: str) -> str:
        """Wait until all rows of a job are in one of these states; return the first row's."""
        return self.until(
            lambda: (
                (states_now := self.queue(job, "%T"))
                and set(states_now) <= set(states)
                and states_now[0]
            )
        )

    def accounted(self, job: str, form: str, *more: str) -> list[str]:
        return self.ask("sacct", "-n", "-P", "-j", job, f"--format={form}", *more)

    def clean(self) -> None:
        if self.submitted:
            self.run("scancel", *self.submitted)


def _live_site(folder: Path) -> Site:
    if shutil.which("sbatch") is None:
        pytest.fail("REFLOW_LIVE_SLURM=1, but there is no sbatch")
    user = os.environ.get("REFLOW_LIVE_USER") or pwd.getpwuid(os.getuid()).pw_name
    prefix = []
    if os.getuid() == 0:
        shutil.chown(folder, user)
        prefix = ["runuser", "-u", user, "--"]
    return Site(folder, prefix, os.environ["PATH"], user, live=True)


@pytest.fixture(
    params=[
        "simulator",
        *([pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])] if LIVE else []),
    ]
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    # Below /var/tmp, where another user may go.
    folder = Path(tempfile.mkdtemp(prefix="facts", dir="/var/tmp"))
    folder.chmod(0o755)
    if request.param == "live":
        new_site = _live_site(folder)
    else:
        # A requeued job stays in the queue for a minute, so that tests can look at it.
        simulator = request.getfixturevalue("slurm_simulators")(requeue_pause=3600.0)
        own = pwd.getpwuid(os.getuid()).pw_name
        path = f"{simulator.path}{os.pathsep}{os.environ['PATH']}"
        new_site = Site(folder, [], path, own, live=False)
    yield new_site
    new_site.clean()
    shutil.rmtree(folder, ignore_errors=True)
