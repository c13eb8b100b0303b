"""bsub: submits jobs."""

from __future__ import annotations

import pwd
import re
import shlex
import time
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import Dependency, Request
from ..engine.server import Answer, Call, NeedsStdin
from . import words
from .words import Usage

NAMES = (
    "g: E: T: a: w: f: k: R: m: Jd: J: L: u: is: i: o: e: Zs n: q: b: t: sp: s: c: v: p: W: F: "
    "D: S: C: M: O: G: P: Ip Is I r H x N B h V X: K"
)
SLOTS = 16
KINDS = {"ended": "any", "done": "ok", "exit": "notok", "started": "after"}


class Refused(Exception):
    """Why a job is refused; `burnt`: mbatchd refused it, so its number is used up."""

    def __init__(self, text: str, *, burnt: bool = False) -> None:
        super().__init__(text)
        self.text, self.burnt = text, burnt


def bsub(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        flags, command = words.options(call.arguments, NAMES)
        if "V" in flags:
            return Answer(err=words.VERSION)
        script = ""
        if not command:
            if call.stdin is None:
                raise NeedsStdin
            script = call.stdin.decode("utf-8", "surrogateescape")
            for line in script.splitlines():
                if line.startswith("#BSUB"):
                    inside, _ = words.options(shlex.split(line[5:], comments=True), NAMES)
                    flags = {**inside, **flags}
            if not script.strip():
                raise Refused("No command is specified")
        request = _request(call, flags, script or _line(command))
    except Usage as error:
        return Answer(255, err=f"bsub: invalid option -- '{error}'\n")
    except Refused as error:
        return Answer(255, err=f"{error.text}. Job not submitted.\n")
    answer = words.down(cluster, call, fault)
    if answer is not None:
        answer.err = answer.err.rstrip("\n") + (
            "" if "still trying" in answer.err else ". Job not submitted."
        ) + "\n"  # fmt: skip
        return answer
    try:
        _check(cluster, request, flags)
    except Refused as error:
        cluster.next_number += error.burnt
        return Answer(255, err=f"{error.text}. Job not submitted.\n")
    number = cluster.submit(request, _file(request).encode("utf-8", "surrogateescape"))
    if fault:  # it has its effect, but the answer is lost
        return Answer(
            255, err=f"{words.NO_ANSWER}. Job not submitted.\n",
            pause=cluster.settings.message_timeout,
        )  # fmt: skip
    if "BSUB_QUIET" in call.environment:
        return Answer()
    which = "queue" if "q" in flags else "default queue"
    return Answer(
        out=f"Job <{number}> is submitted to {which} <{request.partition}>.\n",
        err=f"Job will be scheduled after {time.ctime(request.begin)}\n" if request.begin else "",
    )


def _line(command: list[str]) -> str:
    """Join the words of a command; only those with blanks or a variable are quoted."""
    words_shown = command[:1]
    for word in command[1:]:
        if " " in word and '"' not in word and "$" not in word:
            words_shown.append(f'"{word}"')
        elif " " in word or word.startswith("$"):
            words_shown.append(f"'{word}'")
        else:
            words_shown.append(word)
    if words_shown == [""]:
        raise Refused("Empty job")
    return " ".join(words_shown)


def _file(request: Request) -> str:
    directory = shlex.quote(request.extra["directory"])
    return (
        f"#!/bin/sh\ncd {directory} 2>/dev/null || cd /tmp\n# LSBATCH: User input\n"
        f"{request.extra['command']}\n"
    )


def _request(call: Call, flags: dict[str, str], command: str) -> Request:
    """Check what bsub itself checks."""
    tasks = flags.get("n", "1")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)?", tasks):
        raise Refused("The number of processors must be a positive integer")
    if "M" in flags and not re.fullmatch(r"[1-9]\d*", flags["M"]):
        raise Refused(f"{flags['M']}: MEMLIMT value should be a positive integer")
    limit = 0
    if "W" in flags:
        match = re.fullmatch(r"(?:(\d+):)?(\d+)(?:/\S+)?", flags["W"])
        if match is None:
            raise Refused(f"{flags['W']}: Bad RUNLIMIT specification")
        limit = 60 * (60 * int(match[1] or 0) + int(match[2]))
    if "c" in flags and not re.fullmatch(r"(?:\d+:)?\d+(?:/\S+)?", flags["c"]):
        raise Refused(f"{flags['c']}: Bad CPULIMIT specification")
    if "t" in flags and _moment(flags["t"]) is None:
        raise Refused(f"{flags['t']}: Bad time specification")
    begin = _moment(flags["b"]) if "b" in flags else 0.0
    if begin is None:
        raise Refused(f"{flags['b']}: Bad time specification")
    user = pwd.getpwuid(call.uid).pw_name
    environment = {
        "HOME": call.environment.get("HOME", "/"), "PATH": "/usr/bin:/bin", **call.environment
    }  # fmt: skip
    return Request(
        name=flags.get("J", command).partition("[")[0], user=user, uid=call.uid, gid=call.gid,
        account="science", partition=flags.get("q", "normal"), script="", arguments=(),
        directory="/", environment=environment, output="", error=".err" if "e" in flags else "",
        tasks=int(tasks.partition(",")[0]), memory=0, limit=limit, begin=begin, held="H" in flags,
        requeue=False,
        extra={"spec": flags.get("J", command).partition("%")[0] if "J" in flags else command,
               "command": command, "directory": call.directory, "output": flags.get("o", ""),
               "error": flags.get("e", ""), "project": flags.get("P", "default")},
    )  # fmt: skip


