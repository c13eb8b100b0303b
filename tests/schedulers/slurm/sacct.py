"""sacct: what has been reported to accounting."""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Row
from ..engine.server import Answer, Call
from . import getopt, ids, words
from .getopt import BadOption, parse

SHORT = {
    "a": "allusers", "A": "accounts", "b": "brief", "B": "batch-script", "c": "completion",
    "D": "duplicates", "e": "helpformat", "E": "endtime", "f": "file", "g": "gid", "h": "help",
    "i": "nnodes", "I": "ncpus", "j": "jobs", "k": "timelimit-min", "K": "timelimit-max",
    "l": "long", "L": "allclusters", "M": "clusters", "n": "noheader", "N": "nodelist",
    "o": "format", "p": "parsable", "P": "parsable2", "q": "qos", "r": "partition", "s": "state",
    "S": "starttime", "T": "truncate", "u": "user", "U": "usage", "v": "verbose", "V": "version",
    "W": "wckeys", "x": "associations", "X": "allocations",
}  # fmt: skip
LONG = getopt.options(
    yes=(
        "accounts endtime file gid nnodes ncpus jobs timelimit-min timelimit-max clusters "
        "nodelist format qos partition state starttime user wckeys associations name "
        "delimiter constraints flags reason uid units federation cluster"
    ),
    no=(
        "allusers brief batch-script completion duplicates helpformat help long allclusters "
        "noheader parsable parsable2 truncate usage verbose version allocations local "
        "noconvert env-vars json yaml array whole-hetjob"
    ),
)
DEFAULT = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"
REFUSED = (
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
    "host:127.0.0.1:26819: Connection refused\n"
    "sacct: error: Sending PersistInit msg: Connection refused\n"
    "sacct: error: Problem talking to the database: Connection refused\n"
)
Report = dict[str, Any]


class Line:
    """A line of accounting: an incarnation of a job, or its batch step."""

    def __init__(self, row: Row, report: Report, *, batch: bool = False) -> None:
        self.row, self.report, self.batch = row, report, batch
        self.job, self.bare = row.job, False

    @property
    def base_id(self) -> str:
        job = self.job
        if job.index is None or self.bare:
            return str(job.base)
        if self.report["group"]:
            positions = [member.index or 0 for member in self.members() if not member.number]
            return f"{job.base}_[{words.indices(positions, job.request.throttle)}]"
        return f"{job.base}_{job.index}"

    def members(self) -> list[model.Job]:
        return [sibling for sibling in self._siblings if sibling.row is self.row]

    _siblings: list[model.Job] = []  # noqa: RUF012 (set by `sacct` for arrays)

    @property
    def state(self) -> str:
        state = self.report["outcome"] or self.report["state"]
        if state == model.COMPLETING:
            state = model.RUNNING
        name = words.STATES[state][0]
        if self.batch:
            if state in (model.TIMEOUT, model.REQUEUED, model.PREEMPTED, model.NODE):
                return "CANCELLED"
            status = self.report["status"]
            if state == model.FAILED and status is not None and (status < 0 or status & 127):
                return "CANCELLED"
            return name
        by = self.report["by"]
        return f"{name} by {by}" if name == "CANCELLED" and by is not None else name

    @property
    def code(self) -> str:
        outcome = self.report["outcome"]
        if not self.batch or outcome in (model.DONE, model.FAILED, model.MEMORY, ""):
            return words.exit_code(self.report["status"], outcome)
        return words.exit_code(self.report["status"], model.FAILED)

    @property
    def name(self) -> str:
        return "allocation" if self.bare else self.job.request.name

    @property
    def reason(self) -> str:
        """Why the job waited; accounting does not keep here how it ended."""
        reason = self.report["reason"]
        return words.REASONS[model.DEPENDENCY if reason == model.NEVER else reason]

    @property
    def elapsed(self) -> float:
        start = self.report["started"]
        return (self.report["ended"] or time.time()) - start if start else 0.0

    @property
    def start(self) -> str:
        ended_early = self.report["ended"] and not self.report["started"]
        return words.moment(self.report["started"], "None" if ended_early else "Unknown")


