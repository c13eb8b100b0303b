"""Jobs for the contract of executors: small scripts, what they leave, and waiting for it."""

from __future__ import annotations

import os
import shlex
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from ..executors.base import ENDED, LIVE, Executor, JobRequest, JobStatus

T = TypeVar("T")
Do = Callable[..., Any]
"""Calls a function with arguments where the executor may be used."""


@frozen
class Job:
    """A job that was submitted."""

    id: str
    request: JobRequest
    first_index: int = 0

    def log(self, position: int = 0) -> Path:
        """Return where its log is."""
        # The log of a position is named as the scheduler counts.
        number = position + self.first_index if self.request.size > 1 else 0
        return Path(self.request.log.replace("{position}", str(number)))


class Jobs:
    """The jobs of one case: submitted from a folder of its own, and cancelled at its end.

    The scripts find the folder in ``$here`` and their position, from 0 on, in ``$position``;
    ``await NAME`` waits until the case, or another job, has made that file there, and
    ``note NAME TEXT`` adds a line to it.
    """

    def __init__(self, folder: Path, executor: Executor, do: Do, patience: float) -> None:
        self.folder, self.executor, self.patience = folder, executor, patience
        self._do = do
        self._submitted: list[str] = []

    def request(self, body: str, *, folder: Path | None = None, **fields: Any) -> JobRequest:
        """Write a script and return what is asked for it; `fields` are those of `JobRequest`."""
        place = self.folder if folder is None else folder
        tag = str(fields.pop("tag", new_tag()))
        capabilities = self.executor.capabilities
        position = "0"
        if fields.get("size", 1) > 1:
            position = f"$(({capabilities.array_variable} - {capabilities.first_index}))"
        script = place / f"{tag}.sh"
        script.write_text(
            "#!/bin/sh\n"
            f"here={shlex.quote(str(self.folder))}\nposition={position}\n"
            'await() { until [ -e "$here/$1" ]; do lives; sleep 0.1; done; }\n'
            'note() { lives; echo "$2" >> "$here/$1"; }\n'
            # Also of a job that its scheduler has lost, nothing is left after its case.
            'lives() { [ -d "$here" ] && [ ! -e "$here/over" ] || exit 1; }\n'
            f"{body}\n"
        )
        script.chmod(0o755)
        return JobRequest(
            **{
                "tag": tag,
                "name": "contract.task",
                "script": str(script),
                "directory": str(place),
                "log": str(place / f"{tag}.{{position}}.log"),
                **fields,
            }
        )

    def submit(self, body: str, *, executor: Executor | None = None, **fields: Any) -> Job:
        """Write a script and submit it."""
        return self.hand_in(self.request(body, **fields), executor)

    def hand_in(
        self,
        request: JobRequest,
        executor: Executor | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Job:
        """Submit what is asked for, in an environment that has these variables too."""
        submit = (executor or self.executor).submit
        job = self._do(in_environment, variables or {}, submit, request)
        assert isinstance(job, str), f"submit returned {job!r}, which is not a text"
        self.adopt(job)
        return Job(job, request, self.executor.capabilities.first_index)

    def adopt(self, job: str) -> None:
        """Have a job cancelled at the end, too."""
        self._submitted.append(job)

    def poll(self, *jobs: Job | str) -> Mapping[str, JobStatus]:
        """Ask the executor for jobs."""
        ids = [job if isinstance(job, str) else job.id for job in jobs]
        answer: Mapping[str, JobStatus] = self._do(self.executor.poll, ids)
        return answer

    def find(self, *tags: str) -> Mapping[str, str]:
        """Ask the executor for the jobs that carry these tags."""
        answer: Mapping[str, str] = self._do(self.executor.find, list(tags))
        return answer

    def cancel(self, *jobs: Job | str) -> None:
        """Have the executor cancel jobs."""
        self._do(
            self.executor.cancel, [job if isinstance(job, str) else job.id for job in jobs]
        )

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until something holds, and return it."""
        end, pause = time.monotonic() + self.patience, 0.05
        while not (result := condition()):
            assert time.monotonic() < end, f"within {self.patience:g} s there was no {what}"
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        return result

    def until_status(
        self, job: Job, accepted: Callable[[JobStatus], bool], what: str
    ) -> JobStatus:
        """Wait until the executor reports a status that is `accepted`, and return it."""
        last: list[JobStatus | None] = [None]

        def accepted_status() -> JobStatus | None:
            last[0] = self.poll(job).get(job.id)
            return last[0] if last[0] is not None and accepted(last[0]) else None

        try:
            status = self.until(accepted_status, f"status {what!r} of job {job.id}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the last was {last[0]}") from None
        assert status is not None
        return status

    def ended(self, job: Job) -> JobStatus:
        """Wait until the executor says that a job is over."""
        return self.until_status(job, lambda status: status.state == ENDED, "ended")

    def running(self, job: Job) -> JobStatus:
        """Wait until the executor says that a job runs."""
        return self.until_status(
            job, lambda status: status.state == LIVE and status.running, "running"
        )

    def pass_by(self) -> None:
        """Wait until a job submitted now has run: what was submitted before could have, too."""
        name = f"passed-{len(self._submitted)}"
        self.submit(f"note {name} x")
        self.until_lines(name)

    def gone(self, job: Job) -> None:
        """Wait until a job does not live any more, remembered or not."""

        def over() -> bool:
            status = self.poll(job).get(job.id)
            return status is None or status.state == ENDED

        self.until(over, f"end of job {job.id}")

    def make(self, *names: str) -> None:
        """Make files that jobs wait for."""
        for name in names:
            (self.folder / name).touch()

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file that jobs write, none where it is not there."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def until_lines(self, name: str, count: int = 1) -> list[str]:
        """Wait until jobs have written that many lines."""
        self.until(lambda: len(self.lines(name)) >= count, f"{count} lines in {name!r}")
        return self.lines(name)

    def until_logged(self, job: Job, line: str, position: int = 0) -> list[str]:
        """Wait until a job's log has a line, and return its lines."""
        log = job.log(position)

        def logged() -> list[str]:
            lines = log.read_text().splitlines() if log.exists() else []
            return lines if line in lines else []

        return self.until(logged, f"line {line!r} in log {log}")

    def clean(self) -> None:
        """Cancel whatever is left, and end what could not be cancelled."""
        try:
            if self._submitted:
                self._do(self.executor.cancel, self._submitted)
        finally:
            self.make("over")


def new_tag() -> str:
    """Return a tag as the engine makes them."""
    return f"contract-20260401-{uuid.uuid4().hex[:10]}.1.1.w"


def in_environment(
    variables: Mapping[str, str], function: Callable[..., T], *arguments: object
) -> T:
    """Call a function in an environment that has these variables too."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        return function(*arguments)
    finally:
        for name in variables:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def most_at_once(lines: Iterable[str]) -> int:
    """Return how many ran at once at most, where each wrote "+" at its start and "-" at its end.

    >>> most_at_once("++-+--")
    2
    """
    now = most = 0
    for line in lines:
        now += 1 if line == "+" else -1
        most = max(most, now)
    return most
