"""flux submit and flux bulksubmit: options checked as Flux checks them, one job a copy."""

from __future__ import annotations

import argparse
import itertools
import os
import pwd
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine import model
from ..engine.cluster import Cluster
from ..engine.model import Dependency, Job, Request
from ..engine.server import Answer, Call
from . import ids
from .commands import Parser, Refused, timed_out, unreachable

MANY = 50
"""Copies from which on their ids are not in the order of the copies."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SCRIPT = b"""#!/bin/sh
if [ $FLUX_JOB_SIZE = 1 ]; then exec "$@"; fi
rank=0
while [ $rank -lt $FLUX_JOB_SIZE ]; do
  FLUX_TASK_RANK=$rank "$@" & all="$all $!"; rank=$((rank + 1))
done
worst=0
for one in $all; do wait $one; code=$?; [ $code -gt $worst ] && worst=$code; done
exit $worst
"""
_TEXT = (
    "bank urgency job-name requires begin-time input output error cwd signal taskmap "
    "wait-event log log-stderr cores tasks-per-node tasks-per-core gpus-per-node env-file"
)
_LISTS = "add-file dependency env rlimit flags"
_FLAGS = "label-io unbuffered dry-run quiet exclusive watch progress jps"


def parser(command: str) -> Parser:
    new_parser = Parser(f"flux {command}", f"flux {command} [OPTIONS...] COMMAND [ARGS...]")
    for short, option in (("-q", "queue"), ("-t", "time-limit"), ("-N", "nodes"), ("-n", "ntasks"),
                          ("-c", "cores-per-task"), ("-g", "gpus-per-task")):  # fmt: skip
        new_parser.add_argument(short, f"--{option}")
    new_parser.add_argument("-B", dest="bank")
    new_parser.add_argument("-x", dest="exclusive", action="store_true")
    new_parser.add_argument("-o", "--setopt", action="append", default=[])
    new_parser.add_argument("-S", "--setattr", action="append", default=[])
    for option in _TEXT.split():
        new_parser.add_argument(f"--{option}")
    for option in _LISTS.split():
        new_parser.add_argument(f"--{option}", action="append", default=[])
    for option in _FLAGS.split():
        new_parser.add_argument(f"--{option}", action="store_true")
    new_parser.add_argument("--env-remove", action="append", default=[])
    new_parser.add_argument("--wait", nargs="?", const="clean")
    new_parser.add_argument("--cc")
    new_parser.add_argument("--bcc")
    new_parser.add_argument("command", nargs=argparse.REMAINDER)
    return new_parser


@dataclass
class Copy:
    """One job to submit: its options and command, and the prefix of its errors."""

    options: argparse.Namespace
    label: str = ""
    position: str = ""


def submit(cluster: Cluster, call: Call, fault: Mapping[str, Any] | None) -> Answer:
    command, *arguments = call.arguments
    try:
        namespace = parser(command).parse_args(arguments)
        copies = _bulk(namespace) if command == "bulksubmit" else _copies(namespace)
        for copy in copies:
            _check_usage(copy.options)
    except Refused as error:
        text = error.text if error.code == 2 else f"flux-{command}: ERROR: {error.text}\n"
        return Answer(error.code, err=text)
    answer = unreachable(cluster.settings, command, fault)
    if answer is not None:
        return answer
    if namespace.dry_run:
        return Answer(out="{}\n" * len(copies))
    out, err, code = [], "", 0
    if len(copies) > MANY:
        # Deterministic, and the same in each run of a test.
        random.Random(len(copies)).shuffle(copies)
    for copy in copies:
        try:
            warning = _submit(cluster, call, copy, out)
            err += f"{copy.label}{warning}\n" if warning else ""
        except Refused as error:
            err, code = f"{err}{copy.label}{error.text}\n", 1
    if fault and fault["how"] == "after":
        return timed_out(cluster.settings, command)
    return Answer(code, out="" if namespace.quiet else "".join(sorted(out, key=_order)), err=err)


def _order(line: str) -> int:
    return ids.read(line.strip()) or 0


def _copies(arguments: argparse.Namespace) -> list[Copy]:
    if not arguments.command:
        raise Refused("job command and arguments are missing")
    if arguments.cc and arguments.bcc:
        raise Refused("specify only one of --cc or --bcc")
    text = arguments.cc or arguments.bcc
    if not text:
        return [Copy(arguments)]
    return [
        Copy(
            _formatted(arguments, [], cc=index), f"cc={index}: ", str(index) if arguments.cc else ""
        )
        for index in idset(text)
    ]


def idset(text: str) -> list[int]:
    """Return the members of an idset, which must ascend and have no range of one member."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
        if match is None:
            raise Refused(f"IDset(): Invalid argument: {text}")
        first, last = int(match[1]), int(match[2] or match[1])
        if (match[2] and last <= first) or (numbers and first <= numbers[-1]):
            raise Refused(f"IDset(): Invalid argument: {text}")
        numbers += range(first, last + 1)
    return numbers


