"""qacct: the records of ended jobs."""

from __future__ import annotations

import fnmatch
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call
from . import words

NAMES = {9: "Killed", 15: "Terminated", 10: "User defined signal 1", 11: "Segmentation fault"}


def qacct(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    flags: dict[str, str] = {}
    pending = list(call.arguments)
    while pending:
        word = pending.pop(0)
        if word == "-help":
            return Answer(out=words.VERSION + "usage: qacct [options]\n")
        if word not in ("-j", "-o", "-d", "-b", "-e", "-t"):
            return Answer(1, err=f'error: invalid option argument "{word}"\n')
        flags[word[1:]] = pending.pop(0) if pending and not pending[0].startswith("-") else ""
    if fault:
        return Answer(1, err=f"{fault.get('text', 'error: no')}\n")
    if cluster.settings.accounting != "up":
        path = "/var/lib/gridengine/default/common/accounting"
        return Answer(1, err=f"error: error opening {path}: No such file or directory\n")
    since = 0.0
    if flags.get("d"):
        since = time.time() - 86400 * float(flags["d"])
    elif flags.get("b"):
        since = words.moment(flags["b"]) or 0.0
    tasks = words.span(flags["t"]) if flags.get("t") else None
    target = flags.get("j", "")
    number = target and target[0].isdigit()
    text = []
    for job, report in records(cluster):
        request = job.request
        if number and str(job.base) != _digits(target):
            continue
        if not number and target and not fnmatch.fnmatchcase(request.name, target):
            continue
        if flags.get("o") and request.user != flags["o"]:
            continue
        if tasks is not None and job.index not in tasks:
            continue
        started = 0.0 if report["status"] == model.MISSING_FOLDER else float(report["started"])
        if since and started < since:
            continue
        text.append("=" * 62 + "\n" + _record(job, report))
    if not text and target:
        what = f"id {_digits(target)}" if number else f"name {target}"
        return Answer(1, err=f"error: job {what} not found\n")
    return Answer(out="".join(text))


def _digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def records(cluster: Cluster) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield each start that has ended, in the order of their ends; no other leaves a record."""
    ended = []
    due = time.time() - cluster.settings.accounting_lag
    for row in cluster.rows:
        ends = [
            (when, report)
            for when, report in row.reports
            if report["state"] == model.ENDED and report["started"] and not report["group"]
        ]
        if ends and ends[0][0] <= due:
            ended.append((ends[0][0], row.job, ends[0][1]))
    ended.sort(key=lambda entry: entry[0])
    for _, job, report in ended:
        yield job, report


def _record(job: Job, report: dict[str, Any]) -> str:
    request = job.request
    killed, code = words.exit_status(report["status"])
    failed, outcome = "0", report["outcome"]
    if report["status"] == model.MISSING_FOLDER:
        failed = "26  : opening input/output file"
    elif outcome == model.TIMEOUT:
        failed = "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"
    elif outcome == model.NODE:
        failed, code = "21  : in recognizing job", 0
    elif killed:
        failed = "100 : assumedly after job"
    elif code == 99:
        failed = "25  : rescheduling"
    elif code == 100:
        failed = "30  : rescheduling on application error"
    name = f" ({_signal(code - 128)})" if code > 128 else ""
    none = report["status"] == model.MISSING_FOLDER
    category = " ".join(
        filter(None, [request.extra["l"] and f"-l {request.extra['l']}",
                      request.extra["pe"] and f"-pe {request.extra['pe']} {request.cpus}"])
    )  # fmt: skip
    fields = {
        "qname": report["nodes"][0], "hostname": words.HOST, "group": request.user,
        "owner": request.user, "project": "NONE", "department": "defaultdepartment",
        "jobname": request.name, "jobnumber": job.base,
        "taskid": "undefined" if job.index is None else job.index,
        "account": request.extra["account"], "priority": 0,
        "qsub_time": words.long_time(report["submitted"]),
        "start_time": words.long_time(0 if none else report["started"]),
        "end_time": words.long_time(0 if none else report["ended"]),
        "granted_pe": request.extra["pe"] or "NONE", "slots": request.cpus, "failed": failed,
        "exit_status": f"{code:<19}{name}" if name else code,
        "ru_wallclock": f"{_wallclock(report):.0f}s", "ru_utime": "0.010s", "ru_stime": "0.000s",
        "cpu": "0.010s", "mem": "0.000Bs", "io": "0.000B", "iow": "0.000s",
        "maxvmem": f"{report['peak']}.000KB", "arid": "undefined", "ar_sub_time": "undefined",
        "category": category or "NONE",
    }  # fmt: skip
    return "".join(f"{title:<12} {value!s:<20}\n" for title, value in fields.items())


def _wallclock(report: dict[str, Any]) -> float:
    # The engine's clock runs faster than the wall clock.
    passed = float(report["ended"]) - float(report["started"])
    return max(passed, report["limit"] + 1) if report["outcome"] == model.TIMEOUT else passed


def _signal(number: int) -> str:
    return NAMES.get(number) or (signal.strsignal(number) or os.strerror(0))
