"""qsub: options from the command line and the script, checked as PBS checks them."""

from __future__ import annotations

import getopt
import os
import pwd
import re
import shlex
import time
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import Dependency, Request
from ..engine.server import Answer, Call, NeedsStdin
from . import ids, words

USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""
LETTERS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
CHUNK = {"ncpus", "mem", "ngpus", "mpiprocs", "ompthreads", "host", "vnode", "arch"}
JOB_WIDE = {"select", "place", "walltime", "cput", "software", "nodes", "file", "nice"}
ATTRIBUTES = {
    "depend", "umask", "block", "group_list", "max_run_subjobs", "sandbox", "stagein",
    "stageout", "run_count", "pwd",
}  # fmt: skip
KINDS = {
    "afterok": "ok", "afterany": "any", "afternotok": "notok", "after": "after",
}  # fmt: skip
SIZE = re.compile(r"(\d+)([kmgtp]?)([bw]?)", re.IGNORECASE)


class Refused(Exception):
    """The text of a refusal, with the exit code."""

    def __init__(self, text: str, code: int = 2, *, usage: bool = False) -> None:
        super().__init__(text)
        self.text, self.code = f"{text}\n{USAGE if usage else ''}", code


def illegal(letter: str) -> Refused:
    return Refused(f"qsub: illegal -{letter} value", usage=True)