def _bulk(arguments: argparse.Namespace) -> list[Copy]:
    words: list[list[str]] = [[]]
    heads = [""]
    for word in arguments.command:
        if word.startswith(":::"):
            heads.append(word)
            words.append([])
        else:
            words[-1].append(word)
    arguments.command = words[0] or ["{}"]
    free = [values for head, values in zip(heads[1:], words[1:], strict=True) if head == ":::"]
    places = list(zip(heads[1:], words[1:], strict=True))
    copies = []
    for number, chosen in enumerate(itertools.product(*free)):
        next_values = iter(chosen)
        inputs = [
            next(next_values) if head == ":::" else values[number % len(values)]
            for head, values in places
        ]
        copies.append(Copy(_formatted(arguments, inputs, cc="{cc}")))
    if not copies or not free:
        raise Refused("no jobs provided for bulk submission")
    return copies


def _formatted(arguments: argparse.Namespace, inputs: list[str], **more: Any) -> argparse.Namespace:
    """Fill inputs into the command and the options as `str.format` does, but not into ``{{…}}``."""

    def formatted(text: Any, option: str) -> Any:
        if isinstance(text, list):
            return [formatted(each, option) for each in text]
        if not isinstance(text, str):
            return text
        kept = text.replace("{{", "\0").replace("}}", "\1")
        try:
            result = kept.format(*inputs, **more)
        except (IndexError, KeyError, ValueError):
            if option == "command":
                raise Refused(f"Invalid replacement string in command: '{text}'") from None
            raise Refused(f"Replacement key not found in '--{option}={text}'") from None
        return result.replace("\0", "{{").replace("\1", "}}")

    return argparse.Namespace(
        **{name: formatted(text, name) for name, text in vars(arguments).items()}
    )


def _check_usage(arguments: argparse.Namespace) -> None:
    """Make the checks that the command itself makes, without a broker."""
    seconds(arguments.time_limit, minutes=True)
    per_task = arguments.cores_per_task or arguments.gpus_per_task
    if arguments.cores and (arguments.ntasks or per_task):
        raise Refused(
            "Per-resource options can't be used with per-task options. (See --help for details)"
        )
    for name in ("ntasks", "cores", "nodes", "cores_per_task", "gpus_per_task"):
        text = getattr(arguments, name)
        if text is not None and not re.fullmatch("[0-9]+", text):
            raise Refused(f"{name}: invalid int value: '{text}'")
    if arguments.nodes and arguments.ntasks and int(arguments.nodes) > int(arguments.ntasks):
        raise Refused("node count must not be greater than task count")


