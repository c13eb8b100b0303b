"""The executor for PBS Professional, OpenPBS and Torque."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection, Mapping
from typing import ClassVar

from attrs import evolve, frozen

from reflow.errors import ExecutorError, SchedulerUnreachableError
from reflow.executors import options
from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command, user_name
from reflow.executors.parsing import size_in, warn_of_unknown
from reflow.executors.settings import largest_array, setting

from . import parse, torque
from .render import arguments, job_name

ASKED = 40
"""Ids in one question: qstat connects once for each from one of 512 reserved ports, which rest for
a minute; with none left, every client of the host stands still (seen)."""
FEW = 5
"""Names that are looked for one by one."""
CHUNK = 100
"""Ids in one deletion: the server takes up to 25 ms for each (seen)."""
SUBMISSIONS = 4
"""How often a job is submitted whose dependencies end in that moment."""

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class PBSExecutor(CommandExecutor):
    """Runs jobs on PBS Professional, OpenPBS and Torque.

    `qsub`, `qstat`, `qdel`, `qselect`, `qalter` are the commands to use: a name on PATH or a
    path. `max_array_size` is the most elements of one job, the server's or queue's
    `max_array_size`; larger arrays are split. `history` says whether the server keeps what it
    knows of finished jobs (`job_history_enable`), `torque` whether it is Torque's. A submission
    asks where they are not set.
    """

    name: ClassVar[str] = "pbs"

    qsub: str = command("qsub", "submits jobs")
    qstat: str = command("qstat", "reports jobs")
    qdel: str = command("qdel", "cancels jobs")
    qselect: str = command("qselect", "lists jobs of a user or a name")
    qalter: str = command("qalter", "frees jobs that wait for a deleted one", needed=False)
    max_array_size: int | None = largest_array(
        "Most elements of one job; the server's, where it is not set."
    )
    history: bool | None = setting(None, "Whether the server keeps what it knows of finished jobs.")
    torque: bool | None = setting(None, "Whether it is Torque; asked for, where it is not set.")

    # Of a job we may be in, and PBS_DPREFIX, which changes what qsub reads of a script (qsub(1B)).
    scrubbed = ("REFLOW_JOB_", "PBS_")
    # pbs.conf in the Installation Guide; PBS_DEFAULT and PBS_CLIENTRETRY are Torque's.
    kept = (
        "PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_SERVER_HOST_NAME",
        "PBS_PRIMARY", "PBS_SECONDARY", "PBS_LEAF_NAME", "PBS_LEAF_ROUTERS", "PBS_AUTH_METHOD",
        "PBS_ENCRYPT_METHOD", "PBS_BATCH_SERVICE_PORT", "PBS_MANAGER_SERVICE_PORT",
        "PBS_OUTPUT_HOST_NAME", "PBS_TMPDIR", "PBS_DEFAULT", "PBS_CLIENTRETRY",
    )  # fmt: skip
    # qsub takes 2040 characters, in which it writes the server twice for each id (seen).
    can = Capabilities(
        max_array_size=10000,  # pbs_server_attributes(7B), max_array_size
        array_variable="PBS_ARRAY_INDEX", job_variable="PBS_JOBID",
        max_dependencies=25, throttle=True, begin=True,
    )  # fmt: skip
    printed_id, limits = parse.JOB_ID, parse.LIMIT
    forbidden, silent = parse.FORBIDDEN, parse.UNREACHABLE

    def located(self) -> PBSExecutor:
        """Return the executor as a later process can use it: paths, dialect, array, history."""
        executor = super().located().learned([self.qstat, "--version"], torque=torque.answered)
        most = torque.LARGEST if executor.torque else None
        return executor.learned(
            [executor.qstat, "-B", "-f"],
            max_array_size=lambda done: size_in(parse.MOST, done.out) or most,
            history=lambda done: None if done.code else parse.HISTORY in done.out,
        )

    def check(self) -> None:
        """Raise `ExecutorError` where PBS's commands are not to be found, or are another's."""
        super().check()
        done = self.call([self.qstat, "--version"])
        if parse.VERSION not in done.out + done.err and not torque.answered(done):
            raise ExecutorError(
                f"executor 'pbs': {self.qstat!r} is not that of PBS Professional, OpenPBS or "
                f"Torque (it says {done.message!r}); Grid Engine has commands of the same names: "
                "set qsub, qstat, qdel and qselect in [executor.pbs] to the paths of PBS's own"
            )

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of qsub."""
        # d: logs are written where they belong at once, and not copied there when the job has
        # ended. Without a umask they are for their owner alone (qsub(1B), "-k", "-W umask").
        logs = {} if self.torque else {"k": "oed", "umask": _umask()}
        layers = (options.only_set(**logs, q=self.queue, A=self.account), self.options)
        return [self.qsub, *arguments(request, layers, time.time(), bool(self.torque))]

    def read(self, request: JobRequest) -> str:
        """Return the script that Torque's qsub reads."""
        return torque.script(request, _umask()) if self.torque else ""

    def without_forgotten(self, request: JobRequest, done: Completed) -> JobRequest | None:
        """Return a request that Torque refused since a job that it waits for has ended."""
        refused = torque.DROPPED.search(f"{done.err}\n{done.out}") is not None
        return request.behind(self._select()) if refused and request.after else None

    def submit(self, request: JobRequest) -> str:
        """Submit a job by qsub, see to it that PBS keeps it, and return its id.

        A job that is to wait for one that has ended, or is forgotten, PBS takes with a good
        answer and deletes without a word (seen). So it is looked for, and where it is gone it is
        submitted again without what has ended. Torque refuses it, which is simpler.
        """
        for _ in range(SUBMISSIONS):
            job = super().submit(request)
            if self.torque or not request.after:
                return job
            queued = set(self._select())
            waits = tuple(other for other in request.after if other in queued)
            if job in queued or waits == request.after:
                return job
            listed = self._details([job]).get(job)
            if listed is not None and listed.status.started:
                return job  # it has run already
            request = evolve(request, after=waits)
        raise SchedulerUnreachableError(f"qsub: PBS did not keep a job behind {request.after}")

    def queued(self) -> int:
        """Return how many jobs and elements of this user are in the queue."""
        filters = () if self.torque else ("-T", "-s", "EHQRSTUW")
        return sum("[]" not in job for job in self._ids(*filters))

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask qstat for up to `ASKED` jobs, with the elements of arrays.

        Of more, qselect tells which there are, and which are in the queue. First come those
        that have left it, then arrays; the others live, as far as is told, until a later poll.
        """
        first, later = sorted(jobs, key=parse.number), list[str]()
        # Each id that is unknown leaves a connection of Torque's qstat open, and it has ten (seen).
        if len(first) > (FEW if self.torque else ASKED):
            queued, remembers = set(self._select()), self.torque or self.history is not False
            there = set(self._select(history=True)) | queued if remembers else queued
            first = [job for job in first if job in there]
            first.sort(key=lambda job: (job in queued, "[]" not in job))
            first, later = first[:ASKED], first[ASKED:]
        listed = self._details(first)
        self._free(listed)
        statuses = {job: details.status for job, details in listed.items()}
        warn_of_unknown(statuses)
        return {**statuses, **{job: JobStatus(state=LIVE) for job in later}}

    def _free(self, listed: Mapping[str, parse.Listed]) -> None:
        """Let go those that wait for nothing that is there.

        PBS never releases a job that waits for one which was deleted before it began (seen); Torque
        does.
        """
        live = {job for job, details in listed.items() if details.status.state == LIVE}
        behind = {job: listed[job].behind for job in live if listed[job].behind}
        if self.torque or all(live.intersection(waits) for waits in behind.values()):
            return
        live.update(self._select())
        stuck = [job for job, waits in behind.items() if not live.intersection(waits)]
        if not stuck:
            return
        # Told again of one that it knows to have ended, the server lets go; of one that it
        # has forgotten, it deletes who waits, as it does at submission (seen).
        ended = behind[stuck[0]][0]
        done = self.attempt([self.qalter, "-W", f"depend=afterany:{ended}", *stuck])
        if done is None or done.code != 0:
            why = done.message if done else f"there is no {self.qalter!r}, or it has no answer"
            _log.warning("jobs that wait for deleted ones: qalter: %s", why)

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: for a few by qselect, which takes one, for more among all jobs."""
        history, names = self.history is not False, {tag: job_name(tag) for tag in tags}
        if len(names) > (0 if self.torque else FEW):  # Torque's qselect knows no arrays
            named = parse.named(self._ask([self.qstat, "-f"], history), user_name() or "")
            return {tag: named[name] for tag, name in names.items() if name in named}
        jobs = {tag: self._select("-N", name, history=history) for tag, name in names.items()}
        # Of several, those before the last were deleted by PBS.
        return {tag: max(ids, key=parse.number) for tag, ids in jobs.items() if ids}

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by qdel those that are in the queue, and let go who waits for them.

        A server (23.06) that is to delete several jobs, some of which it does not know, may die.
        """
        there = set(jobs).intersection(self._select()) if jobs else set()
        # Torque (6.1) passes over an element that it starts in that moment, with a good answer.
        for chunk in chunks(there, CHUNK) * (2 if self.torque else 1):
            self.settle([self.qdel, *chunk], parse.HARMLESS)
        if there and not self.torque:  # the newest; more by polls
            waiting = sorted(self._select("-s", "H"), key=parse.number)
            self._free(self._details(waiting[-ASKED:]))

    def _details(self, jobs: Collection[str]) -> dict[str, parse.Listed]:
        """Return what qstat says of jobs; of what it does not know, nothing."""
        # As text: of several ids, JSON shows the first only in some versions, with a good answer.
        text = self._ask([self.qstat, "-t", "-f", *jobs], self.history is not False) if jobs else ""
        return parse.jobs(torque.translated(text) if self.torque else text, user_name() or "")

    def _select(self, *filters: str, history: bool = False) -> list[str]:
        """Return the ids of this user's jobs that qselect lists, with `history` ended ones too."""
        ids = self._ids(*filters, history=history)
        return list(dict.fromkeys(re.sub(r"\[[0-9]+\]", "[]", job) for job in ids))

    def _ids(self, *filters: str, history: bool = False) -> list[str]:
        # Without states, Torque's lists ended jobs, too.
        states = ("-s", "EHQRTW") if self.torque and not history else ()
        command_line = [self.qselect, "-u", user_name() or "", *filters, *states]
        return parse.listed(self._ask(command_line, history and not self.torque))

    def _ask(self, command_line: list[str], history: bool) -> str:
        """Return what a command prints of jobs, with `history` of ended ones, too."""
        program, *words = command_line
        done = self.call([program, "-x", *words] if history else command_line, asks=True)
        if parse.NO_HISTORY in done.err:
            done = self.call(command_line, asks=True)
        if (done.code != 0 or done.err.strip()) and not done.says_only(parse.GONE):
            raise SchedulerUnreachableError(f"{os.path.basename(program)}: {done.message}")
        return done.out


def _umask() -> str:
    with open("/proc/self/status") as file:
        return next((line.split()[1] for line in file if line.startswith("Umask:")), "022")