def _moment(text: str) -> float | None:
    """Read ``[[month:]day:]hour:minute``; a minute that has passed means its next occurrence."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 4 or not all(part.isdecimal() for part in parts):
        return None
    month, day, hour, minute = [*[-1] * (4 - len(parts)), *map(int, parts)]
    if hour > 23 or minute > 59 or not (day == -1 or 1 <= day <= 31) or month > 12:
        return None
    now = time.localtime()
    year, this_month, today = now.tm_year, now.tm_mon, now.tm_mday
    for later in range(2):
        when = time.mktime((
            year + (later if month != -1 else 0),
            month if month != -1 else this_month + (later if day != -1 else 0),
            day if day != -1 else today + later, hour, minute, 0, 0, 0, -1,
        ))  # fmt: skip
        if when >= time.time() - 60:
            break
    return when


def _check(cluster: Cluster, request: Request, flags: dict[str, str]) -> None:
    """Check what mbatchd checks, and put the result into the request."""
    spec = flags.get("J", "")
    if spec:
        match = re.fullmatch(r"([^\[\]]*)(?:\[([^\]]*)\](?:%(\d+))?)?", spec)
        indices = words.spans(match[2]) if match and match[2] is not None else None
        if match is None or len(spec) > 255 or (match[2] is not None and indices is None):
            raise Refused("Bad job name", burnt=True)
        if indices is not None:
            if len(indices) > cluster.settings.max_array_size:
                raise Refused("Job array index too large", burnt=True)
            request.indices = tuple(sorted(set(indices)))
            request.throttle = int(match[3] or 0)
    if request.partition not in cluster.partitions:
        raise Refused(f"{request.partition}: No such queue", burnt=True)
    if request.tasks > SLOTS:
        raise Refused("Too many processors requested", burnt=True)
    if request.limit > cluster.partitions[request.partition].limit:
        raise Refused("RUNLIMIT: Cannot exceed queue's hard limit(s)", burnt=True)
    resources = flags.get("R", "")
    if resources.count("[") != resources.count("]") or "nosuch" in resources:
        raise Refused("Bad resource requirement syntax", burnt=True)
    if "x" in flags:
        raise Refused(f"{request.partition}: Queue does not accept EXCLUSIVE jobs", burnt=True)
    if "w" in flags:
        _dependency(cluster, request, flags["w"])


def _dependency(cluster: Cluster, request: Request, text: str) -> None:
    syntax = Refused(f"{text}: Dependency condition syntax error", burnt=True)
    request.any_of = "||" in text
    for clause in re.split(r"&&|\|\|", text):
        match = re.fullmatch(r"\s*(?:([a-z]+)\(\s*([^()]+?)\s*\)|(\d+))\s*", clause)
        if match is None:
            raise syntax
        kind, target = (match[1], match[2]) if match[1] else ("done", match[3])
        if kind not in KINDS:
            raise Refused(f"{kind}: No matching job found", burnt=True)
        number, indices = _target(cluster, target, syntax)
        array = words.find(cluster, number, []) if number else []
        if target.endswith("[*]"):
            if not array or array[0].index is None:
                raise Refused(f"{number}: No matching job found", burnt=True)
            if len(array) != len(request.indices or ()):
                raise Refused("Dependent arrays do not have the same size", burnt=True)
            each = {"any": "each", "ok": "corr"}.get(KINDS[kind])
            if each is None:
                raise syntax
            request.dependencies.append(Dependency(each, number))
            continue
        if not array or (indices and not words.find(cluster, number, indices)):
            raise Refused(f"{target}: No matching job found", burnt=True)
        for index in indices or [None]:
            request.dependencies.append(Dependency(KINDS[kind], number, index))


def _target(cluster: Cluster, text: str, syntax: Refused) -> tuple[int, list[int]]:
    if text.startswith('"'):
        if not re.fullmatch(r'"[^"\[\]]*"', text):
            raise syntax
        named = [job.base for job in cluster.remembered() if job.request.name == text[1:-1]]
        return max(named, default=0), []
    read = words.ids(text.removesuffix("[*]"))
    if read is None:
        raise Refused(f"{text}: No matching job found", burnt=True)
    return read
