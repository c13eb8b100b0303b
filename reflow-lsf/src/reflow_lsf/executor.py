"""The executor for IBM Spectrum LSF and OpenLava."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

from attrs import evolve, frozen

from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command, user_name
from reflow.executors.options import name_pattern
from reflow.executors.parsing import Report, ids_by_name, site_file, warn_of_unknown
from reflow.executors.settings import largest_array, setting
from reflow.states import ERROR

from . import parse
from .render import OWN, UNITS, arguments, elements, job_name

CHUNK = 500
"""Ids in one call: what a command line and mbatchd take with ease."""

DIALECTS = JSON, TABLE, OPENLAVA = "json", "table", "openlava"


@frozen(kw_only=True)
class LSFExecutor(CommandExecutor):
    """Runs jobs on LSF.

    `bsub`, `bjobs`, `bkill`, `bhist`, `bparams` are the commands to use: a name on PATH or
    a path. `max_array_size` is the most elements of one job, the site's
    ``MAX_JOB_ARRAY_SIZE``; larger arrays are split. `memory_unit` is the site's
    ``LSF_UNIT_FOR_LIMITS``: "KB", "MB", "GB", "TB", or "" where it has none. `dialect` is
    "json" where bjobs has ``-json``, else "table", or "openlava" for that. Of these three, what
    is not set is found out by a submission.
    """

    name: ClassVar[str] = "lsf"

    bsub: str = command("bsub", "submits jobs")
    bjobs: str = command("bjobs", "reports jobs")
    bkill: str = command("bkill", "cancels jobs")
    bhist: str = command("bhist", "reports jobs that bjobs has forgotten", needed=False)
    bparams: str = command("bparams", "shows how large arrays may be", needed=False)
    max_array_size: int | None = largest_array("Most elements of one job. Not given: the site's.")
    memory_unit: str | None = setting(
        None, "The site's LSF_UNIT_FOR_LIMITS. Not given: that of its lsf.conf.", ("", *UNITS)
    )
    dialect: str | None = setting(
        None, "How bjobs is asked. Not given: as it turns out to understand.", DIALECTS
    )

    # Of a job we may be in, and what else the commands read that would change what they do or
    # print (BSUB_QUIET prints no id, LSB_BJOBS_FORMAT other columns: lsf.conf, seen).
    scrubbed = ("REFLOW_JOB_", "LSB_", "LS_", "BSUB_", "LSF_EAUTH_", "LSF_UNIT_FOR_LIMITS")
    kept = ("LSB_DEFAULTPROJECT", "LSB_DEFAULTQUEUE", "LSB_DEFAULT_USERGROUP")
    # Without it, clients of a daemon that is down, and of a user with too many jobs, wait for ever
    # (lsf.conf, LSB_NTRIES; seen).
    fixed: ClassVar = {"LSB_NTRIES": "1"}

    can = Capabilities(
        max_array_size=1000,  # lsb.params, MAX_JOB_ARRAY_SIZE
        array_variable="LSB_JOBINDEX", job_variable=OWN, first_index=1,
        max_dependencies=100, throttle=True, elementwise=True, begin=True,
    )  # fmt: skip
    printed_id, limits, waiting = parse.JOB_ID, parse.LIMIT, parse.LIMIT
    forbidden, silent = parse.FORBIDDEN, parse.UNREACHABLE

    @property
    def openlava(self) -> bool:
        """Whether this is OpenLava, whose bsub is an older one's."""
        return self.dialect == OPENLAVA

    def located(self) -> LSFExecutor:
        """Return the executor as a later process can use it: paths, and what LSF this is."""
        executor = super().located()
        if executor.memory_unit is None:
            text = site_file(f"{os.environ.get('LSF_ENVDIR', '/etc')}/lsf.conf")
            executor = evolve(executor, memory_unit=parse.limits_unit(text))
        executor = executor.learned(
            [executor.bparams, "-l"], max_array_size=lambda done: parse.array_size(done.out)
        )
        return evolve(executor, dialect=executor.dialect or executor._dialect())

    def _dialect(self) -> str | None:
        """Return how this LSF is spoken to, by its version and by what bjobs takes."""
        version = self.attempt([self.bsub, "-V"])
        if version is not None and "openlava" in f"{version.out}{version.err}".lower():
            return OPENLAVA
        # Options are read before any daemon is asked.
        json = self.attempt([self.bjobs, "-o", "jobid", "-json"]) if version else None
        if json is None:
            return None
        return TABLE if parse.NO_SUCH_OPTION.search(json.err) else JSON

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of bsub."""
        return [self.bsub, *arguments(request, self, time.time())]

    def without_forgotten(self, request: JobRequest, done: Completed) -> JobRequest | None:
        """Return a request that bsub refused since it has forgotten a job, which has ended."""
        waits = {*request.after, request.after_each} - {""}
        forgotten = parse.unknown_dependency(done.err)
        if forgotten not in waits:
            return None
        # bsub names the first that it does not know: ask for all before the next try.
        return request.behind({report.job for report in self._list(waits - {forgotten}, "-a")})

    def queued(self) -> int:
        """Return how many jobs of this user bjobs lists."""
        return len(self._list((), all_jobs=True))

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask bjobs for all, for how the failed ended, and bhist for what it has forgotten."""
        # OpenLava's -p adds the reasons of what waits; IBM's would leave out all else.
        reports = self._list(jobs, "-a", *(("-p",) if self.openlava else ()))
        if self.dialect != JSON:  # there, the exit code and the reason are told already
            reports += self._history(self.bjobs, elements(filter(_failed, reports)))
        latest = {(report.job, report.positions): report for report in reports}.values()
        # bhist alone tells who has killed a job, and what bjobs has forgotten.
        killed = [report for report in latest if _failed(report) and report.status.signal]
        listed = {report.job for report in latest}
        gone = [job for job in jobs if job not in listed]
        reports += self._history(self.bhist, [*elements(killed), *gone])
        merged = parse.merge(reports, user_name())
        statuses = {job: merged[job] for job in jobs if job in merged}
        warn_of_unknown(statuses, parse.LIVE_STATES)
        return statuses

    def _history(self, program: str, jobs: Collection[str]) -> list[Report]:
        """Return how jobs have ended, where that is told."""
        reports: list[Report] = []
        for chunk in chunks(jobs, CHUNK):
            done = self.attempt([program, "-l", *chunk])
            if done is None:
                break
            reports += parse.history(done.out)
        return reports

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names among all that bjobs knows, in one call."""
        names = {job_name(tag): tag for tag in tags}
        # bjobs takes one name.
        pattern = ("-J", name_pattern(names)) if names else ()
        reports = self._list((), "-a", *pattern, all_jobs=True) if names else []
        return {names[name]: job for name, job in ids_by_name(reports, names).items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by bkill what bjobs has alive: what waits as whole arrays, then what runs by name.

        Of a whole array mbatchd ends what waits quickly, and what runs one by one, with seconds
        between; for elements that are named, bkill asks one after the other at once (seen).
        """
        living = [report for report in self._list(jobs) if report.status.state == LIVE]
        running = [report for report in living if report.status.running]
        waiting = {report.job for report in living if not report.status.running}
        for chunk in [*chunks(waiting, CHUNK), *chunks(elements(running), CHUNK)]:
            self.settle([self.bkill, *chunk], parse.HARMLESS)

    def _list(self, jobs: Iterable[str], *filters: str, all_jobs: bool = False) -> list[Report]:
        """Return what bjobs says of these jobs, or of all of this user."""
        form = ("-o", parse.FIELDS, "-json") if self.dialect == JSON else ("-w", "-noheader")
        read = parse.records if self.dialect == JSON else parse.table
        reports: list[Report] = []
        for chunk in [[]] if all_jobs else chunks(jobs, CHUNK):
            # Of several ids, those that are known are printed all the same (seen).
            reports += read(self.answer([self.bjobs, *filters, *form, *chunk], parse.NOTHING))
        return reports


def _failed(report: Report) -> bool:
    return report.status.cause == ERROR
