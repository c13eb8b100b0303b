"""Requests as `sbatch` wants them; pure. Manual page, where no other is named: sbatch(1), 22.05."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from reflow.executors import options
from reflow.executors.base import JobRequest

if TYPE_CHECKING:
    from .executor import SlurmExecutor

SHORT = {
    "A": "account", "a": "array", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold",
    "h": "help", "I": "immediate", "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses",
    "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks", "O": "overcommit",
    "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose", "W": "wait",
    "w": "nodelist", "x": "exclude",
}  # fmt: skip
RESERVED = frozenset({
    "array", "begin", "chdir", "clusters", "comment", "dependency", "error", "help", "hold",
    "immediate", "input", "job-name", "kill-on-invalid-dep", "no-requeue", "open-mode", "output",
    "parsable", "requeue", "test-only", "usage", "version", "wait", "wrap",
})  # fmt: skip
"""Options that reflow sets itself: another value would break what the engine relies on."""

native = partial(
    options.user_options, command="sbatch", reserved=RESERVED, short=SHORT, read=str,
    advice={"clusters": "set [executor.slurm] cluster"},
)  # fmt: skip
"""Returns a user's own options by their long names; an empty value is a flag."""

# Of each of these, one excludes the others: what a task says replaces the executor's.
MEMORY = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
CPUS = frozenset({"cpus-per-task", "cpus-per-gpu"})
GPUS = frozenset({"gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"})

_COMMENT = re.compile(r"[^A-Za-z0-9_.+@=,:/ ()\[\]-]")


def arguments(request: JobRequest, executor: SlurmExecutor) -> list[str]:
    """Return the options and the script that `sbatch` is called with.

    An option is taken from the first that names it: the task's native options, what the
    task asks for, the executor's options, its other settings. Raises
    `SubmissionRefusedError` for a native option that reflow sets itself, and for a path
    that sbatch would not take as it is.
    """
    flags = {
        "parsable": "",
        "job-name": options.job_name(request.tag),
        # Accounting's database may take no more than this of characters and length.
        "comment": _COMMENT.sub("_", request.name)[:250],
        "chdir": request.directory,
        "output": log_pattern(request),
        "open-mode": "append",
        # Slurm's own second start would be one that the engine has not counted.
        "no-requeue": "",
        "export": "ALL",
        "cpus-per-task": "1",
    }
    flags |= options.only_set(
        clusters=executor.chosen_cluster,
        array=options.index_range(request) if request.size > 1 else None,
        dependency=dependency(request),
        # aftercorr means after the twin's *success*: without this, an element whose twin was
        # killed would wait for ever ("--kill-on-invalid-dep"; seen).
        kill_on_invalid_dep="yes" if request.after_each else None,
        begin=f"now+{options.whole_units(request.begin)}" if request.begin else None,
        partition=executor.queue,
        account=executor.account,
    )
    flags["gres"] = ""
    for layer in (native(executor.options), requested(request), native(request.resources.native)):
        flags = _overlaid(flags, layer)
    if not flags["gres"]:
        del flags["gres"]
    return [*options.long_flags(flags), request.script]


def requested(request: JobRequest) -> dict[str, str]:
    """Return what a task asks for in neutral words; what it leaves open is not there."""
    wants = request.resources
    return options.only_set(
        cpus_per_task=options.written(wants.cpus, default=1),
        time=options.written(wants.time, time_limit),
        # 0 would be all that a node has.
        mem=options.written(wants.mem, lambda size: f"{options.whole_units(size, 1024)}K"),
        # --gres counts for each node and takes any type, as --gpus-per-node does, and other
        # than that does not need SelectType=cons_tres.
        gres=options.written(wants.gpus, "gpu:{}".format, default=0),
        nodes=options.written(wants.nodes, default=1),
        partition=wants.queue,
        account=wants.account,
    )


def _overlaid(flags: Mapping[str, str], layer: Mapping[str, str]) -> dict[str, str]:
    """Return options with those of a layer above, which replaces what its own exclude."""
    gpus = bool(layer.keys() & GPUS) or "gpu" in map(_resource, _items(layer))
    excluded = {name for group in (MEMORY, CPUS) if layer.keys() & group for name in group}
    excluded |= GPUS if gpus else set()
    # Of generic resources, GPUs replace GPUs by whichever option; other things are added.
    replaced = {*map(_resource, _items(layer)), *(["gpu"] if gpus else [])}
    items = [item for item in _items(flags) if _resource(item) not in replaced]
    below = {name: value for name, value in flags.items() if name not in excluded}
    return {**below, **layer, "gres": ",".join([*items, *_items(layer)])}


def _items(flags: Mapping[str, str]) -> list[str]:
    return [item for item in flags.get("gres", "").split(",") if item]


def _resource(item: str) -> str:
    return re.split("[:=]", item)[0]


def dependency(request: JobRequest) -> str:
    """Return what a job waits for; "after any end", so that a failure never leaves it waiting."""
    parts = [f"aftercorr:{request.after_each}"] if request.after_each else []
    if request.after:
        parts.append(f"afterany:{':'.join(request.after)}")
    return ",".join(parts)


def log_pattern(request: JobRequest) -> str:
    """Return the path of the log with Slurm's placeholders; its own ``%`` is doubled."""
    why = "a backslash, which sbatch takes out of file names"
    options.refuse_path(r"\\", "log", request.log, why)
    # "filename pattern": %a is the array index.
    return request.log.replace("%", "%%").replace("{position}", "%a" if request.size > 1 else "0")


def time_limit(seconds: int) -> str:
    """Write a time limit as ``days-hours:minutes:seconds``; Slurm rounds it up to minutes.

    >>> time_limit(90061)
    '1-01:01:01'
    """
    days, within = divmod(options.whole_units(seconds), 86400)  # 0 would be no limit at all
    return f"{days}-{options.clock(within)}"