def seconds(text: str | None, *, minutes: bool = False) -> float:
    """Read a duration in Flux's standard form; a bare number is of minutes, for a time limit."""
    if text is None:
        return 0.0
    if text in ("inf", "infinity", "nan"):
        raise Refused("duration must be a normal, finite value")
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h|d)?", text)
    if match is None:
        raise Refused("invalid Flux standard duration")
    return float(match[1]) * _UNITS[match[2] or ("m" if minutes else "s")]


def _submit(cluster: Cluster, call: Call, copy: Copy, out: list[str]) -> str:
    """Submit one job and append its id to `out`; return its warning."""
    arguments = copy.options
    request = _request(cluster, call, copy)
    warning = ""
    for dependency in arguments.dependency:
        warning = _dependency(cluster, call, request, dependency) or warning
    total = sum(node.cpus for node in cluster.nodes.values())
    cores, tasks, nodes = request.cpus, request.tasks, request.nodes
    request.extra["alloc"] = (
        f"unsatisfiable request: need {nodes} exclusive node(s), only {len(cluster.nodes)} eligible"
        if nodes > len(cluster.nodes)
        else f"unsatisfiable request: need {tasks} slot(s) of {cores} core(s), only 0 such "
        f"slot(s) available (total cores: {total})"
        if cores * tasks > total
        else f"unsatisfiable request: need {tasks} slot(s) with {arguments.gpus_per_task} GPU(s) "
        "each, only 0 available (total GPUs: 0)"
        if int(arguments.gpus_per_task or 0)
        else ""
    )
    number = cluster.submit(request, _SCRIPT)
    [job] = cluster.jobs[number]
    if request.extra["alloc"]:
        cluster.fail(job, model.PARTITION_SIZE)
    out.append(f"{ids.f58(ids.id_of(number), letter=ids.letter(call.environment))}\n")
    return warning


def _request(cluster: Cluster, call: Call, copy: Copy) -> Request:
    arguments = copy.options
    limit = seconds(arguments.time_limit, minutes=True)
    urgency = {"hold": "0", "default": "16", "expedite": "31"}.get(
        arguments.urgency or "16", arguments.urgency or "16"
    )
    if not re.fullmatch("[0-9]+", urgency) or int(urgency) > 31:
        raise Refused("[Errno 22] urgency range is [0:31]")
    begin = 0.0
    if arguments.begin_time:
        if not arguments.begin_time.startswith("+"):
            raise Refused(f"[Errno 22] Invalid begin-time={arguments.begin_time}")
        begin = time.time() + seconds(arguments.begin_time[1:])
    cores = int(arguments.cores or 0)
    tasks = cores or int(arguments.ntasks or arguments.nodes or 1)
    directory = os.path.join(call.directory, arguments.cwd or call.directory)
    # If it cannot enter the folder, the shell goes to /tmp and says so in the log.
    directory = directory if os.path.isdir(directory) else "/tmp"
    environment = _environment(call, arguments)
    if copy.position:
        environment["FLUX_JOB_CC"] = copy.position
    position = environment.get("FLUX_JOB_CC", "")
    user = pwd.getpwuid(call.uid).pw_name

    def path(text: str | None) -> str:
        return os.path.join(directory, text) if text else ""

    return Request(
        name=arguments.job_name or os.path.basename(arguments.command[0]), user=user, uid=call.uid,
        gid=call.gid, account=next(iter(cluster.accounts)),
        partition=_queue(cluster, arguments, limit), script="", arguments=tuple(arguments.command),
        directory=directory, environment=environment,
        output=path(arguments.output) or "/dev/null", error=path(arguments.error),
        # Without it standard input never ends, like that of an idle terminal.
        input=path(arguments.input) or "/dev/ptmx",
        append="output.mode=append" in arguments.setopt, cpus=int(arguments.cores_per_task or 1),
        tasks=tasks, nodes=int(arguments.nodes or 1), memory=1000,
        limit=limit,  # type: ignore[arg-type]
        position=int(position) if position.isdecimal() else None, begin=begin,
        held=urgency == "0", requeue=False, kill_on_never=True,
        extra={"urgency": urgency, "bank": arguments.bank or "", "queue": arguments.queue or ""},
    )  # fmt: skip


