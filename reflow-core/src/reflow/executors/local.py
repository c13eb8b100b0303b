"""This machine as an executor: jobs are detached processes.

The only job of a run is its driver, which runs the elements in a pool of processes. It goes on
when the process that submitted it has ended, and has no time limit.
"""

from __future__ import annotations

import contextlib
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

    `max_workers` is the number of elements that run at the same time; None: as many as this
    process may use processors.
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
        """What this machine can do: elements run inside the only job of a run."""
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
        """Start a job in a session of its own; its id names this process and no later one."""
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
        """Look at the processes; a job of another machine is unknown."""
        alive = {job: is_alive(job) for job in jobs}
        return {
            job: JobStatus(state=LIVE if living else ENDED, running=living)
            for job, living in alive.items()
            if living is not None
        }

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Return nothing: processes carry no tags."""
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        """Kill the jobs' processes, with all that they started."""
        for job in filter(is_alive, jobs):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(job.rsplit("/", 2)[1]), signal.SIGKILL)


_started: list[subprocess.Popen[bytes]] = []


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Keep the handle of a process, so that its end leaves no zombie and no warning."""
    _started[:] = [earlier for earlier in _started if earlier.poll() is None]
    _started.append(process)