def qsub(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    if call.arguments == ["--version"]:
        return Answer(out=f"pbs_version = {words.VERSION}\n")
    try:
        flags, command, direct = _parse(call.arguments)
        script, name = _script(call, command, direct)
        inside = [] if direct else _directives(script)
        request = _request(cluster, call, [*inside, *flags], name)
        if cluster.settings.controller == "down":
            return words.down("qsub", cluster.settings)
        how = fault["how"] if fault else ""
        if how == "before":
            return words.silent("qsub", cluster.settings)
        if how == "refuse":
            assert fault is not None
            raise Refused(f"qsub: {fault.get('text', 'Unauthorized Request ')}", 159)
        _check(cluster, request)
    except Refused as error:
        return Answer(error.code, err=error.text)
    lost = [dependency for dependency in request.dependencies if not good(cluster, dependency)]
    request.dependencies = [
        dependency for dependency in request.dependencies if not over(cluster, dependency)
    ]
    number = cluster.submit(request, script)
    if lost:
        # PBS accepts the job with exit code 0 and then deletes it without a message.
        for job in list(cluster.jobs[number]):
            cluster.drop(job)
    if how == "after":
        return words.silent("qsub", cluster.settings)
    if "z" in dict(flags):
        return Answer()
    place = "" if request.indices is None else "[]"
    wait = number if request.extra["block"] else None
    return Answer(out=f"{number}{place}.{words.SERVER}\n", wait_for=wait)


def _parse(arguments: list[str]) -> tuple[list[tuple[str, str]], list[str], bool]:
    direct = "--" in arguments
    end = arguments.index("--") if direct else len(arguments)
    try:
        options, command = getopt.getopt(arguments[:end], LETTERS)
    except getopt.GetoptError as error:
        letter = error.opt[:1] or "-"
        text = (
            f"qsub: option requires an argument -- '{letter}'"
            if "requires" in error.msg and len(error.opt) == 1
            else f"qsub: invalid option -- '{'-' if len(error.opt) > 1 else letter}'"
        )
        raise Refused(text, usage=True) from None
    flags = [(name[1:], value) for name, value in options]
    if direct:
        command = arguments[end + 1 :] if not command else []
    if (direct and not command) or (not direct and len(command) > 1):
        raise Refused(USAGE.rstrip("\n"))
    return flags, command, direct


def _script(call: Call, command: list[str], direct: bool) -> tuple[bytes, str]:
    if direct:
        program, *more = command
        if not program.startswith("/"):
            message = f"pbs_mom, exec of {program} failed with error: No such file or directory"
            return f"#!/bin/sh\necho {shlex.quote(message)} >&2\nexit 254\n".encode(), "STDIN"
        return f"#!/bin/sh\nexec {shlex.join([program, *more])}\n".encode(), "STDIN"
    if not command:
        if call.stdin is None:
            raise NeedsStdin
        text, name = call.stdin, "STDIN"
    else:
        path = os.path.join(call.directory, command[0])
        try:
            with open(path, "rb") as file:
                text, name = file.read(), os.path.basename(path)
        except OSError as error:
            raise Refused(f"qsub: script file:: {error.strerror}", 1) from None
    return text if text.startswith(b"#!") else b"#!/bin/sh\n" + text, name


def _directives(script: bytes) -> list[tuple[str, str]]:
    option_words: list[str] = []
    for line in script.decode(errors="replace").splitlines():
        if line.startswith("#PBS "):
            option_words += shlex.split(line[5:], comments=True)
        elif line.strip() and not line.startswith(("#", ":")):
            break
    return _parse([*option_words, "x"])[0] if option_words else []


def _request(
    cluster: Cluster, call: Call, options: list[tuple[str, str]], name: str
) -> Request:
    flags = dict(options)
    resources: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for letter, value in options:
        if letter == "l":
            resources.update(_named(value, "l"))
        elif letter == "W":
            for key, text in _named(value, "W").items():
                if key == "max_run_subjobs" and "%" in flags.get("J", ""):
                    raise Refused("qsub: multiple max_run_subjobs values found", usage=True)
                attributes[key] = text
    if not set(attributes) <= ATTRIBUTES:
        raise illegal("W")
    job_name = flags.get("N", name)
    if len(job_name) > 230:
        raise Refused("qsub: Job name is too long ", usage=True)
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", job_name):
        raise illegal("N")
    cpus, chunks, memory = _resources(resources)
    user = pwd.getpwuid(call.uid).pw_name
    indices, throttle = _array(flags)
    throttle = int(attributes.get("max_run_subjobs", throttle))
    umask = attributes.get("umask", "077")
    if not re.fullmatch("[0-7]{1,4}", umask):
        raise illegal("W")
    keep = flags.get("k", "n")
    if not re.fullmatch("n|o?e?o?d?", keep):
        raise illegal("k")
    joined = flags.get("j", "n")
    if joined not in ("oe", "eo", "n"):
        raise illegal("j")

    def path(letter: str) -> str:
        text = flags.get(letter, "")
        if text and not (text.isascii() and text.isprintable()):
            raise illegal(letter)
        return f"{letter}{os.path.join(call.directory, text) if text else ''}"

    return Request(
        name=job_name, user=user, uid=call.uid, gid=call.gid,
        account=next(iter(cluster.accounts)),
        partition=flags.get("q", next(iter(cluster.partitions))),
        script="", arguments=(), directory=pwd.getpwuid(call.uid).pw_dir,
        environment=_environment(call, flags),
        output=path("o"), error="" if joined == "oe" else path("e"), append=True,
        cpus=cpus, nodes=1, tasks=chunks, memory=0,
        limit=_span(resources["walltime"]) if "walltime" in resources else 0,
        indices=indices, throttle=throttle, begin=_begin(flags["a"]) if "a" in flags else 0.0,
        held="h" in flags, requeue=flags.get("r", "y") == "y", kill_on_never=True,
        dependencies=depend(attributes.get("depend")),
        extra={
            "submit": call.directory, "home": call.environment.get("HOME", "/"), "keep": keep,
            "umask": umask, "join": joined, "account": flags.get("A", ""), "mem": str(memory),
            "block": attributes.get("block", ""), "range": flags.get("J", ""),
            "select": resources.get("select", f"1:ncpus={cpus}"), "rerun": flags.get("r", "y"),
            "direct": "yes" if "--" in call.arguments else "",
            "place": resources.get("place", "free" if "select" in resources else "pack"),
        },
    )  # fmt: skip


def _named(value: str, letter: str) -> dict[str, str]:
    fields = {}
    for part in re.split(r",(?=[A-Za-z_.]+=)", value):
        name, equals, text = part.partition("=")
        if not equals or not name or (not text and letter == "l"):
            raise illegal(letter)
        fields[name.strip()] = text
    return fields


def _resources(resources: dict[str, str]) -> tuple[int, int, int]:
    """Return processors of a chunk, chunks, and megabytes of a chunk."""
    for name in resources:
        if name not in CHUNK | JOB_WIDE:
            raise Refused(f"qsub: Unknown resource: {name}", 187)
    if {"select", "place"} & set(resources):
        for name in resources:
            if name in CHUNK:
                raise Refused(
                    'qsub: "-lresource=" cannot be used with "select" or "place", resource is: '
                    f"{name}", 5,
                )  # fmt: skip
    count, chunk = 1, {name: value for name, value in resources.items() if name in CHUNK}
    if "select" in resources:
        first, *parts = resources["select"].split(":")
        if first.isdigit():
            count = int(first)
        else:
            parts = [first, *parts]
        chunk = dict(resource.partition("=")[::2] for resource in parts)
        for name in chunk:
            if name not in CHUNK:
                raise Refused(f"qsub: Unknown resource: {name}", 187)
    memory = 0
    if "mem" in chunk:
        size = SIZE.fullmatch(chunk["mem"])
        if size is None:
            raise Refused("qsub: Illegal attribute or resource value Resource_List.mem", 166)
        memory = int(size[1]) * 1024 ** " kmgtp".index(size[2].lower() or " ")
    if not chunk.get("ncpus", "1").isdigit():
        raise Refused("qsub: Illegal attribute or resource value Resource_List.ncpus", 166)
    return int(chunk.get("ncpus", "1")), count, -(-memory // 2**20)


def _span(text: str) -> int:
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise Refused("qsub: Illegal attribute or resource value Resource_List.walltime", 166)
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part.partition(".")[0])
    return total


def _begin(text: str) -> float:
    match = re.fullmatch(r"((?:\d\d)?\d\d)?(\d\d)?(\d\d)?(\d\d)(\d\d)(?:\.(\d\d))?", text)
    if match is None or not match[1] or not match[2] or not match[3]:
        raise illegal("a")
    year = match[1] if len(match[1]) == 4 else f"20{match[1]}"
    parts = (int(group or 0) for group in (year, *match.groups()[1:]))
    return time.mktime((*parts, 0, 0, -1))  # type: ignore[arg-type]


def _array(flags: dict[str, str]) -> tuple[tuple[int, ...] | None, int]:
    if "J" not in flags:
        return None, 0
    if flags.get("r") == "n":
        raise Refused("qsub:  cannot submit non-rerunable Array Job", usage=True)
    if "I" in flags:
        raise Refused(
            "qsub: interactive and array job submission cannot be used together", usage=True
        )
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", flags["J"])
    if match is None or int(match[2]) <= int(match[1]) or match[3] == "0":
        raise illegal("J")
    indices = tuple(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))
    # %0 is taken, and never starts.
    return indices, int(match[4]) if match[4] else 0


