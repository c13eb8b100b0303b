"""Requests as `flux submit` and `flux bulksubmit` want them; pure. flux-submit(1), Flux 0.88."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from reflow.executors.base import JobRequest, Resources
from reflow.executors.options import refuse_path, user_options

SHORT = {
    "B": "bank", "c": "cores-per-task", "g": "gpus-per-task", "l": "label-io", "N": "nodes",
    "n": "ntasks", "o": "setopt", "q": "queue", "S": "setattr", "t": "time-limit",
    "u": "unbuffered", "v": "verbose", "x": "exclusive",
}  # fmt: skip
OURS = frozenset({
    "bcc", "begin-time", "cc", "cores", "cwd", "debug-emulate", "define", "dependency", "dry",
    "dry-run", "error", "help", "input", "job-name", "jps", "label-io", "list-plugins", "log",
    "log-stderr", "ntasks", "output", "progress", "quiet", "sep", "shuffle", "tasks-per-core",
    "tasks-per-node", "verbose", "wait", "wait-event", "watch",
})  # fmt: skip
"""Options that reflow sets itself, or that would change what is run or printed."""

# Flux's own input waits for ever for one who reads it, and with --input=/dev/null each job stays
# half a second after its end (Flux 0.88.0).
_RUN = 'exec "$0" </dev/null'
# flux-submit(1): a job of several nodes has a task on each, and the script is to run once. The
# others leave, and the allocation stays as long as one task runs.
_FIRST = f'test "$FLUX_TASK_RANK" = 0 || exit 0; {_RUN}'


def arguments(
    request: JobRequest, settings: Mapping[str, str | None], options: Mapping[str, str],
    each: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Return what `flux` is called with.

    `request.after` are ids of single jobs here, and `each`, where it is not empty, is for each
    position the id that it waits for ("" for none). An option is taken from the first that
    names it: the task's native options, what the task asks for, the executor's `options`, its
    other `settings`. `mem` is passed over: Flux has no option for it. Raises
    `SubmissionRefusedError` for an option that reflow sets itself, and for a log that would
    land elsewhere.
    """
    log = request.log.replace("{position}", "0")
    why = "a part in double braces, which Flux replaces in the names of logs"
    refuse_path(r"\{\{.*\}\}", "log", log, why)
    found = {"cores-per-task": "1", **{name: one for name, one in settings.items() if one}}
    found |= {**long(options), **asked(request.resources), **long(request.resources.native)}
    nodes = int(found["nodes"]) if found.get("nodes", "").isdecimal() else 1
    made = [
        f"--cwd={request.directory}",
        f"--ntasks={nodes}",  # without it, --cores-per-task would run the script on every core
        "--setopt=output.mode=append",
        *(["--setopt=exit-timeout=none"] if nodes > 1 else []),
        *(f"--{name}={value}" if value else f"--{name}" for name, value in found.items()),
        *(f"--dependency=afterany:{one}" for one in request.after),
        *([f"--begin-time=+{max(1, math.ceil(request.begin))}s"] if request.begin else []),
    ]
    command = ["/bin/sh", "-c", _FIRST if nodes > 1 else _RUN, request.script]
    if request.size > 1:
        return _bulk(request, made, command, each)
    return ["submit", *made, f"--output={log}", f"--job-name={job_name(request.tag)}", *command]


def _bulk(
    request: JobRequest, options: Sequence[str], command: Sequence[str], each: Sequence[str]
) -> list[str]:
    """Return the arguments that submit every position as a job of its own.

    ``flux submit --cc`` reads braces in all that it is given, and has no way to write one; what
    ``flux bulksubmit`` puts in for ``{1}``, ``{2}`` … stays as it is.
    """
    inputs: list[Sequence[str]] = [[str(position) for position in range(request.size)]]

    def put_in(values: Sequence[str]) -> str:
        inputs.append(values)
        return f"{{{len(inputs) - 1}}}"

    def literal(text: str) -> str:
        option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
        return text if not re.search("[{}]", text) else f"{option}{equals}{put_in([value])}"

    log = "{0}".join(literal(part) for part in request.log.split("{position}"))
    made = [*map(literal, options), f"--output={log}"]
    if each:  # a twin that is over: a moment that has passed
        waits = [f"afterany:{one}" if one else "begin-time:1" for one in each]
        made.append(f"--dependency={put_in(waits)}")
    # The position comes last, so that no rule of a user's takes it away.
    made += [f"--job-name={job_name(request.tag)}[{{0}}]", "--env=FLUX_JOB_CC={0}"]
    made += map(literal, command)
    linked = [word for values in inputs[1:] for word in (":::+", *values)]
    return ["bulksubmit", *made, ":::", *inputs[0], *linked]


def asked(wants: Resources) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    found = {
        "cores-per-task": str(wants.cpus) if wants.cpus != 1 else None,
        # 0 would be no limit, and 30 are 30 minutes.
        "time-limit": None if wants.time is None else f"{max(1, wants.time)}s",
        "gpus-per-task": str(wants.gpus) if wants.gpus else None,
        "nodes": str(wants.nodes) if wants.nodes != 1 else None,
        "queue": wants.queue,
        "bank": wants.account,
    }
    return {name: value for name, value in found.items() if value}


def job_name(tag: str) -> str:
    """Return a tag as a job name; that of position p of an array is ``<this>[p]``."""
    return re.sub(r"[^A-Za-z0-9_.+@=-]", "_", tag)


def long(options: Mapping[str, str]) -> dict[str, str]:
    """Return a user's own options by their long names; an empty value is a flag.

    >>> long({"B": "climate", "exclusive": "", "gpus_per_node": "4", "--urgency": "20"})
    {'bank': 'climate', 'exclusive': '', 'gpus-per-node': '4', 'urgency': '20'}
    """
    return user_options(options, "flux submit", reserved=OURS, short=SHORT, read=str)
