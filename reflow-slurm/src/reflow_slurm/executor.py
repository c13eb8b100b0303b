"""The executor for Slurm."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import ClassVar

from attrs import evolve, frozen

from reflow.errors import ExecutorError
from reflow.executors.base import LIVE, Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, chunks, command
from reflow.executors.options import job_name
from reflow.executors.parsing import Report, warn_of_unknown
from reflow.executors.settings import largest_array, setting
from reflow.states import ERROR

from . import parse
from .render import arguments

CHUNK = 500
"""Ids in one call: what a command line and a controller take with ease."""

SHOWN = 20
"""Failed jobs that slurmctld is asked for one by one where there is no accounting."""


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
    squeue: str = command("squeue", "lists jobs in the queue")
    sacct: str = command("sacct", "reports jobs that have ended", needed=False)
    scancel: str = command("scancel", "cancels jobs")
    scontrol: str = command("scontrol", "shows jobs where accounting is off", needed=False)
    cluster: str | None = setting(None, "The cluster to use, where there are several.")
    max_array_size: int | None = largest_array("Most elements of one job. Not given: the site's.")

    # Of a job we may be in, and what else sbatch and the others read (their "ENVIRONMENT
    # VARIABLES") that would change what they do (an array of a plain job, a wait, another log)
    # or print. Other SBATCH_ variables are a user's defaults, and stay.
    scrubbed = (
        "REFLOW_JOB_", "SLURM_", "SLURMD_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_",
        "SBATCH_ARRAY_INX", "SBATCH_BATCH", "SBATCH_CLUSTERS", "SBATCH_DEBUG", "SBATCH_ERROR",
        "SBATCH_EXPORT", "SBATCH_INPUT", "SBATCH_JOB", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE",
        "SBATCH_OUTPUT", "SBATCH_REQUEUE", "SBATCH_WAIT",
    )  # fmt: skip
    kept = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
    # All of a long array expression (squeue(1)), and times in ISO form (sacct(1)).
    fixed: ClassVar = {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}

    can = Capabilities(
        max_array_size=1001,  # Slurm's own default (slurm.conf(5), MaxArraySize)
        array_variable="SLURM_ARRAY_TASK_ID", job_variable="SLURM_JOB_ID",
        max_dependencies=1000,  # slurmctld takes 128 KiB; it walks the list in every cycle
        throttle=True, elementwise=True, begin=True,
    )  # fmt: skip
    printed_id, limits = parse.JOB_ID, parse.LIMIT
    forbidden, silent = parse.FORBIDDEN, parse.UNREACHABLE

    @property
    def chosen_cluster(self) -> str | None:
        """The cluster of the settings, or else of the variables that sbatch and the others read."""
        variables = (os.environ.get(name) for name in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS"))
        return next(filter(None, (self.cluster, *variables)), None)

    def check(self) -> None:
        """Raise `ExecutorError` where Slurm's commands, or one cluster, are not to be found."""
        super().check()
        cluster = self.chosen_cluster
        if cluster is not None and ("," in cluster or cluster == "all"):
            raise ExecutorError(
                f"executor 'slurm': jobs of a run wait for each other, so they need one cluster, "
                f"not {cluster!r}: set cluster in [executor.slurm], or SLURM_CLUSTERS, to one"
            )

    def located(self) -> SlurmExecutor:
        """Return the executor as a later process can use it: paths, cluster, largest array."""
        executor = evolve(super().located(), cluster=self.chosen_cluster)
        return executor.learned(
            executor._command(executor.scontrol, "show", "config"),
            max_array_size=lambda done: parse.array_size(done.out),
        )

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of sbatch."""
        return [self.sbatch, *arguments(request, self)]

    def queued(self) -> int:
        """Return how many jobs of this user squeue lists."""
        return len(self._squeue("--array", f"--user={os.getuid()}", "--format=%i").split())

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask squeue for all, and accounting for what squeue says nothing of."""
        queue: list[Report] = []
        for chunk in chunks(jobs, CHUNK):
            ids, columns = f"--jobs={','.join(chunk)}", f"--format={parse.SQUEUE_FORMAT}"
            queue += parse.squeue(self._squeue("--states=all", ids, columns), os.getuid())
        statuses = parse.merge(queue)
        # squeue gives no exit code, and of an array says nothing of what ended long ago.
        doubtful = [job for job in jobs if job not in statuses or _has_ended(statuses[job])]
        if doubtful:
            statuses |= parse.merge(queue, self._ended(doubtful, statuses))
        warn_of_unknown(statuses)
        return {job: statuses[job] for job in jobs if job in statuses}

    def _ended(self, jobs: Collection[str], queued: Mapping[str, JobStatus]) -> list[Report]:
        """Return what accounting says of jobs; where it says nothing, what slurmctld still knows.

        Accounting may be off, and of what has just ended it is some seconds behind.
        """
        reports: list[Report] = []
        for chunk in chunks(jobs, CHUNK):
            text = self._sacct(f"--jobs={','.join(chunk)}", f"--format={parse.SACCT_FIELDS}")
            if text is None:
                break
            reports += parse.sacct(text, os.getuid())
        accounted = {report.job for report in reports if report.status.state != LIVE}
        # slurmctld knows no more jobs than squeue has shown, but their exit codes.
        failed = [job for job in jobs if job in queued and queued[job].cause == ERROR]
        return reports + self._shown([job for job in failed if job not in accounted][:SHOWN])

    def _shown(self, jobs: Collection[str]) -> list[Report]:
        reports: list[Report] = []
        for job in jobs:
            done = self.attempt(self._command(self.scontrol, "--oneliner", "show", "job", job))
            if done is None:
                break
            reports += parse.scontrol(done.out) if done.code == 0 else []
        return reports

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: in the queue and, what has left it, in accounting."""
        names = {job_name(tag): tag for tag in tags}
        jobs: dict[str, str] = {}
        for chunk in chunks(names, CHUNK):
            text = self._squeue("--states=all", f"--name={','.join(chunk)}", "--format=%F|%j")
            jobs |= parse.named(text, chunk)
            missing = [name for name in chunk if name not in jobs]
            if missing:
                by_name = f"--name={','.join(missing)}"
                # Without accounting the queue has told all that can be known.
                text = self._sacct("--starttime=now-7days", by_name, "--format=JobID,JobName") or ""
                jobs |= parse.named(text, missing)
        return {names[name]: job for name, job in jobs.items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Cancel by scancel, which takes unknown and ended jobs without a word."""
        for chunk in chunks(jobs, CHUNK):
            self.settle(self._command(self.scancel, *chunk), parse.HARMLESS)

    def _command(self, program: str, *arguments: str) -> list[str]:
        cluster = self.chosen_cluster
        return [program, *([f"--clusters={cluster}"] if cluster else []), *arguments]

    def _squeue(self, *arguments: str) -> str:
        """Return what squeue prints; `SchedulerUnreachableError` for anything but an answer."""
        command_line = self._command(self.squeue, "--noheader", *arguments)
        return self.answer(command_line, parse.UNKNOWN_ID, strict=False)

    def _sacct(self, *arguments: str) -> str | None:
        """Return what sacct prints; None where there is no accounting, or none now."""
        options = ("--noheader", "--parsable2", "--allocations", "--duplicates", *arguments)
        done = self.attempt(self._command(self.sacct, *options))
        return done.out if done is not None and done.code == 0 else None


def _has_ended(status: JobStatus) -> bool:
    """Whether a job has ended, or any position of it with a cause."""
    positions = status.positions.values()
    return status.state != LIVE or any(at.state != LIVE and at.cause for at in positions)
