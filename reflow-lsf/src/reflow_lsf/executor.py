"""The executor for IBM Spectrum LSF and OpenLava."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar, TypeVar

from attrs import evolve, frozen

from reflow.errors import SchedulerUnreachableError, SubmissionLimitError
from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command, user_name
from reflow.executors.options import name_pattern
from reflow.executors.parsing import site_file, warn_of_unknown
from reflow.executors.settings import largest_array, setting
from reflow.states import ERROR

from . import parse
from .parse import Seen
from .render import OWN, UNITS, Defaults, arguments, elements, job_name

CHUNK = 500
"""Ids in one call: what a command line and mbatchd take with ease."""

DROPS = 3
"""How often a job is submitted again without dependencies that LSF has forgotten."""

DIALECTS = JSON, TABLE, OPENLAVA = "json", "table", "openlava"

_HARMLESS = re.compile(
    r"already finished|No matching job found|Operation is in progress|permission denied"
)
"""What bkill says of jobs that are gone, or that are another's by now."""

Self = TypeVar("Self", bound="LSFExecutor")


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
    bjobs: str = command("bjobs", "tells of jobs")
    bkill: str = command("bkill", "cancels jobs")
    bhist: str = command("bhist", "tells of jobs that bjobs has forgotten", needed=False)
    bparams: str = command("bparams", "tells how large arrays may be", needed=False)
    max_array_size: int | None = largest_array("Most elements of one job. Not given: the site's.")
    memory_unit: str | None = setting(
        None, "The site's LSF_UNIT_FOR_LIMITS. Not given: that of its lsf.conf.", ("", *UNITS)
    )
    dialect: str | None = setting(
        None, "How bjobs is asked. Not given: as it turns out to understand.", DIALECTS
    )

    # Of a job we may be in, and what else the commands read that would change what they do or
    # print (BSUB_QUIET prints no id, LSB_BJOBS_FORMAT other columns).
    scrubbed: ClassVar[tuple[str, ...]] = (
        "REFLOW_JOB_", "LSB_", "LS_", "BSUB_", "LSF_EAUTH_", "LSF_UNIT_FOR_LIMITS",
    )  # fmt: skip
    kept: ClassVar[tuple[str, ...]] = (
        "LSB_DEFAULTPROJECT", "LSB_DEFAULTQUEUE", "LSB_DEFAULT_USERGROUP",
    )  # fmt: skip
    # Without it, clients of a daemon that is down, and of a user with too many jobs, wait for ever.
    fixed: ClassVar[Mapping[str, str]] = {"LSB_NTRIES": "1"}

    can: ClassVar[Capabilities] = Capabilities(
        max_array_size=1000,  # LSF's own default
        array_variable="LSB_JOBINDEX",
        job_variable=OWN,
        first_index=1,
        max_dependencies=100,
        throttle=True,
        elementwise=True,
        begin=True,
    )

    def located(self: Self) -> Self:
        """Return the executor as a later process can use it: paths, and what LSF this is."""
        found = super().located()
        if found.memory_unit is None:
            text = site_file(f"{os.environ.get('LSF_ENVDIR', '/etc')}/lsf.conf")
            found = evolve(found, memory_unit=parse.limits_unit(text))
        found = found.learned(
            [found.bparams, "-l"], max_array_size=lambda done: parse.array_size(done.out)
        )
        return evolve(found, dialect=found.dialect or found._dialect())

    def _dialect(self) -> str | None:
        """Return how this LSF is spoken to, by its version and by what bjobs takes."""
        version = self.attempt([self.bsub, "-V"])
        if version is not None and "openlava" in f"{version.out}{version.err}".lower():
            return OPENLAVA
        # Fix pack 2 of 10.1 brought -json. Options are read before any daemon is asked.
        asked = self.attempt([self.bjobs, "-o", "jobid", "-json"]) if version else None
        if asked is None:
            return None
        return TABLE if re.search(r"[Ii]llegal option|invalid option|[Uu]sage", asked.err) else JSON

    limits: ClassVar[re.Pattern[str] | None] = parse.LIMIT
    forbidden: ClassVar[re.Pattern[str] | None] = parse.FORBIDDEN
    silent: ClassVar[re.Pattern[str] | None] = parse.UNREACHABLE

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of bsub."""
        defaults = Defaults(
            queue=self.queue, account=self.account, options=self.options,
            unit=self.memory_unit or "", openlava=self.dialect == OPENLAVA,
        )  # fmt: skip
        return [self.bsub, *arguments(request, defaults, time.time())]

    def submit(self, request: JobRequest) -> str:
        """Submit a job by bsub; without dependencies on what LSF has forgotten, which has ended."""
        self.keep_within_limit(request)
        wanted = evolve(request, resources=self.asked(request))
        for _ in range(DROPS + 1):
            try:
                done = self.call(self.arguments(wanted))
            except SchedulerUnreachableError as error:
                if parse.LIMIT.search(str(error)):  # it was waiting for room
                    raise SubmissionLimitError(str(error)) from error
                raise
            waits = {*wanted.after, wanted.after_each} - {""}
            gone = parse.unknown_dependency(done.err) if done.code else ""
            if gone not in waits:
                break
            # bsub names the first that it does not know: ask for all before the next try.
            wanted = wanted.behind({one.job for one in self._list(waits - {gone}, "-a")})
        return self.taken(request, done)

    def read_job_id(self, done: Completed) -> str:
        """Return the id that bsub printed."""
        return parse.job_id(done.out)

    def queued(self) -> int:
        """Return how many jobs of this user bjobs lists."""
        return len(self._list((), all_jobs=True))

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask bjobs for all, for how the failed ended, and bhist for what it has forgotten."""
        # OpenLava's -p adds the reasons of what waits; IBM's would leave out all else.
        seen = self._list(jobs, "-a", *(("-p",) if self.dialect == OPENLAVA else ()))
        if self.dialect != JSON:  # there, the exit code and the reason are told already
            failed = elements(one for one in seen if one.status.cause == ERROR)
            seen += self._history(self.bjobs, failed)
        latest = {(one.job, one.index): one for one in seen}.values()
        # bhist alone tells who has killed a job, and what bjobs has forgotten.
        killed = elements(one for one in latest if one.status.cause == ERROR and one.status.signal)
        known = {one.job for one in latest}
        gone = [job for job in jobs if job not in known]
        seen += self._history(self.bhist, [*killed, *gone])
        merged = parse.merge(seen, user_name())
        found = {job: merged[job] for job in jobs if job in merged}
        warn_of_unknown(found, parse.LIVE_STATES)
        return found

    def _history(self, program: str, wanted: Collection[str]) -> list[Seen]:
        """Return how jobs have ended, where that is told."""
        seen: list[Seen] = []
        for chunk in chunks(wanted, CHUNK):
            done = self.attempt([program, "-l", *chunk])
            if done is None:
                break
            seen.extend(parse.history(done.out))
        return seen

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names among all that bjobs knows, in one call."""
        names = {job_name(tag): tag for tag in tags}
        if not names:
            return {}
        # bjobs takes one name.
        seen = self._list((), "-a", "-J", name_pattern(names), all_jobs=True)
        return {names[name]: job for name, job in parse.named(seen, names).items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by bkill what bjobs has alive: what waits as whole arrays, then what runs by name.

        Of a whole array mbatchd ends what waits quickly, and what runs one by one, with seconds
        between; for elements that are named, bkill asks one after the other at once.
        """
        living = [one for one in self._list(jobs) if one.status.state == LIVE]
        running = [one for one in living if one.status.running]
        waiting = {one.job for one in living if not one.status.running}
        for chunk in [*chunks(waiting, CHUNK), *chunks(elements(running), CHUNK)]:
            self.settle([self.bkill, *chunk], _HARMLESS)

    def _list(self, jobs: Iterable[str], *options: str, all_jobs: bool = False) -> list[Seen]:
        """Return what bjobs says of these jobs, or of all of this user."""
        form = ("-o", parse.FIELDS, "-json") if self.dialect == JSON else ("-w", "-noheader")
        read = parse.records if self.dialect == JSON else parse.table
        seen: list[Seen] = []
        for chunk in [[]] if all_jobs else chunks(jobs, CHUNK):
            done = self.call([self.bjobs, *options, *form, *chunk], asks=True)
            # Of several ids, those that are known are printed all the same.
            if done.code != 0 and not done.says_only(parse.NOTHING):
                raise SchedulerUnreachableError(f"bjobs: {done.told}")
            seen.extend(read(done.out))
        return seen
