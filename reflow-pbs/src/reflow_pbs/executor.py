"""The executor for PBS Professional, OpenPBS and Torque."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection, Mapping
from typing import ClassVar, TypeVar

from attrs import evolve, frozen

from reflow.errors import ExecutorError, SchedulerUnreachableError, SubmissionRefusedError
from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command, user_name
from reflow.executors.parsing import size_in, warn_of_unknown
from reflow.executors.settings import largest_array, setting

from . import parse, torque
from .render import arguments, job_name

ASKED = 40
"""Ids in one question: qstat connects once for each from one of 512 reserved ports, which rest for
a minute; with none left, every client of the host stands still."""
FEW = 5
"""Names that are looked for one by one."""
CHUNK = 100
"""Ids in one deletion: the server takes up to 25 ms for each."""
SUBMISSIONS = 4
"""How often a job is submitted whose dependencies end in that moment."""

_log = logging.getLogger(__name__)
Self = TypeVar("Self", bound="PBSExecutor")


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
    qstat: str = command("qstat", "tells of jobs")
    qdel: str = command("qdel", "cancels jobs")
    qselect: str = command("qselect", "lists jobs of a user or a name")
    qalter: str = command("qalter", "frees jobs that wait for a deleted one", needed=False)
    max_array_size: int | None = largest_array(
        "Most elements of one job; the server's, where it is not set."
    )
    history: bool | None = setting(None, "Whether the server keeps what it knows of finished jobs.")
    torque: bool | None = setting(None, "Whether it is Torque; asked for, where it is not set.")

    # Of a job we may be in, and PBS_DPREFIX, which changes what qsub reads of a script.
    scrubbed: ClassVar[tuple[str, ...]] = ("REFLOW_JOB_", "PBS_")
    kept: ClassVar[tuple[str, ...]] = (
        "PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_SERVER_HOST_NAME",
        "PBS_PRIMARY", "PBS_SECONDARY", "PBS_LEAF_NAME", "PBS_LEAF_ROUTERS", "PBS_AUTH_METHOD",
        "PBS_ENCRYPT_METHOD", "PBS_BATCH_SERVICE_PORT", "PBS_MANAGER_SERVICE_PORT",
        "PBS_OUTPUT_HOST_NAME", "PBS_TMPDIR", "PBS_DEFAULT", "PBS_CLIENTRETRY",
    )  # fmt: skip
    limits: ClassVar[re.Pattern[str] | None] = parse.LIMIT
    forbidden: ClassVar[re.Pattern[str] | None] = parse.FORBIDDEN
    silent: ClassVar[re.Pattern[str] | None] = parse.UNREACHABLE

    # qsub takes 2040 characters, in which it writes the server twice for each id.
    can: ClassVar[Capabilities] = Capabilities(
        max_array_size=10000,  # PBS's own default
        array_variable="PBS_ARRAY_INDEX", job_variable="PBS_JOBID",
        max_dependencies=25, throttle=True, begin=True,
    )  # fmt: skip

    def located(self: Self) -> Self:
        """Return the executor as a later process can use it: paths, dialect, array, history."""
        found = super().located().learned([self.qstat, "--version"], torque=torque.said)
        most = torque.LARGEST if found.torque else None
        return found.learned(
            [found.qstat, "-B", "-f"],
            max_array_size=lambda done: size_in(parse.MOST, done.out) or most,
            history=lambda done: None if done.code else "job_history_enable = True" in done.out,
        )

    def check(self) -> None:
        """Raise `ExecutorError` where PBS's commands are not to be found, or are another's."""
        super().check()
        done = self.call([self.qstat, "--version"])
        if "pbs_version" not in done.out + done.err and not torque.said(done):
            raise ExecutorError(
                f"executor 'pbs': {self.qstat!r} is not that of PBS Professional, OpenPBS or "
                f"Torque (it says {done.told!r}); Grid Engine has commands of the same names: "
                "set qsub, qstat, qdel and qselect in [executor.pbs] to the paths of PBS's own"
            )

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of qsub."""
        # d: logs are written where they belong at once, and not copied there when the job has
        # ended. Without a umask they are for their owner alone.
        kept = {} if self.torque else {"k": "oed", "umask": _umask()}
        site = {**kept, "q": self.queue or "", "A": self.account or ""}
        lowest = {name: one for name, one in site.items() if one}
        layers, on_torque = (lowest, self.options), bool(self.torque)
        return [self.qsub, *arguments(request, layers, time.time(), on_torque)]

    def read(self, request: JobRequest) -> str:
        """Return the script that Torque's qsub reads."""
        return torque.script(request, _umask()) if self.torque else ""

    def read_job_id(self, done: Completed) -> str:
        """Return the id that qsub printed."""
        return parse.job_id(done.out)

    def submit(self, request: JobRequest) -> str:
        """Submit a job by qsub, see to it that PBS keeps it, and return its id.

        A job that is to wait for one that has ended, or is forgotten, PBS takes with a good
        answer and deletes without a word. So it is looked for, and where it is gone it is
        submitted again without what has ended. Torque refuses it, which is simpler.
        """
        for _ in range(SUBMISSIONS):
            try:
                job = super().submit(request)
            except SubmissionRefusedError as error:
                if torque.DROPPED not in str(error) or not request.after:
                    raise
                request = request.behind(self._select())
                continue
            queued = set(self._select()) if request.after and not self.torque else {job}
            left = tuple(one for one in request.after if one in queued)
            if job in queued or left == request.after:
                return job
            seen = self._told([job]).get(job)
            if seen is not None and seen.status.started:
                return job  # it has run already
            request = evolve(request, after=left)
        raise SchedulerUnreachableError(f"qsub: PBS did not keep a job behind {request.after}")

    def queued(self) -> int:
        """Return how many jobs and elements of this user are in the queue."""
        asked = () if self.torque else ("-T", "-s", "EHQRSTUW")
        return sum("[]" not in one for one in self._listed(*asked))

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask qstat for up to `ASKED` jobs, with the elements of arrays.

        Of more, qselect tells which there are, and which are in the queue. First come those
        that have left it, then arrays; the others live, as far as is told, until a later poll.
        """
        asked, later = sorted(jobs, key=parse.number), []
        # Each id that is unknown leaves a connection of Torque's qstat open, and it has ten.
        if len(asked) > (FEW if self.torque else ASKED):
            queued, told = set(self._select()), self.torque or self.history is not False
            known = set(self._select(history=True)) | queued if told else queued
            asked = [one for one in asked if one in known]
            asked.sort(key=lambda one: (one in queued, "[]" not in one))
            asked, later = asked[:ASKED], asked[ASKED:]
        seen = self._told(asked)
        self._free(seen)
        found = {job: one.status for job, one in seen.items()}
        warn_of_unknown(found)
        return {**found, **{job: JobStatus(state=LIVE) for job in later}}

    def _free(self, seen: Mapping[str, parse.Seen]) -> None:
        """Let go those that wait for nothing that is there.

        PBS never releases a job that waits for one which was deleted before it began; Torque does.
        """
        live = {job for job, one in seen.items() if one.status.state == LIVE}
        behind = {job: seen[job].behind for job in live if seen[job].behind}
        if self.torque or all(live.intersection(waited) for waited in behind.values()):
            return
        live.update(self._select())
        stuck = [job for job, waited in behind.items() if not live.intersection(waited)]
        if not stuck:
            return
        # Told again of one that it knows to have ended, the server lets go; of one that it
        # has forgotten, it deletes who waits, as it does at submission.
        ended = behind[stuck[0]][0]
        done = self.attempt([self.qalter, "-W", f"depend=afterany:{ended}", *stuck])
        if done is None or done.code != 0:
            why = done.told if done else f"there is no {self.qalter!r}, or it has no answer"
            _log.warning("jobs that wait for deleted ones: qalter: %s", why)

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: for a few by qselect, which takes one, for more among all jobs."""
        history = self.history is not False
        if len(tags) > (0 if self.torque else FEW):  # Torque's qselect knows no arrays
            named = parse.named(self._ask([self.qstat, "-f"], history), user_name() or "")
            return {tag: named[job_name(tag)] for tag in tags if job_name(tag) in named}
        found = {tag: self._select("-N", job_name(tag), history=history) for tag in tags}
        # Of several, those before the last were deleted by PBS.
        return {tag: max(jobs, key=parse.number) for tag, jobs in found.items() if jobs}

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
            self._free(self._told(waiting[-ASKED:]))

    def _told(self, jobs: Collection[str]) -> dict[str, parse.Seen]:
        """Return what qstat says of jobs; of what it does not know, nothing."""
        # As text: of several ids, JSON shows the first only in some versions, with a good answer.
        done = self._ask([self.qstat, "-t", "-f", *jobs], self.history is not False) if jobs else ""
        return parse.jobs(torque.translated(done) if self.torque else done, user_name() or "")

    def _select(self, *filters: str, history: bool = False) -> list[str]:
        """Return the ids of this user's jobs that qselect lists, with `history` ended ones too."""
        found = self._listed(*filters, history=history)
        return list(dict.fromkeys(re.sub(r"\[[0-9]+\]", "[]", one) for one in found))

    def _listed(self, *filters: str, history: bool = False) -> list[str]:
        # Without states, Torque's lists ended jobs, too.
        states = ("-s", "EHQRTW") if self.torque and not history else ()
        asked = [self.qselect, "-u", user_name() or "", *filters, *states]
        return parse.listed(self._ask(asked, history and not self.torque))

    def _ask(self, asked: list[str], history: bool) -> str:
        done = self.call([*asked[:1], "-x", *asked[1:]] if history else asked, asks=True)
        if parse.NO_HISTORY in done.err:  # and then nothing of any other job
            done = self.call(asked, asks=True)
        if (done.code != 0 or done.err.strip()) and not done.says_only(parse.GONE):
            raise SchedulerUnreachableError(f"{os.path.basename(asked[0])}: {done.told}")
        return done.out


def _umask() -> str:
    with open("/proc/self/status") as file:
        return next((line.split()[1] for line in file if line.startswith("Umask:")), "022")
