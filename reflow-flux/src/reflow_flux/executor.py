"""The executor for Flux."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from attrs import evolve, frozen

from reflow.errors import ExecutorError
from reflow.executors.base import Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command
from reflow.executors.options import job_name
from reflow.executors.parsing import Report, only_id, warn_of_unknown

from . import parse
from .render import arguments

CHUNK = 1000
"""Ids in one call that asks, elements of one array, and dependencies of one submission."""
CANCELLED_AT_ONCE = 200
"""Ids in one call of flux cancel: with a thousand it aborts, having done its work (seen)."""
TRIES = 3
"""Submissions of one job, each without the dependencies for which the last was refused."""

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class FluxExecutor(CommandExecutor):
    """Runs jobs on Flux.

    `flux` is the command to use: a name on PATH or a path. `account` is a bank. Flux has no
    arrays: an array is that many jobs, named for their positions, and its id is what these names
    begin with. It has no throttle and no option for memory either: `array_parallelism` and `mem`
    of a task have no effect.
    """

    name: ClassVar[str] = "flux"

    flux: str = command("flux", "submits, lists and cancels jobs")

    # Of a job we may be in, whose environment flux submit would hand on (seen). FLUX_URI stays.
    scrubbed = ("REFLOW_JOB_", "FLUX_JOB_", "FLUX_TASK_", "FLUX_KVS_NAMESPACE", "PMI_")
    # Ids in ASCII, whatever the locale (flux(1)).
    fixed: ClassVar = {"FLUX_F58_FORCE_ASCII": "1"}
    can = Capabilities(
        max_array_size=CHUNK, array_variable="FLUX_JOB_CC", job_variable="FLUX_JOB_ID",
        elementwise=True, begin=True,
    )  # fmt: skip
    limits, forbidden, silent = parse.LIMIT, parse.FORBIDDEN, parse.UNREACHABLE

    def arguments(self, request: JobRequest, each: Sequence[str] = ()) -> list[str]:
        """Return the command line that submits; `request.after` and `each` are single jobs."""
        return [self.flux, *arguments(request, self, each)]

    def read_job_id(self, done: Completed) -> str:
        """Return the id that flux submit printed."""
        return only_id("flux submit", done.out, parse.job_ids(done.out))

    def submit(self, request: JobRequest) -> str:
        """Submit a job, or in one call the jobs of an array, behind what it waits for."""
        self.keep_within_limit(request)
        request = evolve(request, resources=self.resources_of(request))
        after, each = self._awaited(request)
        done = self._behind(request, self._joined(request, after), each)
        ids = parse.job_ids(done.out)
        if request.size == 1 or not ids:
            return self.submitted_id(request, done)
        if len(ids) < request.size:
            # What was taken may run by now. No poll will find the others, so that they are
            # submitted again when these have ended.
            _log.warning("%d of %d jobs taken: %s", len(ids), request.size, done.message)
        try:
            # What is asked for by its id is waited for: then all later lists have it.
            first = min((report.submitted for report in self._jobs(ids)), default=0.0)
        except ExecutorError:
            first = 0.0
        return parse.array_id(job_name(request.tag), first or time.time() - 3600)

    def _behind(
        self, request: JobRequest, after: Collection[str], each: Sequence[str] = ()
    ) -> Completed:
        """Submit behind single jobs, of which Flux may have forgotten some: then without them."""
        for tries in range(1, TRIES + 1):
            done = self.call(self.arguments(evolve(request, after=tuple(after)), each))
            forgotten = parse.unknown(done.err)
            if done.code == 0 or parse.job_ids(done.out) or not forgotten or tries == TRIES:
                break
            # It names one of them: ask for all before the next try.
            waits = {*after, *each} - {""}
            forgotten |= waits - {report.job for report in self._jobs(waits)}
            after = [job for job in after if job not in forgotten]
            each = ["" if job in forgotten else job for job in each]
        return done

    def _awaited(self, request: JobRequest) -> tuple[list[str], list[str]]:
        """Return the single jobs that a job waits for, and those that its elements each do."""
        # Of arrays, what has ended need not be waited for.
        after = [job for job in request.after if not parse.array_name(job)]
        after += [element.job for element in self._elements(request.after)]
        twins = {element.positions: element.job for element in self._elements([request.after_each])}
        return after, [twins.get((at,), "") for at in range(request.size)] if twins else []

    def _joined(self, request: JobRequest, ids: list[str]) -> list[str]:
        """Return few jobs that end when all of these have: every element waits for each."""
        small = evolve(request.resources, cpus=1, gpus=0, nodes=1, time=60)
        join = evolve(
            request, tag=f"{request.tag}.join", size=1, begin=0.0, script="/bin/true",
            log="/dev/null", resources=small,
        )  # fmt: skip
        while len(ids) > max(1, CHUNK // request.size):
            parts = chunks(ids, CHUNK)
            ids = [self.submitted_id(join, self._behind(join, part)) for part in parts]
        return ids

    def _jobs(self, ids: Collection[str] = (), since: float | None = None) -> list[Report]:
        """Return what Flux lists of these jobs; of all that are queued, or have ended since."""
        show = [self.flux, "jobs", "--no-header", f"--format={parse.FORMAT}"]
        show += [] if ids else ["--count=0"]  # and not the first thousand
        show += [] if since is None else [f"--since={since:.0f}"]
        reports = []
        for chunk in chunks(ids, CHUNK) or [[]]:
            # Where all of them are unknown, that is an error.
            reports += parse.jobs(self.answer([*show, *chunk], parse.GONE, strict=False))
        return reports

    def _elements(self, jobs: Collection[str]) -> list[Report]:
        """Return what is in the queue of these arrays; single jobs are passed over."""
        names = {array[0] for job in jobs if (array := parse.array_name(job))}
        queue = self._jobs() if names else []
        return [report for report in queue if report.positions and report.name in names]

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask for single jobs by their ids, and for all arrays in one call."""
        arrays = {job: array[1] for job in jobs if (array := parse.array_name(job))}
        single = set(jobs) - arrays.keys()
        reports = self._jobs(single) if single else []
        reports += self._jobs(since=min(arrays.values())) if arrays else []
        statuses = parse.merge(reports, set(jobs))
        warn_of_unknown(statuses)
        return statuses

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names in the queue, and among what has ended in the last seven days."""
        names = {job_name(tag): tag for tag in tags}
        reports = self._jobs(since=time.time() - 7 * 86400) if tags else []
        reports.sort(key=lambda report: report.submitted, reverse=True)  # of an array, the first
        jobs = {}
        for report in (report for report in reports if report.name in names):
            array = parse.array_id(report.name, report.submitted)
            jobs[names[report.name]] = array if report.positions else report.job
        return jobs

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel single jobs, and what is in the queue of arrays; what is gone is no error."""
        ids = [job for job in jobs if not parse.array_name(job)]
        ids += [element.job for element in self._elements(jobs)]
        for chunk in chunks(ids, CANCELLED_AT_ONCE):
            self.settle([self.flux, "cancel", *chunk], parse.GONE)

    def queued(self) -> int:
        """Return how many jobs of this user are in the queue."""
        return len(self._jobs())
