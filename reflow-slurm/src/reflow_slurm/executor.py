"""The executor for Slurm."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import ClassVar, TypeVar

from attrs import evolve, frozen

from reflow.errors import ExecutorError, SchedulerUnreachableError
from reflow.executors.base import ENDED, LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command
from reflow.executors.options import largest_array, setting
from reflow.executors.parsing import warn_of_unknown
from reflow.states import ERROR

from . import parse
from .render import Defaults, arguments, job_name

CHUNK = 500
"""Ids in one call: what a command line and a controller take with ease."""

SHOWN = 20
"""Failed jobs that slurmctld is asked for one by one where there is no accounting."""

_HARMLESS = re.compile(r"Invalid job id|already compl|denied", re.IGNORECASE)
"""What scancel says of jobs that are gone, or that are another's by now."""

Self = TypeVar("Self", bound="SlurmExecutor")


@frozen(kw_only=True)
class SlurmExecutor(CommandExecutor):
    """Runs jobs on Slurm.

    `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol` are the commands to use: a name on
    PATH or a path. `cluster` is the one to use where there are several. `max_array_size` is
    the most elements of one job, the site's ``MaxArraySize``, which a submission asks for
    where it is not set; larger arrays are split.
    """

    name: ClassVar[str] = "slurm"

    sbatch: str = command("sbatch", "submits jobs")
    squeue: str = command("squeue", "lists the living")
    sacct: str = command("sacct", "tells of the dead", needed=False)
    scancel: str = command("scancel", "cancels jobs")
    scontrol: str = command("scontrol", "tells of jobs where accounting is off", needed=False)
    cluster: str | None = setting(None, "The cluster to use, where there are several.")
    max_array_size: int | None = largest_array("Most elements of one job. Not given: the site's.")

    # Of a job we may be in, and what else sbatch and the others read (their "ENVIRONMENT
    # VARIABLES") that would change what they do (an array of a plain job, a wait, another log)
    # or print. Other SBATCH_ variables are a user's defaults, and stay.
    scrubbed: ClassVar[tuple[str, ...]] = (
        "REFLOW_JOB_", "SLURM_", "SLURMD_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_",
        "SBATCH_ARRAY_INX", "SBATCH_BATCH", "SBATCH_CLUSTERS", "SBATCH_DEBUG", "SBATCH_ERROR",
        "SBATCH_EXPORT", "SBATCH_INPUT", "SBATCH_JOB", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE",
        "SBATCH_OUTPUT", "SBATCH_REQUEUE", "SBATCH_WAIT",
    )  # fmt: skip
    kept: ClassVar[tuple[str, ...]] = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
    # All of a long array expression, and times in ISO form.
    fixed: ClassVar[Mapping[str, str]] = {
        "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"
    }  # fmt: skip

    can: ClassVar[Capabilities] = Capabilities(
        max_array_size=1001,  # Slurm's own default
        array_variable="SLURM_ARRAY_TASK_ID",
        job_variable="SLURM_JOB_ID",
        max_dependencies=1000,  # slurmctld takes 128 KiB; it walks the list in every cycle
        throttle=True,
        elementwise=True,
        begin=True,
    )

    def check(self) -> None:
        """Raise `ExecutorError` where Slurm's commands, or one cluster, are not to be found."""
        super().check()
        cluster = self._cluster()
        if cluster is not None and ("," in cluster or cluster == "all"):
            raise ExecutorError(
                f"executor 'slurm': jobs of a run wait for each other, so they need one cluster, "
                f"not {cluster!r}: set cluster in [executor.slurm], or SLURM_CLUSTERS, to one"
            )

    def located(self: Self) -> Self:
        """Return the executor as a later process can use it: paths, cluster, largest array."""
        found = evolve(super().located(), cluster=self._cluster())
        return found.learned(
            found._command(found.scontrol, "show", "config"),
            max_array_size=lambda done: parse.array_size(done.out),
        )

    def unreachable(self, done: Completed) -> bool:
        """Whether slurmctld (or for sacct, slurmdbd) did not answer."""
        failed = done.code != 0 or not done.out.strip()
        return failed and parse.UNREACHABLE.search(done.err) is not None

    limits: ClassVar[re.Pattern[str] | None] = parse.LIMIT
    forbidden: ClassVar[re.Pattern[str] | None] = parse.FORBIDDEN

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of sbatch."""
        defaults = Defaults(
            queue=self.queue, account=self.account, cluster=self._cluster(), options=self.options
        )
        return [self.sbatch, *arguments(request, defaults)]

    def read_job_id(self, done: Completed) -> str:
        """Return the id that sbatch printed."""
        return parse.job_id(done.out)

    def queued(self) -> int:
        """Return how many jobs of this user squeue lists."""
        user = str(os.getuid())
        return len(self._ask("--array", f"--user={user}", "--format=%i").split())

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask squeue for all, and accounting for what squeue says nothing of."""
        seen: list[parse.Seen] = []
        for chunk in chunks(jobs, CHUNK):
            told = self._ask(
                "--states=all", f"--jobs={','.join(chunk)}", f"--format={parse.SQUEUE_FORMAT}"
            )
            seen.extend(parse.squeue(told, os.getuid()))
        found = parse.merge(seen)
        # squeue gives no exit code, and of an array says nothing of what ended long ago.
        doubtful = [
            job
            for job in jobs
            if job not in found
            or found[job].state != LIVE
            or any(one.state != LIVE and one.cause for one in found[job].positions.values())
        ]
        if doubtful:
            found.update(parse.merge(seen, self._ended(doubtful, found)))
        warn_of_unknown(found)
        return {job: found[job] for job in jobs if job in found}

    def _ended(
        self, jobs: Collection[str], known: Mapping[str, JobStatus]
    ) -> list[parse.Seen]:
        """Return what accounting says of jobs; where it says nothing, what slurmctld still knows.

        Accounting may be off, and of what has just ended it is some seconds behind.
        """
        seen: list[parse.Seen] = []
        for chunk in chunks(jobs, CHUNK):
            text = self._account(f"--jobs={','.join(chunk)}", f"--format={parse.SACCT_FIELDS}")
            if text is None:
                break
            seen.extend(parse.sacct(text, os.getuid()))
        told = {one.job for one in seen if one.status.state == ENDED}
        # slurmctld knows no more jobs than squeue has shown, but their exit codes.
        failed = [
            job for job in jobs if job in known and known[job].cause == ERROR and job not in told
        ]
        for job in failed[:SHOWN]:
            done = self.attempt(self._command(self.scontrol, "--oneliner", "show", "job", job))
            if done is None:
                break
            if done.code == 0:
                seen.extend(parse.scontrol(done.out))
        return seen

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: in the queue and, what has left it, in accounting."""
        names = {job_name(tag): tag for tag in tags}
        found: dict[str, str] = {}
        for chunk in chunks(names, CHUNK):
            told = self._ask("--states=all", f"--name={','.join(chunk)}", "--format=%F|%j")
            found.update(parse.named(told, chunk))
            rest = [name for name in chunk if name not in found]
            if rest:
                text = self._account(
                    "--starttime=now-7days", f"--name={','.join(rest)}", "--format=JobID,JobName"
                )
                # Without accounting the queue has told all that can be known.
                found.update(parse.named(text or "", rest))
        return {names[name]: job for name, job in found.items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by scancel, which takes unknown and ended jobs without a word."""
        for chunk in chunks(jobs, CHUNK):
            self.settle(self._command(self.scancel, *chunk), _HARMLESS)

    def _cluster(self) -> str | None:
        given = os.environ.get("SBATCH_CLUSTERS") or os.environ.get("SLURM_CLUSTERS")
        return self.cluster or given or None

    def _command(self, program: str, *arguments: str) -> list[str]:
        cluster = self._cluster()
        return [program, *([f"--clusters={cluster}"] if cluster else []), *arguments]

    def _ask(self, *arguments: str) -> str:
        """Return what squeue prints; `SchedulerUnreachableError` for anything but an answer."""
        done = self.call(self._command(self.squeue, "--noheader", *arguments), asks=True)
        # An id alone that squeue has forgotten is an error; among others it is left out.
        if done.code != 0 and "Invalid job id" not in done.err:
            raise SchedulerUnreachableError(f"{os.path.basename(self.squeue)}: {done.told}")
        return done.out

    def _account(self, *arguments: str) -> str | None:
        """Return what sacct prints; None where there is no accounting, or none now."""
        options = ("--noheader", "--parsable2", "--allocations", "--duplicates", *arguments)
        done = self.attempt(self._command(self.sacct, *options))
        return done.out if done is not None and done.code == 0 else None
