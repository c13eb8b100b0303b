"""qstat: what is in the queue, as a table, as XML, or one job at length."""

from __future__ import annotations

import fnmatch
import pwd
import time
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import PENDING, Job
from ..engine.server import Answer, Call
from . import words

ALONE = {"xml", "r", "f", "ext", "pri", "t", "help", "ne"}
XSD = (
    "http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd"
)
HEADER = (
    "job-ID  prior   name       user         state submit/start at     queue"
    "                          slots ja-task-ID \n" + "-" * 113 + "\n"
)


@dataclass(slots=True)
class Row:
    """One line: a job, a task that runs, or the tasks of an array that wait alike."""

    jobs: list[Job]

    @property
    def job(self) -> Job:
        return self.jobs[0]

    @property
    def tasks(self) -> str:
        if self.job.index is None:
            return ""
        return words.task_list(job.index or 0 for job in self.jobs)


def qstat(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    flags: dict[str, str] = {}
    pending = list(call.arguments)
    while pending:
        word = pending.pop(0)
        name = word[1:]
        if word.startswith("-") and name in ALONE:
            flags[name] = ""
        elif word.startswith("-") and name in ("u", "s", "j", "g", "q") and pending:
            flags[name] = pending.pop(0)
        else:
            return Answer(1, err=f'error: ERROR! invalid option argument "{word}"\n')
    if "help" in flags:
        return Answer(out=words.VERSION + "usage: qstat [options]\n")
    own = pwd.getpwuid(call.uid).pw_name
    if "j" in flags:
        return _details(cluster, flags["j"], own, xml="xml" in flags)
    users = flags.get("u", own).split(",")
    jobs = [
        job
        for jobs in list(cluster.jobs.values())
        for job in jobs
        if any(fnmatch.fnmatchcase(job.request.user, pattern) for pattern in users)
    ]
    rows = _rows(jobs, flags.get("s", "prs"), apart=flags.get("g") == "d")
    if "xml" in flags:
        return Answer(out=_xml(cluster, rows, at_length="r" in flags))
    if not rows:
        return Answer()
    return Answer(out=HEADER + "".join(map(_line, rows)))


def _rows(jobs: Iterable[Job], states: str, *, apart: bool) -> list[Row]:
    running, waiting, ended = [], dict[tuple[int, str], Row](), dict[int, Row]()
    holds = {"hu": "held", "hj": "any", "hd": "each", "h": ""}
    for job in jobs:
        if not job.live:
            if "z" in states:
                ended.setdefault(job.base, Row([])).jobs.append(job)
        elif job.state != PENDING:
            if "r" in states and not states.startswith("h"):
                running.append(Row([job]))
        elif states in holds:
            kinds = [dependency.kind for dependency in job.dependencies] + (
                ["held"] if job.held else []
            )
            if kinds and (holds[states] in kinds or not holds[states]):
                waiting.setdefault((job.base, words.state(job)), Row([])).jobs.append(job)
        elif "p" in states:
            key = (job.base, f"{words.state(job)}{job.index if apart else ''}")
            waiting.setdefault(key, Row([])).jobs.append(job)
    return [*running, *waiting.values(), *list(ended.values())[-100:]]


def _line(row: Row) -> str:
    job, request = row.job, row.job.request
    when = time.strftime("%m/%d/%Y %H:%M:%S", time.localtime(job.started or job.submitted))
    prior = "0.00000" if words.state(job).startswith("h") else "0.50000"
    return (
        f"{job.base:>7} {prior} {request.name[:10]:<10} {request.user[:12]:<12} "
        f"{words.state(job):<5} {when} {words.instance(job)[:30]:<30} {request.cpus:>5} "
        f"{row.tasks}\n"
    )


def _xml(cluster: Cluster, rows: list[Row], *, at_length: bool) -> str:
    running = [row for row in rows if row.job.live and row.job.state != PENDING]
    others = [row for row in rows if row not in running]
    return (
        f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"{XSD}\">\n  <queue_info>\n"
        + "".join(_entry(cluster, row, at_length) for row in running)
        + "  </queue_info>\n  <job_info>\n"
        + "".join(_entry(cluster, row, at_length) for row in others)
        + "  </job_info>\n</job_info>\n"
    )


def _entry(cluster: Cluster, row: Row, at_length: bool) -> str:
    job, request, letters = row.job, row.job.request, words.state(row.job)
    runs = job.live and job.state != PENDING
    kind = "running" if runs else "pending" if job.live else "zombie"
    fields = [
        ("JB_job_number", str(job.base)),
        ("JAT_prio", "0.00000" if letters.startswith("h") else "0.50000"),
        ("JB_name", request.name),
        ("JB_owner", request.user),
        ("state", letters),
        ("JAT_start_time", words.iso(job.started)) if runs
        else ("JB_submission_time", words.iso(job.submitted)),
        ("queue_name", words.instance(job) if runs else ""),
        ("slots", str(request.cpus)),
    ]  # fmt: skip
    if row.tasks:
        fields.append(("tasks", row.tasks))
    if at_length:
        fields.append(("full_job_name", request.name))
        for kind_of, title in (("any", ""), ("each", "ad_")):
            predecessors = [
                dependency.job for dependency in request.dependencies if dependency.kind == kind_of
            ]
            unfinished = [
                predecessor
                for predecessor in predecessors
                if any(other.live for other in cluster.find(predecessor))
            ]
            fields += [
                (f"{title}predecessor_jobs_req", str(predecessor)) for predecessor in predecessors
            ]
            fields += [
                (f"{title}predecessor_jobs", str(predecessor))
                for predecessor in unfinished
                if kind == "pending"
            ]
        fields.append(("binding", "NONE"))
    lines = "".join(f"      <{name}>{escape(value)}</{name}>\n" for name, value in fields)
    return f'    <job_list state="{kind}">\n{lines}    </job_list>\n'


def _details(cluster: Cluster, flags: str, own: str, *, xml: bool) -> Answer:
    groups: list[list[Job]] = []
    unknown = []
    for word in flags.split(","):
        jobs, _ = words.chosen(cluster, word, own)
        if not jobs:
            unknown.append(word)
        for base in sorted({job.base for job in jobs}):
            groups.append([job for job in jobs if job.base == base])
    if xml:
        names = "".join(f"    <ST_name>{name}</ST_name>\n" for name in unknown)
        return Answer(out=f"<?xml version='1.0'?>\n<unknown_jobs >\n{names}</unknown_jobs>\n")
    # If some ids are known, the unknown ones are ignored.
    if not groups:
        lines = "".join(f"{name}\n" for name in unknown)
        return Answer(1, err=f"Following jobs do not exist: \n{lines}")
    return Answer(out="".join("=" * 62 + "\n" + _at_length(jobs) for jobs in groups))


def _at_length(jobs: list[Job]) -> str:
    job, request = jobs[0], jobs[0].request
    fields = [
        ("job_number", str(job.base)),
        ("exec_file", f"job_scripts/{job.base}"),
        ("submission_time", words.long_time(job.submitted)),
        ("owner", request.user),
        ("uid", str(request.uid)),
        ("sge_o_workdir", request.extra["submit"]),
        ("account", request.extra["account"]),
        ("cwd", request.directory),
        ("job_name", request.name),
        ("stdout_path_list", f"NONE:NONE:{request.output}"),
    ]
    if request.extra["l"]:
        fields.append(("hard resource_list", request.extra["l"]))
    predecessors = ",".join(
        str(dependency.job) for dependency in request.dependencies if dependency.kind == "any"
    )
    if predecessors:
        fields.append(("jid_predecessor_list (req)", predecessors))
    if request.indices:
        fields.append(("job-array tasks", words.task_list(request.indices)))
        if request.extra["tc"]:
            fields.append(("maximum concurrency", request.extra["tc"]))
    for failed in jobs:
        if failed.error:
            fields.append((f"error reason {failed.index or 1:>4}", f"     {failed.error}"))
    if any(job.error for job in jobs):
        fields.append(("scheduling info", "Job is in error state"))
    return "".join(f"{name + ':':<28}{value}\n" for name, value in fields)
