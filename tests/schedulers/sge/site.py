"""A Grid Engine to check facts on: the simulated one, or the real one of this machine."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..gate import Gate

CLUSTER = Path(__file__).parents[3] / "tools" / "clusters" / "sge.sh"
# Does what Debian's wrappers of the commands do, in a tenth of their time.
PROGRAMS = "/usr/lib/gridengine"
CELL = {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}


class Site(Gate):
    """Commands of a Grid Engine, and a folder that its jobs can write."""

    def __init__(self, folder: Path, simulator: Any = None) -> None:
        self.folder, self.simulator, self.live = folder, simulator, simulator is None
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self._prefix: list[str] = []
        self._path = os.environ["PATH"]
        self._cell: dict[str, str] = {}
        if self.live:
            self._path = f"{PROGRAMS}{os.pathsep}{self._path}"
            self._cell = CELL
            if os.getuid() == 0:
                self.user = os.environ.get("REFLOW_LIVE_USER", "reflow")
                shutil.chown(folder, self.user)
                self._prefix = ["runuser", "-u", self.user, "--"]
        else:
            self._path = f"{simulator.path}{os.pathsep}{self._path}"
        # Unlike the names of other tests that run at the same time.
        self.name = f"f{os.getpid()}-{time.monotonic_ns()}"
        self.submitted: list[str] = []

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> Any:
        """Run a command in the folder."""
        return subprocess.run(
            [*self._prefix, *arguments],
            cwd=self.folder,
            env={
                "PATH": self._path, "LC_ALL": "C", "HOME": str(self.folder), **self._cell,
                **variables,
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )  # fmt: skip

    def ask(self, *arguments: str, code: int = 0) -> list[str]:
        """Run a command that must end with this code and return the lines it prints."""
        done = self.run(*arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def submit(self, *arguments: str, script: str = "true", **how: str) -> str:
        """Submit a job under this test's own name and return its id."""
        done = self.run(
            "qsub", "-terse", "-cwd", "-j", "y", "-o", "/dev/null", "-S", "/bin/sh", "-N",
            self.name, *arguments, stdin=f"{script}\n", **how,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stderr)
        self.submitted.append(done.stdout.strip().split(".")[0])
        return self.submitted[-1]

    def until(self, condition: Callable[[], Any], seconds: float = 0) -> Any:
        """Wait until a condition holds and return its value; a real scheduler takes its time."""
        end = time.monotonic() + (seconds or 60)
        while not (result := condition()):
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.2 if self.live else 0.02)
        return result

    def rows(self, job: str, *more: str) -> list[dict[str, Any]]:
        """Return what ``qstat -r -xml`` shows of a job."""
        text = "\n".join(self.ask("qstat", "-u", self.user, "-r", "-xml", *more))
        entries = re.findall(r"<job_list state=\"(\w+)\">(.*?)</job_list>", text, re.DOTALL)
        rows = []
        for kind, entry in entries:
            fields = dict(re.findall(r"<(\w+)>([^<]*)</", entry))
            if fields["JB_job_number"] == job:
                rows.append({**fields, "kind": kind})
        return sorted(rows, key=lambda row: row.get("tasks", ""))

    def states(self, job: str) -> dict[str, str]:
        """Return the state of each row of a job, by its tasks."""
        return {row.get("tasks", ""): row["state"] for row in self.rows(job)}

    def running(self, job: str) -> int:
        return sum(state in ("r", "t") for state in self.states(job).values())

    def records(self, job: str) -> list[dict[str, str]]:
        """Return the records that qacct has of a job."""
        done = self.run("qacct", "-o", self.user, "-j", job)
        if done.returncode:
            assert done.stderr.strip() == f"error: job id {job} not found"
            return []
        records = re.split(r"^=+$", done.stdout, flags=re.MULTILINE)[1:]
        return [
            {
                name: value.strip()
                for name, _, value in (line.partition(" ") for line in record.splitlines())
            }
            for record in records
        ]

    def ended(self, job: str, count: int = 1) -> list[dict[str, str]]:
        """Wait until a job has at least `count` records."""
        return self.until(lambda: len(records := self.records(job)) >= count and records)

    def end(self, job: str) -> tuple[str, str]:
        """Wait for a job's record; return its code of failure and its exit status."""
        record = self.ended(job)[-1]
        return record["failed"].split(" ")[0], record["exit_status"].split(" ")[0]

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return name

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def limit(self, jobs: int) -> None:
        """Limit how many jobs a user may have in the queue; 0: no limit."""
        if self.live:
            subprocess.run([CLUSTER, "set", f"max_u_jobs={jobs}"], check=True, capture_output=True)
        else:
            self.simulator.inject("submit_limit", limit=jobs or None)

    def clean(self) -> None:
        if self.submitted:
            self.run("qdel", *self.submitted)