def _cpus(line: Line) -> object:
    return line.job.request.cpus * line.job.request.tasks


FIELDS: dict[str, tuple[str, int, Callable[[Line], object]]] = {
    # name: title, width (negative: to the left), value; of a batch step the rest is empty
    "jobid": ("JobID", -12, lambda r: r.base_id + (".batch" if r.batch else "")),
    "jobidraw": ("JobIDRaw", -12, lambda r: f"{r.job.own}{'.batch' if r.batch else ''}"),
    "jobname": ("JobName", 10, lambda r: "batch" if r.batch else r.name),
    "state": ("State", 10, lambda r: r.state),
    "exitcode": ("ExitCode", 8, lambda r: r.code),
    "derivedexitcode": ("DerivedExitCode", 15, lambda r: "" if r.batch else "0:0"),
    "reason": ("Reason", 22, lambda r: "" if r.batch else r.reason),
    "submit": ("Submit", 19,
               lambda r: words.moment(r.report["started" if r.batch else "submitted"])),
    "start": ("Start", 19, lambda r: r.start),
    "end": ("End", 19, lambda r: words.moment(r.report["ended"])),
    "elapsed": ("Elapsed", 10, lambda r: words.span(r.elapsed)),
    "timelimit": ("Timelimit", 10, lambda r: "" if r.batch else words.span(r.report["limit"])),
    "nodelist": ("NodeList", 15, lambda r: words.hosts(r.report["nodes"]) or "None assigned"),
    "maxrss": ("MaxRSS", 10,
               lambda r: f"{r.report['peak']}K" if r.batch and r.report["peak"] else ""),
    "reqmem": ("ReqMem", 10, lambda r: "" if r.batch else words.size(r.job.memory)),
    "alloccpus": ("AllocCPUS", 10, _cpus), "ncpus": ("NCPUS", 10, _cpus),
    "comment": ("Comment", 14, lambda r: "" if r.batch else r.job.request.comment),
    "account": ("Account", 10, lambda r: r.job.request.account),
    "partition": ("Partition", 10, lambda r: "" if r.batch else r.job.request.partition),
    "user": ("User", 9, lambda r: "" if r.batch else r.job.request.user),
    "uid": ("UID", 6, lambda r: "" if r.batch else r.job.request.uid),
    "eligible": ("Eligible", 19, lambda r: words.moment(r.report["eligible"])),
    "nnodes": ("NNodes", 8, lambda r: r.job.request.nodes),
    "qos": ("QOS", 10, lambda r: "" if r.batch else "normal"),
    "cluster": ("Cluster", 10, lambda r: "reflow"),
    "workdir": ("WorkDir", 20, lambda r: "" if r.batch else r.job.request.directory),
    "elapsedraw": ("ElapsedRaw", 10, lambda r: int(r.elapsed)),
}  # fmt: skip


