"""This machine as an executor: jobs are detached processes.

A run's job is the driver, which runs elements in processes of its own pool; it goes
on when whoever submitted it has left, and has no time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Mapping
from typing import ClassVar

from attrs import field, frozen, validators

from ..errors import SubmissionRefusedError
from ..storage.permissions import let_read
from ..storage.process_id import is_alive, this_process
from .base import ENDED, LIVE, Capabilities, Executor, JobRequest, JobStatus


@frozen(kw_only=True)
class LocalExecutor(Executor):
    """Runs jobs on this machine.

    `max_workers` is the number of elements that run at the same time; None: as many
    as there are processors to this process.
    """

    name: ClassVar[str] = "local"

    max_workers: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata={
            "help": "Elements that run at the same time. Not given: one for each processor.",
            "example": 4,
        },
    )

    @property
    def capabilities(self) -> Capabilities:
        """Elements run inside the one job of a run."""
        return Capabilities(inline=True)

    @property
    def workers(self) -> int:
        """The number of elements that run at the same time."""
        if self.max_workers is not None:
            return self.max_workers
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def submit(self, request: JobRequest) -> str:
        """Start a job in a session of its own; its id names the process for ever."""
        if request.size != 1:
            raise SubmissionRefusedError("the local executor runs no job arrays")
        log = request.log.replace("{position}", "0")
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "ab") as output:
            let_read(output.fileno(), log)
            try:
                process = subprocess.Popen(
                    [request.script],
                    cwd=request.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise SubmissionRefusedError(
                    f"cannot start {request.script}: {error.strerror}"
                ) from error
        _reap_later(process)
        return this_process(process.pid)

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Look at the processes. A job of another machine is unknown."""
        found = {}
        for job in jobs:
            living = is_alive(job)
            if living is not None:
                found[job] = JobStatus(state=LIVE if living else ENDED, running=living)
        return found

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Processes carry no tags: nothing is found."""
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        """Kill the jobs' processes, with all that they started."""
        for job in jobs:
            if is_alive(job):
                try:
                    os.killpg(int(job.rsplit("/", 2)[1]), signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue


_started: list[subprocess.Popen[bytes]] = []


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Keep the handle, so that an ended child leaves no zombie and no warning."""
    _started[:] = [one for one in _started if one.poll() is None]
    _started.append(process)
