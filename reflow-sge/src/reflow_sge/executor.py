"""The executor for Grid Engine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from attrs import evolve, frozen, validators

from reflow.errors import SchedulerUnreachableError
from reflow.executors.base import Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command, user_name
from reflow.executors.options import name_pattern
from reflow.executors.parsing import Report, ids_by_name, site_file, warn_of_unknown
from reflow.executors.settings import command_names, largest_array, setting
from reflow.states import HELD

from . import parse
from .render import arguments, job_name

CHUNK = 500
"""Ids in one call: what a command line and qmaster take with ease."""

SHOWN = 20
"""Jobs that qacct, which takes one id at a time, is asked for one by one."""

_FEW = 3
"""Jobs for which that is quicker than all records of the user's of the last days."""


@frozen(kw_only=True)
class SGEExecutor(CommandExecutor):
    """Runs jobs on Grid Engine: Son of Grid Engine, Univa's, Altair's.

    `qsub`, `qstat`, `qacct`, `qdel`, `qconf` are the commands to use: a name on PATH or a path.
    `account` is what ``-A`` says, `project` what ``-P`` says. `pe` is the parallel environment
    of tasks with more than one cpu, `nodes_pe` that of tasks with more than one node.
    `mem_resource` and `gpu_resource` are the resources that memory and GPUs are asked for by;
    `mem_per_slot`: the first counts for each slot. `max_array_size` is the most elements of one
    job (`max_aj_tasks`), `accounting_lag` how many seconds qacct may lag behind (`flush_time`):
    both are asked for at submission where they are not set.
    `sge_root` and `sge_cell` are given to the commands where their environment lacks them.
    """

    name: ClassVar[str] = "sge"

    qsub: str = command("qsub", "submits jobs")
    qstat: str = command("qstat", "lists jobs in the queue")
    qacct: str = command("qacct", "reports jobs that have ended", needed=False)
    qdel: str = command("qdel", "deletes jobs")
    qconf: str = command("qconf", "shows the settings of the cell", needed=False)
    project: str | None = setting(None, "The project of all tasks, which -P names.")
    pe: str = setting("smp", "The parallel environment of tasks with more than one cpu.")
    nodes_pe: str | None = setting(
        None, "The parallel environment of tasks with several nodes; it fills one after the other."
    )
    mem_resource: str = setting("h_vmem", "The resource that memory is asked for by.")
    mem_per_slot: bool = setting(True, "Whether mem_resource counts for each slot.")
    gpu_resource: str = setting("gpu", "The resource that GPUs are asked for by.")
    max_array_size: int | None = largest_array("Most elements of one job. Not given: the cell's.")
    accounting_lag: float | None = setting(
        None, "Seconds that qacct may lag behind. Not given: the cell's.", validators.ge(0)
    )
    sge_root: str | None = setting(None, "Where Grid Engine is. Not given: SGE_ROOT.")
    sge_cell: str | None = setting(None, "The cell. Not given: SGE_CELL.")

    # Of a job we may be in: they go on to what it submits (submit(1), "-V").
    scrubbed = (
        "REFLOW_JOB_", "SGE_", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NSLOTS", "NHOSTS", "NQUEUES",
        "PE_HOSTFILE", "RESTARTED",
    )  # fmt: skip
    kept = (
        "SGE_ROOT", "SGE_CELL", "SGE_ARCH", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT",
        "SGE_EXECD_PORT",
    )  # fmt: skip

    can = Capabilities(
        max_array_size=75000,  # sge_conf(5), max_aj_tasks
        array_variable="SGE_TASK_ID", first_index=1,
        job_variable="SGE_STDOUT_PATH",  # JOB_ID is the same for all tasks of an array
        max_dependencies=1000,  # more go, but qmaster walks the list
        throttle=True, elementwise=True, begin=True,
    )  # fmt: skip
    printed_id, limits, forbidden = parse.JOB_ID, parse.LIMIT, parse.FORBIDDEN

    def variables(self) -> Mapping[str, str]:
        """Return where the cell is."""
        cell = {"SGE_ROOT": self.sge_root, "SGE_CELL": self.sge_cell}
        return {name: value for name, value in cell.items() if value}

    def located(self) -> SGEExecutor:
        """Return the executor as a later process can use it: paths, cell, the cell's settings."""
        executor, cell = super().located(), dict[str, str]()
        changes: dict[str, Any] = {}
        for program in command_names(SGEExecutor):
            changes[program], named = behind(getattr(executor, program))
            cell |= named
        for field, variable in (("sge_root", "SGE_ROOT"), ("sge_cell", "SGE_CELL")):
            elsewhere = os.environ.get(variable) or cell.get(variable)
            changes[field] = getattr(self, field) or elsewhere
        executor = evolve(executor, **changes)
        return executor.learned(
            [executor.qconf, "-sconf"],
            max_array_size=lambda done: parse.cell_settings(done.out)[0],
            accounting_lag=lambda done: parse.cell_settings(done.out)[1],
        )

    def unreachable(self, done: Completed) -> bool:
        """Whether qmaster did not answer; qdel says so on its standard output (seen)."""
        return done.code != 0 and parse.UNREACHABLE.search(done.err + done.out) is not None

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of qsub."""
        return [self.qsub, *arguments(request, self, time.time())]

    def queued(self) -> int:
        """Return how many jobs of this user qstat lists, tasks of arrays counted."""
        return sum(1 if row.positions is None else len(row.positions) for row in self._queue())

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask qstat for all, and accounting for what has left the queue."""
        statuses = parse.living(self._queue(), jobs) if jobs else {}
        statuses |= self._explained(statuses)
        # Of an array qstat lists what is left of it.
        gone = [job for job in jobs if job not in statuses or statuses[job].positions]
        for job, (over, end) in self._ended(gone).items():
            if job in statuses:
                positions = {**over.positions, **statuses[job].positions}
                statuses[job] = evolve(statuses[job], positions=positions)
            # There may be more to come, and how many tasks an array had is not told.
            elif not over.positions or end < time.time() - self._lag:
                statuses[job] = over
        warn_of_unknown(statuses)
        return {job: statuses[job] for job in jobs if job in statuses}

    def _explained(self, statuses: Mapping[str, JobStatus]) -> dict[str, JobStatus]:
        """Return those that are in error, with the reason that qstat -j gives."""
        held = [job for job, status in statuses.items() if status.cause == HELD]
        errors = [job for job in held if "E" in statuses[job].raw]
        explained = {}
        for chunk in chunks(errors, CHUNK)[:1]:
            # That one of them may have gone meanwhile makes an exit code of 1 (seen).
            text = self.call([self.qstat, "-j", ",".join(chunk)]).out
            for job, reason in parse.error_reasons(text).items():
                if job in statuses:
                    reason = f"{statuses[job].raw}: {reason}; mend it, then qmod -cj {job}"
                    explained[job] = evolve(statuses[job], reason=reason)
        return explained

    @property
    def _lag(self) -> float:
        """After how many seconds accounting is sure to tell; Grid Engine flushes it every 15."""
        return 2 + (15 if self.accounting_lag is None else self.accounting_lag)

    def _ended(self, jobs: Collection[str]) -> dict[str, tuple[JobStatus, float]]:
        """Return what accounting says of jobs, and when they ended, by few calls."""
        records: dict[str, tuple[JobStatus, float]] = {}
        if len(jobs) > _FEW:
            records |= self._account("-d", "2", "-j")
        missing = [job for job in jobs if job not in records]
        for which in [[job] for job in missing] if len(missing) <= SHOWN else [[]]:
            records |= self._account("-j", *which)
        return {job: records[job] for job in jobs if job in records}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: in the queue and, what has left it, in accounting."""
        names = {job_name(tag): tag for tag in tags}
        jobs = ids_by_name(self._queue(), names) if names else {}
        missing = [name for name in names if name not in jobs]
        if missing:
            jobs |= parse.named(self._qacct("-j", name_pattern(missing)), missing)
        return {names[name]: job for name, job in jobs.items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Delete by qdel, never by force: that would leave the processes on their nodes."""
        for chunk in chunks(jobs, CHUNK):
            self.settle([self.qdel, *chunk], parse.HARMLESS, out=True)

    def _queue(self) -> list[Report]:
        """Return all jobs of this user that are in the queue, by one call."""
        done = self.call([self.qstat, "-u", user_name() or "", "-r", "-xml"], asks=True)
        if done.code != 0 or not done.out.rstrip().endswith("</job_info>"):
            raise SchedulerUnreachableError(f"qstat: {done.message}")
        return list(parse.listed(done.out))

    def _account(self, *arguments: str) -> dict[str, tuple[JobStatus, float]]:
        return parse.ended(self._qacct(*arguments), user_name() or "")

    def _qacct(self, *arguments: str) -> str:
        """Return what qacct prints; nothing where it knows nothing, or where there is none."""
        done = self.attempt([self.qacct, "-o", user_name() or "", *arguments])
        return done.out if done is not None else ""


def behind(program: str, site: str = "/etc/default/gridengine") -> tuple[str, dict[str, str]]:
    """Return the program that a wrapper of Debian's starts, and the cell that it names.

    The wrapper takes ten times as long as what it starts; `site` is what it reads.
    """
    text = site_file(program)
    folder = re.search(r"^exec (/\S+)/\$\{?PROG\}? ", text, re.MULTILINE)
    real = os.path.join(folder[1], os.path.basename(program)) if folder else ""
    if not os.access(real, os.X_OK):
        return program, {}
    named = r"^(?:DEFAULT_)?(SGE_ROOT|SGE_CELL)=([\w/.-]+)$"
    return real, dict(re.findall(named, f"{text}\n{site_file(site)}", re.MULTILINE))
