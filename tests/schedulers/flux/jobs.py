"""A Flux job's environment and result, and `flux jobs`, which shows them."""

from __future__ import annotations

import os
import re
import shutil
import string
import time
from collections.abc import Mapping
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call
from . import ids
from .commands import Parser, Refused, own, unreachable

USAGE = (
    "flux-jobs [-h] [-a] [-A] [-c N] [-f STATE|RESULT] [--since WHEN] [-n] [--name JOB-NAME] "
    "[-o FORMAT] [--json] [JOBID ...]"
)
DEFAULT = "{id:>12} {username:<8} {name:<10.10} {status_abbrev:>2} {ntasks:>6} {nnodes:>6}"
HEADER = "       JOBID USER     NAME       ST NTASKS NNODES     TIME INFO\n"
STATES = {
    "pending": ("DEPEND", "PRIORITY", "SCHED"), "running": ("RUN", "CLEANUP"),
    "inactive": ("INACTIVE",), "active": ("DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP"),
}  # fmt: skip


def environment(cluster: Cluster, job: Job) -> dict[str, str]:
    """Return the environment of a job's command."""
    request = job.request
    text = ids.f58(ids.id_of(job.base), letter=ids.letter(request.environment))
    variables = {
        "FLUX_JOB_ID": text, "FLUX_JOB_ID_PATH": f"/{text}", "FLUX_JOB_SIZE": str(request.tasks),
        "FLUX_JOB_NNODES": str(request.nodes), "FLUX_TASK_RANK": "0", "FLUX_TASK_LOCAL_ID": "0",
        "FLUX_KVS_NAMESPACE": f"job-{ids.id_of(job.base)}", "FLUX_JOB_TMPDIR": cluster.folder,
        "FLUX_URI": f"local://{cluster.folder}/local-0",
    }  # fmt: skip
    return {**request.environment, **variables}


def log_path(job: Job, pattern: str) -> str:
    """Fill in the templates that the job's shell knows; others stay as they are."""
    job_id = ids.id_of(job.base)
    own_letter = ids.letter(job.request.environment)
    values = {
        "id": ids.f58(job_id, letter=own_letter), "id.f58": ids.f58(job_id, letter=own_letter),
        "id.f58plain": ids.f58(job_id), "id.dec": str(job_id), "id.hex": hex(job_id),
        "name": job.request.name,
    }  # fmt: skip
    return re.sub(r"\{\{(.*?)\}\}", lambda match: values.get(match[1], match[0]), pattern)


def exit_code(job: Job) -> int:
    """Return the code of a job that a submission waits for."""
    return _code(job) or 0


def result(job: Job) -> tuple[str, str, str]:
    """Return result, and type and note of the exception, of a job that has ended."""
    outcome, request = job.outcome, job.request
    if request.extra.get("alloc"):
        return "FAILED", "alloc", request.extra["alloc"]
    if outcome == model.CANCELLED and job.reason == model.NEVER:
        waited = request.extra.get("dependencies", "")
        return "FAILED", "dependency", f"dependency {waited} can never be satisfied"
    if outcome in (model.CANCELLED, model.REQUEUED):
        return "CANCELED", "cancel", request.extra.get("note", "")
    if outcome == model.TIMEOUT:
        return "TIMEOUT", "timeout", "resource allocation expired"
    if outcome == model.NODE:
        return "FAILED", "exec", f"lost contact with job shell on broker {_node(job)} (rank 1)"
    if outcome == model.PREEMPTED:
        return "FAILED", "preempt", "preempted"
    if job.status == model.MISSING_FOLDER:
        return "FAILED", "exec", "shell_init: No such file or directory"
    path, where = request.arguments[0], f"task 0 (host {_node(job)}): start failed"
    if _code(job) == 127 and shutil.which(path, path=request.environment.get("PATH")) is None:
        return "FAILED", "exec", f"{where}: {path}: No such file or directory"
    if _code(job) == 126 and not os.access(path, os.X_OK):
        return "FAILED", "exec", f"{where}: {path}: Permission denied"
    return "COMPLETED" if outcome == model.DONE else "FAILED", "", ""


def _node(job: Job) -> str:
    return job.nodes[0].name if job.nodes else ""


def _code(job: Job) -> int | None:
    if job.live:
        return None
    if not job.started:
        return -128 if job.outcome == model.CANCELLED and job.reason != model.NEVER else 1
    if job.status is None or job.status == model.MISSING_FOLDER:
        return 1
    if os.WIFEXITED(job.status):
        return os.WEXITSTATUS(job.status)
    return 128 + os.WTERMSIG(job.status)


def state(job: Job) -> str:
    if job.state == model.PENDING:
        waits = job.reason in (model.DEPENDENCY, model.BEGIN) or (job.held and job.dependencies)
        return "DEPEND" if waits else "SCHED"
    return {model.RUNNING: "RUN", model.COMPLETING: "CLEANUP"}.get(job.state, "INACTIVE")


