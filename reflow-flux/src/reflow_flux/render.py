"""Requests as `flux submit` and `flux bulksubmit` want them; pure. flux-submit(1), Flux 0.88."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from reflow.executors import options
from reflow.executors.base import JobRequest, Resources
from reflow.executors.options import job_name

if TYPE_CHECKING:
    from .executor import FluxExecutor

SHORT = {
    "B": "bank", "c": "cores-per-task", "g": "gpus-per-task", "l": "label-io", "N": "nodes",
    "n": "ntasks", "o": "setopt", "q": "queue", "S": "setattr", "t": "time-limit",
    "u": "unbuffered", "v": "verbose", "x": "exclusive",
}  # fmt: skip
RESERVED = frozenset({
    "bcc", "begin-time", "cc", "cores", "cwd", "debug-emulate", "define", "dependency", "dry",
    "dry-run", "error", "help", "input", "job-name", "jps", "label-io", "list-plugins", "log",
    "log-stderr", "ntasks", "output", "progress", "quiet", "sep", "shuffle", "tasks-per-core",
    "tasks-per-node", "verbose", "wait", "wait-event", "watch",
})  # fmt: skip
"""Options that reflow sets itself, or that would change what is run or printed."""

native = partial(
    options.user_options, command="flux submit", reserved=RESERVED, short=SHORT, read=str
)
"""Returns a user's own options by their long names; an empty value is a flag."""

# Flux's own input waits for ever for one who reads it, and with --input=/dev/null each job stays
# half a second after its end (seen).
_RUN = 'exec "$0" </dev/null'
# flux-submit(1): a job of several nodes has a task on each, and the script is to run once. The
# others leave, and the allocation stays as long as one task runs.
_FIRST = f'test "$FLUX_TASK_RANK" = 0 || exit 0; {_RUN}'


def arguments(
    request: JobRequest, executor: FluxExecutor, each: Sequence[str] = ()
) -> list[str]:
    """Return what `flux` is called with.

    `request.after` are ids of single jobs here, and `each`, where it is not empty, is for each
    position the id that it waits for ("" for none). An option is taken from the first that
    names it: the task's native options, what the task asks for, the executor's options, its
    other settings. `mem` is passed over: Flux has no option for it. Raises
    `SubmissionRefusedError` for an option that reflow sets itself, and for a log that would
    land elsewhere.
    """
    log = request.log.replace("{position}", "0")
    why = "a part in double braces, which Flux replaces in the names of logs"
    options.refuse_path(r"\{\{.*\}\}", "log", log, why)
    flags = {"cores-per-task": "1"} | options.only_set(queue=executor.queue, bank=executor.account)
    flags |= native(executor.options) | requested(request.resources)
    flags |= native(request.resources.native)
    nodes = int(flags["nodes"]) if flags.get("nodes", "").isdecimal() else 1
    words = [
        f"--cwd={request.directory}",
        f"--ntasks={nodes}",  # without it, --cores-per-task would run the script on every core
        "--setopt=output.mode=append",
        *(["--setopt=exit-timeout=none"] if nodes > 1 else []),
        *options.long_flags(flags),
        *(f"--dependency=afterany:{job}" for job in request.after),
        *([f"--begin-time=+{options.whole_units(request.begin)}s"] if request.begin else []),
    ]
    command = ["/bin/sh", "-c", _FIRST if nodes > 1 else _RUN, request.script]
    if request.size > 1:
        return _bulk(request, words, command, each)
    return ["submit", *words, f"--output={log}", f"--job-name={job_name(request.tag)}", *command]


def _bulk(
    request: JobRequest, flags: Sequence[str], command: Sequence[str], each: Sequence[str]
) -> list[str]:
    """Return the arguments that submit every position as a job of its own.

    ``flux submit --cc`` reads braces in all that it is given, and has no way to write one; what
    ``flux bulksubmit`` puts in for ``{1}``, ``{2}`` … stays as it is (flux-bulksubmit(1); seen).
    """
    inputs: list[Sequence[str]] = [[str(position) for position in range(request.size)]]

    def put_in(values: Sequence[str]) -> str:
        inputs.append(values)
        return f"{{{len(inputs) - 1}}}"

    def literal(text: str) -> str:
        option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
        return text if not re.search("[{}]", text) else f"{option}{equals}{put_in([value])}"

    log = "{0}".join(literal(part) for part in request.log.split("{position}"))
    words = [*map(literal, flags), f"--output={log}"]
    if each:  # a twin that is over: a moment that has passed
        waits = [f"afterany:{job}" if job else "begin-time:1" for job in each]
        words.append(f"--dependency={put_in(waits)}")
    # The position comes last, so that no rule of a user's takes it away.
    words += [f"--job-name={job_name(request.tag)}[{{0}}]", "--env=FLUX_JOB_CC={0}"]
    words += map(literal, command)
    linked = [word for values in inputs[1:] for word in (":::+", *values)]
    return ["bulksubmit", *words, ":::", *inputs[0], *linked]


def requested(wants: Resources) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    return options.only_set(
        cores_per_task=options.written(wants.cpus, default=1),
        # 0 would be no limit, and 30 are 30 minutes.
        time_limit=options.written(wants.time, lambda time: f"{options.whole_units(time)}s"),
        gpus_per_task=options.written(wants.gpus, default=0),
        nodes=options.written(wants.nodes, default=1),
        queue=wants.queue,
        bank=wants.account,
    )
