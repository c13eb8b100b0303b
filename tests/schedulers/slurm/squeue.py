"""squeue: what slurmctld knows of jobs."""

from __future__ import annotations

import pwd
import re
import time
from collections.abc import Callable
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import COMPLETING, RUNNING
from ..engine.server import Answer, Call
from . import getopt, ids, words
from .getopt import BadOption, parse
from .ids import Shown

SHORT = {
    "A": "account", "a": "all", "h": "noheader", "i": "iterate", "j": "jobs", "l": "long",
    "L": "licenses", "M": "clusters", "n": "name", "o": "format", "O": "Format",
    "p": "partition", "P": "priority", "q": "qos", "R": "reservation", "r": "array", "s": "steps",
    "S": "sort", "t": "states", "u": "user", "v": "verbose", "V": "version", "w": "nodelist",
}  # fmt: skip
LONG = getopt.options(
    yes=(
        "account iterate jobs steps licenses clusters name format Format partition qos "
        "reservation sort states user users nodelist cluster"
    ),
    no=(
        "all noheader long priority array array-unique verbose version federation hide help "
        "local sibling start usage me noconvert json yaml"
    ),
)
DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"


def _elapsed(row: Shown) -> float:
    job = row.job
    return (job.ended or time.time()) - job.started if job.started else 0.0


def _end(row: Shown) -> str:
    job = row.job
    if job.ended:
        return words.moment(job.ended)
    start = job.started or job.begin
    return words.moment(start + job.limit if start else 0, "N/A")


def _start(row: Shown) -> str:
    job = row.job
    cancelled_early = job.outcome == "cancelled" and job.cancelled_by is not None
    when = job.started or (job.ended if cancelled_early else job.begin)
    return words.moment(when, "N/A")


def _where(row: Shown) -> str:
    job = row.job
    if job.state in (RUNNING, COMPLETING) or job.nodes:
        return words.hosts([node.name for node in job.nodes])
    return f"({words.REASONS[job.reason]})"


def _nodes(row: Shown) -> str:
    return words.hosts([node.name for node in row.job.nodes])


FIELDS: dict[str, tuple[str, Callable[[Shown], object]]] = {
    "i": ("JOBID", lambda r: r.id), "A": ("JOBID", lambda r: r.job.own),
    "F": ("ARRAY_JOB_ID", lambda r: r.job.base),
    "K": ("ARRAY_TASK_ID", lambda r: r.indices or "N/A"),
    "T": ("STATE", lambda r: words.state(r.job)[0]), "t": ("ST", lambda r: words.state(r.job)[1]),
    "r": ("REASON", lambda r: words.REASONS[r.job.reason]),
    "E": ("DEPENDENCY", lambda r: words.dependency(r.job)),
    "j": ("NAME", lambda r: r.job.request.name), "u": ("USER", lambda r: r.job.request.user),
    "V": ("SUBMIT_TIME", lambda r: words.moment(r.job.submitted)),
    "S": ("START_TIME", _start), "e": ("END_TIME", _end), "N": ("NODELIST", _nodes),
    "P": ("PARTITION", lambda r: r.job.request.partition),
    "M": ("TIME", lambda r: words.short_span(_elapsed(r))),
    "D": ("NODES", lambda r: r.job.request.nodes),
    "k": ("COMMENT", lambda r: r.job.request.comment or "(null)"),
    "l": ("TIME_LIMIT", lambda r: words.short_span(r.job.limit)),
    "L": ("TIME_LEFT", lambda r: words.short_span(max(0, r.job.limit - _elapsed(r)))),
    "C": ("CPUS", lambda r: r.job.request.cpus * r.job.request.tasks),
    "a": ("ACCOUNT", lambda r: r.job.request.account), "q": ("QOS", lambda r: "normal"),
    "Z": ("WORK_DIR", lambda r: r.job.request.directory), "R": ("NODELIST(REASON)", _where),
    "m": ("MIN_MEMORY", lambda r: words.size(r.job.memory)),
    "o": ("COMMAND", lambda r: r.job.request.extra["command"] or "(null)"),
    "B": ("EXEC_HOST", lambda r: r.job.nodes[0].name if r.job.nodes else "n/a"),
    "U": ("UID", lambda r: r.job.request.uid), "g": ("GROUP", lambda r: r.job.request.user),
    "G": ("GROUP", lambda r: r.job.request.gid), "Q": ("PRIORITY", lambda r: _priority(r)),
    "p": ("PRIORITY", lambda r: _priority(r) / 2**32), "y": ("NICE", lambda r: 0),
    "f": ("FEATURES", lambda r: "(null)"), "h": ("OVER_SUBSCRIBE", lambda r: "OK"),
    "v": ("RESERVATION", lambda r: "(null)"), "b": ("TRES_PER_NODE", lambda r: "N/A"),
}  # fmt: skip
LONG_FIELDS = {
    "jobid": "A", "jobarrayid": "i", "arrayjobid": "F", "arraytaskid": "K", "state": "T",
    "statecompact": "t", "reason": "r", "dependency": "E", "name": "j", "username": "u",
    "submittime": "V", "starttime": "S", "endtime": "e", "nodelist": "N", "partition": "P",
    "timeused": "M", "numnodes": "D", "comment": "k", "timelimit": "l", "account": "a",
    "reasonlist": "R", "workdir": "Z", "numcpus": "C", "qos": "q",
}  # fmt: skip


