"""The executor for PBS Professional and OpenPBS."""

from __future__ import annotations

import logging
import os
import pwd
import re
import time
from collections.abc import Collection, Mapping
from typing import ClassVar, TypeVar

from attrs import evolve, field, frozen, validators

from reflow.errors import ExecutorError, SchedulerUnreachableError, SubmissionRefusedError
from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command
from reflow.states import UNKNOWN

from . import parse
from .render import Defaults, arguments, job_name

MOST_ASKED = 40
"""Ids in one question. qstat connects once for each from one of the 512 reserved ports, which
rest for a minute; with none left, every client of the host stands still."""

CHUNK = 100
"""Ids in one deletion: the server takes up to 25 ms for each."""

SUBMISSIONS = 3
"""How often a job is submitted whose dependencies end in that moment."""

_log = logging.getLogger(__name__)
Self = TypeVar("Self", bound="PBSExecutor")


@frozen(kw_only=True)
class PBSExecutor(CommandExecutor):
    """Runs jobs on PBS Professional and OpenPBS.

    `qsub`, `qstat`, `qdel`, `qselect`, `qalter` are the commands to use: a name on PATH or a
    path. `max_array_size` is the most elements of one job, the server's or queue's
    `max_array_size`; larger arrays are split. `history` says whether the server keeps what it
    knows of finished jobs (`job_history_enable`). A submission asks the server for both where
    they are not set.
    """

    name: ClassVar[str] = "pbs"

    qsub: str = command("qsub", "submits jobs")
    qstat: str = command("qstat", "tells of jobs")
    qdel: str = command("qdel", "cancels jobs")
    qselect: str = command("qselect", "lists jobs of a user or a name")
    qalter: str = command("qalter", "frees jobs that wait for a deleted one", needed=False)
    max_array_size: int | None = field(
        default=None, validator=validators.optional(validators.ge(1))
    )
    history: bool | None = None

    # Of a job we may be in, and what changes which directives of a script qsub reads.
    scrubbed: ClassVar[tuple[str, ...]] = ("REFLOW_JOB_", "PBS_")
    kept: ClassVar[tuple[str, ...]] = (
        "PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_SERVER_HOST_NAME",
        "PBS_PRIMARY", "PBS_SECONDARY", "PBS_LEAF_NAME", "PBS_LEAF_ROUTERS", "PBS_AUTH_METHOD",
        "PBS_ENCRYPT_METHOD", "PBS_BATCH_SERVICE_PORT", "PBS_BATCH_SERVICE_PORT_DIS",
        "PBS_MANAGER_SERVICE_PORT", "PBS_OUTPUT_HOST_NAME", "PBS_TMPDIR",
    )  # fmt: skip

    @property
    def capabilities(self) -> Capabilities:
        """What PBS Professional and OpenPBS can do."""
        return Capabilities(
            max_array_size=self.array_limit(self.max_array_size or 10000),  # PBS's own default
            array_variable="PBS_ARRAY_INDEX",
            job_variable="PBS_JOBID",
            # qsub takes 2040 characters, in which it writes the server twice for each id.
            max_dependencies=25,
            throttle=True,
            begin=True,
            min_poll_interval=self.min_poll_interval,
        )

    def located(self: Self) -> Self:
        """Return the executor as a later process can use it: paths, largest array, history."""
        found = super().located()
        if found.max_array_size is not None and found.history is not None:
            return found
        try:
            done = found.call([found.qstat, "-B", "-f"])
        except ExecutorError:
            return found
        most = parse.server_setting(done.out, "max_array_size") or ""
        kept = parse.server_setting(done.out, "job_history_enable")
        if found.max_array_size is None and re.fullmatch("[1-9][0-9]{0,8}", most):
            found = evolve(found, max_array_size=int(most))
        if found.history is None and done.code == 0:
            found = evolve(found, history=kept == "True")
        return found

    def check(self) -> None:
        """Raise `ExecutorError` where PBS's commands are not to be found, or are another's."""
        super().check()
        done = self.call([self.qstat, "--version"])
        if "pbs_version" not in done.out + done.err:
            raise ExecutorError(
                f"executor 'pbs': {self.qstat!r} is not PBS Professional's or OpenPBS's (it says "
                f"{done.told!r}); Torque and Grid Engine have commands of the same names: set "
                "qsub, qstat, qdel and qselect in [executor.pbs] to the paths of PBS's own"
            )

    def unreachable(self, done: Completed) -> bool:
        """Whether the server did not answer."""
        return done.code != 0 and parse.UNREACHABLE.search(done.err) is not None

    limits: ClassVar[re.Pattern[str] | None] = parse.LIMIT

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of qsub."""
        with open("/proc/self/status") as file:
            umask = next((line.split()[1] for line in file if line.startswith("Umask:")), "022")
        defaults = Defaults(
            queue=self.queue, account=self.account, options=self.options, umask=umask
        )
        return [self.qsub, *arguments(request, defaults, time.time())]

    def read_job_id(self, done: Completed) -> str:
        """Return the id that qsub printed."""
        return parse.job_id(done.out)

    def submit(self, request: JobRequest) -> str:
        """Submit a job by qsub, see to it that PBS keeps it, and return its id.

        A job that is to wait for one that has ended, or is forgotten, PBS takes with a good
        answer and deletes without a word. So it is looked for, and where it is gone it is
        submitted again without what has ended.
        """
        for _ in range(SUBMISSIONS):
            job = super().submit(request)
            if not request.after:
                return job
            queued = set(self._select())
            if job in queued:
                return job
            ended = self._told([job]).get(job) if self.history else None
            left = tuple(one for one in request.after if one in queued)
            if (ended is not None and ended.status.started) or left == request.after:
                return job  # it has run already, or somebody has deleted it
            request = evolve(request, after=left)
        raise SchedulerUnreachableError(f"qsub: PBS deleted job {job} while it was submitted")

    def taken(self, request: JobRequest, done: Completed) -> str:
        """Return the id of a submitted job; the reason of a refusal says what helps."""
        try:
            return super().taken(request, done)
        except SubmissionRefusedError as error:
            if "exceeds server or queue size limit" not in done.err:
                raise
            raise SubmissionRefusedError(
                f"{error}; set max_array_size in [executor.pbs] to the queue's"
            ) from error

    def queued(self) -> int:
        """Return how many jobs and elements of this user qselect lists."""
        listed = self._select("-T", "-s", "EHQRSTUW")
        return sum("[]" not in one for one in listed)

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask qstat for up to `MOST_ASKED` jobs, with the elements of arrays.

        Of more, qselect tells which are in the queue. First come those that have left it,
        then arrays; what is told of the others is that they live, and more by a later poll.
        """
        if not jobs:
            return {}
        asked, later = sorted(jobs, key=parse.number), []
        if len(asked) > MOST_ASKED:
            queued = set(self._select())
            if self.history is False:  # there is nothing to be learnt of what has left
                asked = [one for one in asked if one in queued]
            asked.sort(key=lambda one: (one in queued, "[]" not in one))
            asked, later = asked[:MOST_ASKED], asked[MOST_ASKED:]
        seen = self._told(asked) if asked else {}
        self._free(seen)
        found = {job: one.status for job, one in seen.items()}
        for job, status in found.items():
            for one in (status, *status.positions.values()):
                if one.cause == UNKNOWN:
                    _log.warning("job %s: what PBS says of it is not known: %s", job, one.raw)
                    break
        found.update({job: JobStatus(state=LIVE) for job in later})
        return {job: found[job] for job in jobs if job in found}

    def _free(self, seen: Mapping[str, parse.Seen]) -> None:
        """Let go those that wait for nothing that is there.

        PBS never releases a job that waits for one which was deleted before it began.
        """
        waiting = {
            job: one.waits_for
            for job, one in seen.items()
            if one.waits_for and one.status.state == LIVE and not one.status.running
        }
        live = {job for job, one in seen.items() if one.status.state == LIVE}
        if all(live.intersection(waited) for waited in waiting.values()):
            return
        live.update(self._select())
        stuck = [job for job, waited in waiting.items() if not live.intersection(waited)]
        if stuck:
            # Told again of one that it knows to have ended, the server lets go; of one that it
            # has forgotten, it deletes who waits, as it does at submission.
            ended = waiting[stuck[0]][0]
            try:
                done = self.call([self.qalter, "-W", f"depend=afterany:{ended}", *stuck])
            except ExecutorError as error:
                _log.warning("jobs that wait for deleted ones: %s", error)
                return
            if done.code != 0 and not all(map(parse.HARMLESS.search, _lines(done.err))):
                _log.warning("jobs that wait for deleted ones: qalter: %s", done.told)

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names, one by one: qselect takes one."""
        found = {}
        for tag in tags:
            jobs = self._select("-N", job_name(tag), history=self.history is not False)
            if jobs:
                found[tag] = max(jobs, key=parse.number)  # one before it was deleted by PBS
        return found

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by qdel those that are in the queue.

        A server (23.06) that is to delete several jobs, some of which it does not know, may die.
        """
        for chunk in chunks(set(jobs).intersection(self._select()) if jobs else (), CHUNK):
            done = self.call([self.qdel, *chunk], asks=True)
            told = _lines(done.err)
            if done.code != 0 and not (told and all(map(parse.HARMLESS.search, told))):
                raise ExecutorError(f"qdel: {done.told}")

    def _told(self, jobs: Collection[str]) -> dict[str, parse.Seen]:
        """Return what qstat says of jobs; of what it does not know, nothing."""
        # As text: of several ids, JSON shows the first only in some versions, with a good answer.
        command = [self.qstat, "-t", "-f", *(["-x"] if self.history is not False else []), *jobs]
        done = self.call(command, asks=True)
        if parse.NO_HISTORY in done.err:  # nor of any other job then
            done = self.call([one for one in command if one != "-x"], asks=True)
        if not all(map(parse.GONE.search, _lines(done.err))):
            raise SchedulerUnreachableError(f"qstat: {done.told}")
        return parse.jobs(done.out, _user())

    def _select(self, *filters: str, history: bool = False) -> list[str]:
        """Return the ids of this user's jobs that qselect lists, with `history` ended ones too."""
        command = [self.qselect, "-u", _user(), *filters]
        done = self.call([*command, "-x"] if history else command, asks=True)
        if history and parse.NO_HISTORY in done.err:
            done = self.call(command, asks=True)
        if done.code != 0:
            raise SchedulerUnreachableError(f"qselect: {done.told}")
        return parse.listed(done.out)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
