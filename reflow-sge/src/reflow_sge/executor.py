"""The executor for Grid Engine."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from attrs import evolve, fields, frozen, validators

from reflow.errors import SchedulerUnreachableError
from reflow.executors.base import Capabilities, JobRequest, JobStatus
from reflow.executors.command import CommandExecutor, Completed, chunks, command
from reflow.executors.options import name_pattern
from reflow.executors.parsing import site_file, warn_of_unknown
from reflow.executors.settings import largest_array, setting
from reflow.states import HELD

from . import parse
from .render import Site, arguments, job_name

CHUNK = 500
"""Ids in one call: what a command line and qmaster take with ease."""

SHOWN = 20
"""Jobs that qacct, which takes one id at a time, is asked for one by one."""

_FEW = 3
"""Jobs for which that is quicker than all records of the user's of the last days."""

_HARMLESS = re.compile(
    "does not exist|already in deletion|has registered the|has deleted|privileges"
)
"""What qdel says of jobs that it takes out, that are gone, or that are another's by now."""

Self = TypeVar("Self", bound="SGEExecutor")


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
    qstat: str = command("qstat", "lists the living")
    qacct: str = command("qacct", "tells of the dead", needed=False)
    qdel: str = command("qdel", "deletes jobs")
    qconf: str = command("qconf", "tells the cell's settings", needed=False)
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

    # Of a job we may be in: they go on to what it submits (-V).
    scrubbed: ClassVar[tuple[str, ...]] = (
        "REFLOW_JOB_", "SGE_", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NSLOTS", "NHOSTS", "NQUEUES",
        "PE_HOSTFILE", "RESTARTED",
    )  # fmt: skip
    kept: ClassVar[tuple[str, ...]] = (
        "SGE_ROOT", "SGE_CELL", "SGE_ARCH", "SGE_CLUSTER_NAME", "SGE_QMASTER_PORT",
        "SGE_EXECD_PORT",
    )  # fmt: skip

    can: ClassVar[Capabilities] = Capabilities(
        max_array_size=75000,  # its own default
        array_variable="SGE_TASK_ID",
        job_variable="SGE_STDOUT_PATH",  # JOB_ID is the same for all tasks of an array
        first_index=1,
        max_dependencies=1000,  # more go, but qmaster walks the list
        throttle=True,
        elementwise=True,
        begin=True,
    )

    def variables(self) -> Mapping[str, str]:
        """Return where the cell is."""
        given = {"SGE_ROOT": self.sge_root, "SGE_CELL": self.sge_cell}
        return {name: value for name, value in given.items() if value}

    def located(self: Self) -> Self:
        """Return the executor as a later process can use it: paths, cell, the cell's settings."""
        found, cell = super().located(), dict[str, str]()
        real: dict[str, Any] = {}
        for one in fields(type(found)):
            if one.metadata.get("command"):
                real[one.name], named = behind(getattr(found, one.name))
                cell.update(named)
        root, name = (os.environ.get(one) or cell.get(one) for one in ("SGE_ROOT", "SGE_CELL"))
        found = evolve(
            found, sge_root=self.sge_root or root, sge_cell=self.sge_cell or name, **real
        )
        return found.learned(
            [found.qconf, "-sconf"],
            max_array_size=lambda done: parse.cell_settings(done.out)[0],
            accounting_lag=lambda done: parse.cell_settings(done.out)[1],
        )

    def unreachable(self, done: Completed) -> bool:
        """Whether qmaster did not answer; qdel says so on its standard output."""
        return done.code != 0 and parse.UNREACHABLE.search(done.err + done.out) is not None

    limits: ClassVar[re.Pattern[str] | None] = parse.LIMIT
    forbidden: ClassVar[re.Pattern[str] | None] = re.compile("is (?:no|not a) submit host")

    def arguments(self, request: JobRequest) -> list[str]:
        """Return the command line of qsub."""
        names = [one.name for one in fields(Site)]
        site = Site(**{name: getattr(self, name) for name in names})
        return [self.qsub, *arguments(request, site, datetime.now())]  # qsub reads local time

    def read_job_id(self, done: Completed) -> str:
        """Return the id that qsub printed."""
        return parse.job_id(done.out)

    def queued(self) -> int:
        """Return how many jobs of this user qstat lists, tasks of arrays counted."""
        return sum(1 if row.tasks is None else len(row.tasks) for row in self._queue())

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Ask qstat for all, and accounting for what has left the queue."""
        found = parse.living(self._queue(), jobs) if jobs else {}
        errors = [job for job in found if found[job].cause == HELD and "E" in found[job].raw]
        for chunk in chunks(errors, CHUNK)[:1]:
            # That one of them may have gone meanwhile makes an exit code of 1.
            said = parse.error_reasons(self.call([self.qstat, "-j", ",".join(chunk)]).out)
            for job, reason in said.items():
                if job in found:
                    told = f"{found[job].raw}: {reason}; mend it, then qmod -cj {job}"
                    found[job] = evolve(found[job], reason=told)
        # Of an array qstat lists what is left of it.
        asked = [job for job in jobs if job not in found or found[job].positions]
        for job, (over, end) in self._ended(asked).items():
            if job in found:
                places = {**over.positions, **found[job].positions}
                found[job] = evolve(found[job], positions=places)
            # There may be more to come, and how many tasks an array had is not told.
            elif not over.positions or end < time.time() - self._lag:
                found[job] = over
        warn_of_unknown(found)
        return {job: found[job] for job in jobs if job in found}

    @property
    def _lag(self) -> float:
        """After how many seconds accounting is sure to tell; Grid Engine flushes it every 15."""
        return 2 + (15 if self.accounting_lag is None else self.accounting_lag)

    def _ended(self, jobs: Collection[str]) -> dict[str, tuple[JobStatus, float]]:
        """Return what accounting says of jobs, and when they ended, by few calls."""
        read: dict[str, tuple[JobStatus, float]] = {}
        if len(jobs) > _FEW:
            read.update(self._account("-d", "2", "-j"))
        rest = [job for job in jobs if job not in read]
        if len(rest) > SHOWN:
            read.update(self._account("-j"))
        else:
            for job in rest:
                read.update(self._account("-j", job))
        return {job: read[job] for job in jobs if job in read}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Look for job names: in the queue and, what has left it, in accounting."""
        names = {job_name(tag): tag for tag in tags}
        rows = self._queue() if names else []
        found = {row.name: row.job for row in rows if row.name in names}
        rest = [name for name in names if name not in found]
        if rest:
            found.update(parse.named(self._qacct("-j", name_pattern(rest)), rest))
        return {names[name]: job for name, job in found.items()}

    def cancel(self, jobs: Collection[str]) -> None:
        """Delete by qdel, never by force: that would leave the processes on their nodes."""
        for chunk in chunks(jobs, CHUNK):
            self.settle([self.qdel, *chunk], _HARMLESS, out=True)

    def _queue(self) -> list[parse.Listed]:
        """Return all jobs of this user that are in the queue, by one call."""
        done = self.call([self.qstat, "-u", _user(), "-r", "-xml"], asks=True)
        if done.code != 0 or not done.out.rstrip().endswith("</job_info>"):
            raise SchedulerUnreachableError(f"qstat: {done.told}")
        return list(parse.listed(done.out))

    def _account(self, *arguments: str) -> dict[str, tuple[JobStatus, float]]:
        return parse.ended(self._qacct(*arguments), _user())

    def _qacct(self, *arguments: str) -> str:
        """Return what qacct prints; nothing where it knows nothing, or where there is none."""
        done = self.attempt([self.qacct, "-o", _user(), *arguments])
        return done.out if done is not None else ""


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


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