def _priority(row: Shown) -> int:
    return 0 if row.job.held else 4294901760 - row.job.base


def squeue(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        options, operands = parse("squeue", call.arguments, SHORT, LONG, anywhere=True)
    except BadOption as error:
        return Answer(1, err=f'{error}\nTry "squeue --help" for more information\n')
    flags = dict(options)
    if "version" in flags:
        return Answer(out="slurm-wlm 22.05.8\n")
    if operands:
        return Answer(1, err=f"squeue: error: Unrecognized option: {operands[0]}\n")
    if "json" in flags or "yaml" in flags:
        return Answer(1, err="squeue: error: the simulator has no --json\n")
    if "format" in flags and "Format" in flags:
        return Answer(1, err="squeue: error: -O (--Format) is incompatible with -o (--format)\n")
    states = {"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"}
    if flags.get("states"):
        parsed_states = words.states(flags["states"] or "")
        if isinstance(parsed_states, str):
            return Answer(
                1,
                err=f"squeue: error: Invalid job state specified: {parsed_states}\n"
                f"squeue: error: Valid job states include: {words.VALID_STATES}\n\n",
            )
        states = parsed_states
    selected: list[tuple[int, list[int] | None]] = []
    for word in (flags.get("jobs") or "").split(","):
        if word:
            read = ids.parse(word)
            if read is None:
                return Answer(1, err=f"squeue: error: Invalid job id: {word}\n")
            selected.append(read)
    settings = cluster.settings
    if settings.controller == "down":
        return Answer(
            1, err=f"slurm_load_jobs error: {words.CONTACT}\n", pause=settings.message_timeout
        )
    if fault:
        text = fault.get("text", words.TIMED_OUT)
        pause = 0.0 if fault["how"] == "refuse" else settings.message_timeout
        return Answer(1, err=f"slurm_load_jobs error: {text}\n", pause=pause)
    # A single unknown id is an error; among other ids it is ignored.
    if len(selected) == 1 and not ids.chosen(cluster, selected[0][0], None):
        return Answer(1, err="slurm_load_jobs error: Invalid job id specified\n")
    complaint = ""
    users = None
    for option in ("user", "users"):
        if flags.get(option):
            users = set()
            for word in (flags[option] or "").split(","):
                try:
                    users.add(
                        pwd.getpwuid(int(word)).pw_name
                        if word.isdigit()
                        else pwd.getpwnam(word).pw_name
                    )
                except KeyError:
                    complaint = f"squeue: error: Invalid user: {word}\n\n"
    if "me" in flags:
        users = {pwd.getpwuid(call.uid).pw_name}
    if selected:
        jobs = {
            id(job): job for number, which in selected for job in ids.chosen(cluster, number, which)
        }.values()
        split = "array" in flags or any(which and len(which) == 1 for _, which in selected)
    else:
        jobs, split = list(cluster.remembered()), "array" in flags
    names = _listed(flags.get("name"))
    partitions, accounts = _listed(flags.get("partition")), _listed(flags.get("account"))
    shown = [
        row
        for row in ids.rows(jobs, split=split)
        if words.state(row.job)[0] in states
        and (names is None or row.job.request.name in names)
        and (users is None or row.job.request.user in users)
        and (partitions is None or row.job.request.partition in partitions)
        and (accounts is None or row.job.request.account in accounts)
    ]
    shown.sort(
        key=lambda row: (row.job.request.partition, words.state(row.job)[0], -_priority(row))
    )
    if flags.get("Format"):
        return _long(flags["Format"] or "", shown, "noheader" in flags)
    form = flags.get("format") or DEFAULT
    lines = [] if "noheader" in flags else [_line(form, None)]
    lines += [_line(form, row) for row in shown]
    return Answer(out="".join(f"{line}\n" for line in lines), err=complaint)


def _listed(text: str | None) -> set[str] | None:
    return set(text.split(",")) if text else None


def _line(form: str, row: Shown | None) -> str:
    def expand(match: re.Match[str]) -> str:
        right, width, letter = match.groups()
        if letter not in FIELDS:
            return match.group()
        title, value = FIELDS[letter]
        text = title if row is None else str(value(row))
        return _fit(text, int(width or 0), bool(right))

    return re.sub(r"%(\.?)(\d*)([A-Za-z])", expand, form.replace("%%", ""))


def _fit(text: str, width: int, right: bool) -> str:
    if not width:
        return text
    return text[:width].rjust(width) if right else text[:width].ljust(width)


def _long(form: str, shown: list[Shown], no_header: bool) -> Answer:
    columns = []
    for part in form.split(","):
        name, _, width = part.partition(":")
        if name.lower() not in LONG_FIELDS:
            return Answer(err=f"squeue: error: Invalid job format specification: {name}\n")
        columns.append((LONG_FIELDS[name.lower()], int(width.strip(".+") or 20)))
    lines = (
        []
        if no_header
        else ["".join(FIELDS[key][0][:width].ljust(width) for key, width in columns)]
    )
    lines += [
        "".join(str(FIELDS[key][1](row))[:width].ljust(width) for key, width in columns)
        for row in shown
    ]
    return Answer(out="".join(f"{line}\n" for line in lines))