def sacct(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        options, _ = parse("sacct", call.arguments, SHORT, LONG, anywhere=True)
    except BadOption as error:
        return Answer(1, err=f"{error}\n")
    flags = dict(options)
    if "version" in flags:
        return Answer(out="slurm-wlm 22.05.8\n")
    columns = []
    for part in (flags.get("format") or DEFAULT).split(","):
        name, _, width = part.strip().partition("%")
        if name.lower() not in FIELDS:
            return Answer(1, err=f'sacct: error: Invalid field requested: "{name}"\n')
        title, usual, value = FIELDS[name.lower()]
        columns.append((title, int(width) if width else usual, value))
    since = 0.0
    if flags.get("starttime"):
        read = words.point(flags["starttime"] or "")
        if read is None:
            return Answer(1, err=f"Invalid time specification (pos=0): {flags['starttime']}\n")
        since = read
    selected: list[tuple[int, list[int] | None]] | None = None
    if flags.get("jobs"):
        selected = []
        for word in (flags["jobs"] or "").split(","):
            if word:
                parsed = ids.parse(word)
                if parsed is None:
                    return Answer(1, err=f"sacct: fatal: Bad job/step specified: {word}\n")
                selected.append(parsed)
    states = None
    if flags.get("state"):
        parsed_states = words.states(flags["state"] or "")
        if isinstance(parsed_states, str):
            return Answer(1, err=f"sacct: fatal: unrecognized job state value '{parsed_states}'\n")
        states = parsed_states
    settings = cluster.settings
    if settings.accounting == "off":
        return Answer(1, err="Slurm accounting storage is disabled\n")
    if settings.accounting == "down":
        return Answer(1, err=REFUSED)
    if fault:
        pause = 0.0 if fault["how"] == "refuse" else settings.message_timeout
        return Answer(1, err=f"sacct: error: {fault.get('text', words.TIMED_OUT)}\n", pause=pause)
    names = set((flags.get("name") or "").split(",")) - {""}
    users = set((flags.get("user") or "").split(",")) - {""}
    own = pwd.getpwuid(call.uid).pw_name
    lines: list[Line] = []
    latest: dict[tuple[int, int | None], Line] = {}
    for row, report in cluster.accounted():
        line = Line(row, report)
        job = row.job
        line._siblings = cluster.jobs.get(job.base, [job])
        if report["started"] and time.time() - job.submitted < settings.array_lag:
            # At first accounting knows neither names nor positions.
            if job.index is not None and job.number != job.base:
                continue
            line.bare = True
        if selected is not None:
            if not any(_named(line, number, which) for number, which in selected):
                continue
        elif (report["ended"] and report["ended"] < since) or (
            not report["eligible"] and not report["started"]
        ):
            continue
        if names and line.name not in names:
            continue
        if (users and job.request.user not in users) or (
            not users and call.uid and job.request.user != own
        ):
            continue
        if states is not None and line.state.split()[0] not in states:
            continue
        lines.append(line)
        latest[job.base, job.index] = line
    if "duplicates" not in flags:
        lines = [line for line in lines if latest[line.job.base, line.job.index] is line]
    lines.sort(key=lambda line: (line.job.base, line.job.index or 0))
    if "allocations" not in flags:
        lines = [
            shown
            for line in lines
            for shown in (
                [line, Line(line.row, line.report, batch=True)]
                if line.report["started"]
                else [line]
            )
        ]
    return Answer(out=_written(lines, columns, flags))


def _named(line: Line, number: int, which: list[int] | None) -> bool:
    job = line.job
    if number != job.base and number != job.number:
        return False
    if which is None or number != job.base:
        return True
    members = line.members() if line.report["group"] else [job]
    return any(member.index in which for member in members)


def _written(
    lines: list[Line], columns: list[tuple[str, int, Callable[[Line], object]]],
    flags: dict[str, str | None],
) -> str:  # fmt: skip
    table = [[str(value(line)) for _, _, value in columns] for line in lines]
    if "parsable" in flags or "parsable2" in flags:
        between = flags.get("delimiter") or "|"
        end = between if "parsable2" not in flags else ""
        head = [] if "noheader" in flags else [[title for title, _, _ in columns]]
        return "".join(f"{between.join(row)}{end}\n" for row in [*head, *table])
    text = ""
    if "noheader" not in flags:
        titles = [_fit(title, width) for title, width, _ in columns]
        text = "".join(f"{title} " for title in titles) + "\n"
        text += "".join(f"{'-' * abs(width)} " for _, width, _ in columns) + "\n"
    for row in table:
        text += "".join(f"{_fit(value, columns[at][1])} " for at, value in enumerate(row)) + "\n"
    return text


def _fit(text: str, width: int) -> str:
    if len(text) > abs(width):
        text = text[: abs(width) - 1] + "+"
    return text.ljust(-width) if width < 0 else text.rjust(width)