def row(job: Job, letter: str) -> dict[str, Any]:
    """Return the fields of a job, as `flux jobs` formats them."""
    job_id, now = ids.id_of(job.base), state(job)
    how, kind, note = result(job) if now == "INACTIVE" else ("", "", "")
    code = _code(job)
    if not kind and "warning" in job.request.extra:
        kind, note, severity = "dependency", job.request.extra["warning"], "3"
    else:
        severity = "0" if kind else ""
    short = {"DEPEND": "D", "SCHED": "S", "RUN": "R", "CLEANUP": "C", "COMPLETED": "CD",
             "FAILED": "F", "CANCELED": "CA", "TIMEOUT": "TO"}  # fmt: skip
    return {
        "id": ids.f58(job_id, letter=letter), "id.f58": ids.f58(job_id, letter=letter),
        "id.f58plain": ids.f58(job_id), "id.dec": job_id, "id.hex": hex(job_id),
        "name": job.request.name, "username": job.request.user, "userid": job.request.uid,
        "state": now, "result": how, "status": how or now, "status_abbrev": short[how or now],
        "urgency": "0" if job.held else job.request.extra["urgency"],
        "returncode": "" if code is None else code, "success": how == "COMPLETED",
        "exception.occurred": bool(kind), "exception.severity": severity, "exception.type": kind,
        "exception.note": note, "t_submit": job.submitted, "t_run": job.started,
        "t_inactive": job.ended if now == "INACTIVE" else 0.0, "nodelist": _node(job),
        "ntasks": job.request.tasks, "nnodes": job.request.nodes, "duration": float(job.limit),
        "dependencies": job.request.extra.get("dependencies", "") if now == "DEPEND" else "",
        "queue": job.request.extra["queue"], "bank": job.request.extra["bank"],
        "cwd": job.request.directory,
    }  # fmt: skip


FIELDS = frozenset({
    "id", "id.f58", "id.f58plain", "id.dec", "id.hex", "name", "username", "userid", "state",
    "result", "status", "status_abbrev", "urgency", "returncode", "success",
    "exception.occurred", "exception.severity", "exception.type", "exception.note", "t_submit",
    "t_run", "t_inactive", "nodelist", "ntasks", "nnodes", "duration", "dependencies", "queue",
    "bank", "cwd",
})  # fmt: skip


class _Formatter(string.Formatter):
    """Takes dots for parts of a field's name."""

    def get_field(self, name: str, args: Any, values: Any) -> tuple[Any, str]:
        return values[name], name


def jobs(cluster: Cluster, call: Call, fault: Mapping[str, Any] | None) -> Answer:
    parser = Parser("flux-jobs", USAGE)
    for letter in "aAn":
        parser.add_argument(f"-{letter}", action="store_true")
    parser.add_argument("--no-header", dest="n", action="store_true")
    parser.add_argument("-c", "--count", type=int)
    parser.add_argument("-f", "--filter")
    for option in ("--since", "--name", "--user", "--sort"):
        parser.add_argument(option)
    parser.add_argument("-o", "--format", default=DEFAULT)
    parser.add_argument("JOBID", nargs="*")
    try:
        arguments = parser.parse_args(_joined(call.arguments[1:]))
        for word in arguments.JOBID:
            if ids.read(word) is None:
                parser.error(f"argument JOBID: invalid JobID value: '{word}'")
        if arguments.since is not None and float(arguments.since) > time.time():
            raise Refused(f"--since={arguments.since} appears to be in the future")
        letter = ids.letter(call.environment)
        fields = [name for _, name, _, _ in string.Formatter().parse(arguments.format) if name]
        for field in fields:
            if field not in FIELDS:
                raise Refused(f"Error in user format: Unknown format field: {field}")
    except Refused as error:
        return Answer(error.code, err=error.text if error.code == 2 else
                      f"flux-jobs: ERROR: {error.text}\n")  # fmt: skip
    answer = unreachable(cluster.settings, "jobs", fault)
    if answer is not None:
        return answer
    err, code = "", 0
    if arguments.JOBID:
        if (
            arguments.count is not None
            or arguments.since
            or arguments.name
            or arguments.filter
            or arguments.a
        ):
            err += "flux-jobs: WARNING: Filtering options ignored with jobid list\n"
        by_number = {ids.id_of(job.base): job for job in cluster.remembered()}
        chosen = [
            by_number[number] for word in arguments.JOBID if (number := ids.read(word)) in by_number
        ]
        unknown = [word for word in arguments.JOBID if ids.read(word) not in by_number]
        err += "".join(f"JobID {word} unknown\n" for word in unknown)
        code = 0 if chosen else 1
    else:
        state_filter = arguments.filter or (
            "inactive,active" if arguments.a or arguments.since else "active"
        )
        states = {
            name for word in state_filter.split(",") for name in STATES.get(word, (word.upper(),))
        }
        everyone = list(cluster.remembered()) if arguments.A else own(cluster, call)
        chosen = [
            job
            for job in reversed(everyone)
            if (state(job) in states or (not job.live and result(job)[0] in states))
            and (arguments.name is None or job.request.name == arguments.name)
            and (arguments.since is None or job.live or job.ended > float(arguments.since))
        ]
        count = 1000 if arguments.count is None else arguments.count
        if count and len(chosen) > count:
            chosen = chosen[:count]
            if not arguments.n:
                err += (
                    f"warning: output truncated at {count} jobs.\n"
                    "Use --count to increase returned results or use filters to alter results.\n"
                )
    lines = [_Formatter().vformat(arguments.format, (), row(job, letter)) for job in chosen]
    header = (
        "" if arguments.n else HEADER if arguments.format == DEFAULT else f"{arguments.format}\n"
    )
    return Answer(code, out=header + "".join(f"{line}\n" for line in lines), err=err)


def _joined(arguments: list[str]) -> list[str]:
    """Split short options written together; the last of them may take a value."""
    words = []
    for argument in arguments:
        match = re.fullmatch(r"-([aAn]+)([ocf]?)", argument)
        words += [*(f"-{each}" for each in match[1]), *([f"-{match[2]}"] if match[2] else [])] if (
            match
        ) else [argument]
    return words
