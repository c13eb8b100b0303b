"""A small scheduler of its own, and its executor, which calls no commands.

A job is a folder below ``jobs``; its own process waits for the jobs that it depends on, runs
it and notes how its positions ended. Positions count from 1. A file ``down`` in the
spool stops all answers, ``full`` all submissions.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from attrs import asdict, frozen

from reflow.errors import (
    SchedulerUnreachableError,
    SubmissionLimitError,
    SubmissionRefusedError,
)
from reflow.executors.base import ENDED, LIVE, Capabilities, Executor, JobRequest, JobStatus
from reflow.states import CANCELLED, ERROR, TIMEOUT


@frozen(kw_only=True)
class SpoolExecutor(Executor):
    """Runs jobs on this machine, from the folder `spool`."""

    name: ClassVar[str] = "spool"
    spool: str = "/nonexistent"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            array_variable="SPOOL_POSITION", job_variable="SPOOL_JOB", first_index=1,
            max_array_size=200, throttle=True, elementwise=True, begin=True,
        )  # fmt: skip

    def _folder(self, job: str) -> Path:
        return Path(self.spool) / "jobs" / job

    def _answers(self) -> None:
        if (Path(self.spool) / "down").exists():
            raise SchedulerUnreachableError("the spool is down")

    def submit(self, request: JobRequest) -> str:
        self._answers()
        if request.resources.queue not in (None, "all"):
            raise SubmissionRefusedError(f"there is no queue {request.resources.queue!r}")
        if request.size > (self.capabilities.max_array_size or 0):
            raise SubmissionRefusedError(f"{request.size} positions are too many")
        if (Path(self.spool) / "full").exists():
            raise SubmissionLimitError("the spool is full")
        number = 1 + len(list(Path(self.spool).glob("lost-*")))
        while True:
            with contextlib.suppress(FileExistsError):
                self._folder(str(number)).mkdir(parents=True)
                break
            number += 1
        job = self._folder(str(number))
        # Atomic, as a search for a tag may read all requests at this moment.
        (job / "new").write_text(json.dumps(self.described(request)))
        (job / "new").rename(job / "request")
        self.start(job)
        return job.name

    def described(self, request: JobRequest) -> dict[str, Any]:
        """Return what the job's process needs to know."""
        return {**asdict(request), "submitted": time.time()}

    def start(self, job: Path) -> None:
        subprocess.Popen(
            [sys.executable, "-S", "-c", f"{RUN}\nrun({str(job)!r})"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(job / "errors").open("w"), start_new_session=True, cwd="/",
            env=self.variables(),
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SPOOL_", "REFLOW_JOB_"))
        }

    def status(self, job: str) -> JobStatus | None:
        """Return what the files of one job say."""
        folder = self._folder(job)
        if not (folder / "request").exists():
            return None
        size = json.loads((folder / "request").read_text())["size"]
        over = (folder / "ended").exists()
        places = {}
        for place in range(size):
            running = (folder / f"running-{place}").exists()
            places[place] = JobStatus(state=ENDED if over else LIVE, running=running and not over)
            with contextlib.suppress(FileNotFoundError):
                code, number, cause = (folder / f"over-{place}").read_text().split(",")
                places[place] = JobStatus(
                    state=ENDED, cause=cause, exit_code=int(code), signal=int(number) or None
                )
        causes = [position for position in places.values() if position.cause]
        living = [position for position in places.values() if position.running]
        whole = next(iter(living or causes or places.values()))
        return JobStatus(
            state=ENDED if over else LIVE, running=bool(living) and not over,
            cause="" if not over else whole.cause, exit_code=whole.exit_code,
            signal=whole.signal, positions=places if size > 1 else {},
        )  # fmt: skip

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        if jobs:
            self._answers()
        statuses = {job: self.status(job) for job in jobs}
        return {job: status for job, status in statuses.items() if status is not None}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        if tags:
            self._answers()
        jobs = {}
        for path in (Path(self.spool) / "jobs").glob("*/request"):
            tag = json.loads(path.read_text())["tag"]
            if tag in tags:
                jobs[tag] = path.parent.name
        return jobs

    def cancel(self, jobs: Collection[str]) -> None:
        if jobs:
            self._answers()
        for job in jobs:
            if self._folder(job).exists():
                (self._folder(job) / "cancelled").touch()

    def forget(self, job: str) -> None:
        """Lose a job without a trace."""
        self._folder(job).rename(f"{self.spool}/lost-{job}")


def run(folder: str) -> None:
    """Run one job, as its process; only the standard library is at hand."""
    with open(f"{folder}/request") as file:
        request = json.load(file)
    jobs, name = os.path.split(folder)

    def over(job: str, place: int | None = None) -> bool:
        there = f"{jobs}/{job}"
        if not os.path.exists(there) or os.path.exists(f"{there}/ended"):
            return True
        return place is not None and os.path.exists(f"{there}/over-{place}")

    def ready(place: int) -> bool:
        if time.time() < request["submitted"] + request["begin"]:
            return False
        each = request["after_each"]
        return all(map(over, request["after"])) and (not each or over(each, place))

    def note(place: int, code: int, number: int, cause: str) -> None:
        with open(f"{folder}/new-{place}", "w") as file:
            file.write(f"{code},{number},{cause}")
        os.rename(f"{folder}/new-{place}", f"{folder}/over-{place}")

    waiting, running = list(range(request["size"])), {}
    most, limit = request["throttle"] or request["size"], request["resources"]["time"]
    while waiting or running:
        if not os.path.exists(folder):
            break
        if os.path.exists(f"{folder}/cancelled"):
            for place in waiting:
                note(place, 0, 0, CANCELLED)
            waiting.clear()
        for place in [index for index in waiting if ready(index)]:
            if len(running) >= most:
                break
            waiting.remove(place)
            open(f"{folder}/running-{place}", "w").close()
            variables = {"SPOOL_JOB": f"{name}-{place}"}
            if request["size"] > 1:
                variables["SPOOL_POSITION"] = str(place + 1)
            number = place + 1 if request["size"] > 1 else 0
            path = request["log"].replace("{position}", str(number))
            with open(path, request.get("mode", "ab")) as log:
                try:
                    running[place] = (time.time(), subprocess.Popen(
                        [request["script"]], cwd=request["directory"], stdin=subprocess.DEVNULL,
                        stdout=log, stderr=log, env={**os.environ, **variables},
                        start_new_session=True,
                    ))  # fmt: skip
                except OSError:
                    note(place, 127, 0, ERROR)
        for place, (begun, process) in list(running.items()):
            code, cause = process.poll(), ""
            if code is None and os.path.exists(f"{folder}/cancelled"):
                cause = CANCELLED
            elif code is None and limit and time.time() > begun + limit:
                cause = TIMEOUT
            elif code is None:
                continue
            if cause:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            note(place, max(code, 0), max(-code, 0), cause or (ERROR if code else ""))
            del running[place]
        time.sleep(0.02)
    for _, process in running.values():
        os.killpg(process.pid, signal.SIGKILL)
    if os.path.exists(folder):
        open(f"{folder}/ended", "w").close()


RUN = f"""
import json, os, signal, subprocess, time
CANCELLED, TIMEOUT, ERROR = {CANCELLED!r}, {TIMEOUT!r}, {ERROR!r}
{inspect.getsource(run)}"""


def stop(spool: Path) -> None:
    """Remove the spool: the processes of its jobs end when they notice."""
    shutil.rmtree(spool, ignore_errors=True)
    shutil.rmtree(spool, ignore_errors=True)  # files that were written in between