def _queue(cluster: Cluster, arguments: argparse.Namespace, limit: float) -> str:
    named = [name for name in cluster.partitions if name]
    if not named:
        if arguments.queue is not None:
            raise Refused(f"[Errno 22] '{arguments.queue}' is not a valid queue")
        return ""
    if arguments.queue is None:
        raise Refused("[Errno 1] no queue specified")
    if arguments.queue not in named:
        raise Refused(f"[Errno 1] Invalid queue '{arguments.queue}' specified")
    queue = cluster.partitions[arguments.queue]
    if not queue.up:
        raise Refused(f"[Errno 22] job submission to {queue.name} is disabled: down")
    if not limit or limit > queue.limit:
        raise Refused(
            f"[Errno 22] requested duration ({_fsd(limit)}) exceeds policy limit of "
            f"{_fsd(queue.limit)} for queue {queue.name}"
        )
    return queue.name


def _fsd(value: float) -> str:
    if not value:
        return "unlimited"
    for unit in "dhm":
        if value >= _UNITS[unit]:
            return f"{value / _UNITS[unit]:g}{unit}"
    return f"{value:g}s"


def _environment(call: Call, arguments: argparse.Namespace) -> dict[str, str]:
    """Return the submitter's environment under the rules of --env-remove and --env."""
    variables = dict(call.environment)
    for rule in [*(f"-{pattern}" for pattern in arguments.env_remove), *arguments.env]:
        name, equals, value = rule.partition("=")
        if rule.startswith("-"):
            pattern = rule[1:].replace("*", ".*")
            variables = {
                name: had for name, had in variables.items() if not re.fullmatch(pattern, name)
            }
        elif equals:
            variables[name] = value
        elif name in call.environment:
            variables[name] = call.environment[name]
    return variables


def _dependency(cluster: Cluster, call: Call, request: Request, text: str) -> str:
    scheme, colon, target = text.partition(":")
    if scheme == "singleton":
        request.dependencies.append(Dependency("singleton"))
        return ""
    kinds = {"afterok": "ok", "afterany": "any", "afternotok": "notok", "afterstart": "after",
             "after": "after"}  # fmt: skip
    if scheme == "begin-time":
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?", target):
            raise Refused(f"[Errno 22] Invalid begin-time={target}")
        request.begin = max(request.begin, float(target))
        return ""
    if scheme not in kinds or not colon:
        raise Refused(f'[Errno 22] dependency scheme "{scheme}" not supported')
    job_id = ids.read(target)
    if job_id is None:
        raise Refused(f'[Errno 22] dependency: {scheme}: "{target}" is not a valid jobid')
    jobs = [job for job in cluster.find(ids.number(job_id)) if not job.purged]
    if not jobs:
        raise Refused(f"[Errno 22] dependency: {scheme}: id {target}: job not found")
    if scheme == "afterok" and _failed(jobs[0]):
        raise Refused(
            f"[Errno 22] dependency: afterok: job "
            f"{ids.f58(job_id, letter=ids.letter(call.environment))} failed or was canceled"
        )
    request.dependencies.append(Dependency(kinds[scheme], jobs[0].base))
    request.extra["dependencies"] = ",".join(
        filter(None, [request.extra.get("dependencies"), _describe(kinds[scheme], target)])
    )
    if scheme == "after":
        request.extra["warning"] = "dependency scheme 'after' is deprecated, use 'afterstart'"
        return request.extra["warning"]
    return ""


def _describe(kind: str, target: str) -> str:
    words = {"ok": "success", "any": "finish", "notok": "failure", "after": "start"}
    return f"after-{words[kind]}={target}"


def _failed(job: Job) -> bool:
    return not job.live and job.outcome != model.DONE