def depend(text: str | None) -> list[Dependency]:
    dependencies: list[Dependency] = []
    for clause in text.split(",") if text is not None else ():
        kind, *targets = clause.split(":")
        if kind not in KINDS or not targets or len(text or "") > 2040:
            raise illegal("W")
        for target in targets:
            full = ids.full(target)
            if full is None or re.search(r"\[\d", full):
                raise illegal("W")
            number = int(re.match(r"\d+", full)[0])  # type: ignore[index]
            dependencies.append(Dependency(KINDS[kind], number, array="[]" in full))
    return dependencies


def over(cluster: Cluster, dependency: Dependency) -> bool:
    target = ids.find(cluster, f"{dependency.job}{'[]' if dependency.array else ''}")
    return target is None or target.over


def good(cluster: Cluster, dependency: Dependency) -> bool:
    """Whether the server accepts a dependency: the job exists, or ended as required."""
    target = ids.find(cluster, f"{dependency.job}{'[]' if dependency.array else ''}")
    if target is None:
        return False
    if not target.over or dependency.kind in ("any", "after"):
        return True
    well = all(job.outcome == "done" for job in target.group)
    return well == (dependency.kind == "ok")


def _environment(call: Call, flags: dict[str, str]) -> dict[str, str]:
    if "V" in flags:
        return {name: value for name, value in call.environment.items() if name[:4] != "PBS_"}
    variables = {}
    for part in re.split(r"(?<!\\),(?=[A-Za-z_])", flags.get("v", "")):
        name, equals, value = part.partition("=")
        if equals:
            variables[name] = value.replace("\\,", ",").strip("\"'")
        elif name in call.environment:
            variables[name] = call.environment[name]
    return variables


def _check(cluster: Cluster, request: Request) -> None:
    """Check what the server checks."""
    if request.partition not in cluster.partitions:
        raise Refused("qsub: Unknown queue", 170)
    size = len(request.indices or (0,))
    if size > cluster.settings.max_array_size:
        raise Refused("qsub: Array job exceeds server or queue size limit", 3)
    limit = cluster.accounts[request.account].max_submit
    if limit is not None and cluster.submitted_by(request.user, request.account) + size > limit:
        raise Refused("qsub: would exceed complex's per-user limit", 38)
    if cluster.settings.default_memory:  # enforced by pbs_mom
        request.memory = int(request.extra["mem"])
