"""qsub: options from the command line and the script, checked as Grid Engine checks them."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import Dependency, Request
from ..engine.server import Answer, Call, NeedsStdin
from . import words

WORDS_AFTER: dict[str, int] = {
    # option: how many words it takes
    **dict.fromkeys(["clear", "cwd", "h", "hard", "help", "notify", "soft", "terse", "V"], 0),
    **dict.fromkeys(
        [
            "@", "a", "ac", "ar", "A", "b", "c", "ckpt", "C", "dc", "dl", "e", "hold_jid",
            "hold_jid_ad", "i", "j", "js", "l", "m", "M", "masterq", "N", "now", "o", "p", "P",
            "q", "r", "R", "S", "shell", "sync", "t", "tc", "v", "w", "wd",
        ],
        1,
    ),
    "pe": 2,
}  # fmt: skip
COMPLEXES = {
    "arch": str, "calendar": str, "cpu": float, "hostname": str, "h": str, "qname": str, "q": str,
    "num_proc": int, "slots": int, "tmpdir": str,
    **dict.fromkeys(["h_rt", "s_rt", "h_cpu", "s_cpu"], words.seconds),
    **dict.fromkeys(
        [
            "h_vmem", "s_vmem", "h_rss", "s_rss", "h_data", "s_data", "h_stack", "s_stack",
            "h_core", "s_core", "h_fsize", "s_fsize", "mem_free", "mf", "mem_total", "mem_used",
            "virtual_free", "vf", "swap_free",
        ],
        words.size,
    ),
}  # fmt: skip
LETTERS = {":": "Colon", "@": "At", "*": "Asterisk", "\\": "Backslash", "?": "Question mark"}


class Refused(Exception):
    """The text of a refusal, with the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Rejected(Refused):
    """Format a refusal as qmaster writes it."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(f"Unable to run job: {text}\nExiting.", code)


def qsub(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    settings, how = cluster.settings, fault["how"] if fault else ""
    try:
        flags, command = read(call.arguments)
        if "help" in flags:
            return Answer(out=words.VERSION + "usage: qsub [options]\n")
        script, name = _script(call, flags, command)
        if flags.get("b") != ["y"] and flags.get("C") != [""]:
            prefix = flags.get("C", ["#$"])[0]
            flags = {**read(_directives(script, prefix))[0], **flags}
        request = _request(cluster, call, flags, command, name)
        if settings.controller == "down" or how == "before":
            return words.no_answer("qsub", settings.message_timeout)
        if how == "refuse":
            assert fault is not None
            raise Rejected(fault.get("text", "job rejected: no"))
        _check(cluster, request, flags)
    except Refused as error:
        return Answer(error.code, err=f"{error.text}\n")
    number = cluster.submit(request, script)
    if how == "after":
        return words.no_answer("qsub", settings.message_timeout)
    tasks = ""
    if request.indices is not None:
        first, last, step = request.extra["range"].split()
        tasks = f".{first}-{last}:{step}"
    text = (
        f"{number}{tasks}\n"
        if "terse" in flags
        else f'Your job{"-array" if tasks else ""} {number}{tasks} ("{request.name}") has been '
        "submitted\n"
    )
    return Answer(out=text, wait_for=number if flags.get("sync") in (["y"], ["yes"]) else None)


def read(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the options, several of ``-l`` and ``-hold_jid`` as one, and the other words."""
    options: dict[str, list[str]] = {}
    pending = list(arguments)
    while pending and pending[0].startswith("-") and pending[0] != "-":
        word = pending.pop(0)
        if word == "--":
            break
        count = WORDS_AFTER.get(word[1:])
        if count is None:
            raise Refused(f'qsub: invalid option argument "{word}"', 2)
        if len(pending) < count:
            raise Refused(f"qsub: ERROR! {word} option must have argument", 2)
        values, pending = pending[:count], pending[count:]
        if word[1:] in ("l", "hold_jid", "hold_jid_ad", "v") and word[1:] in options:
            values = [f"{options[word[1:]][0]},{values[0]}"]
        options[word[1:]] = values
        if word in ("-cwd", "-wd"):  # the last of them counts
            options.pop("wd" if word == "-cwd" else "cwd", None)
    return options, pending


def _script(call: Call, flags: dict[str, list[str]], command: list[str]) -> tuple[bytes, str]:
    if flags.get("b") == ["y"]:
        if not command:
            raise Refused("qsub: command required for a binary job", 2)
        if len(command[0]) > 4096:
            raise Rejected("a path or filename may not exceed 4096 characters")
        text = (
            f"exec {shlex.join(command)}\n"
            if flags.get("shell") == ["n"]
            else f"{' '.join(command)}\n"
        )
        return text.encode(), os.path.basename(command[0])
    if not command or command[0] == "-":
        if call.stdin is None:
            raise NeedsStdin
        return call.stdin, "STDIN"
    try:
        with open(os.path.join(call.directory, command[0]), "rb") as file:
            return file.read(), os.path.basename(command[0])
    except OSError as error:
        raise Refused(
            f"Unable to read script file because of error: error opening {command[0]}: "
            f"{error.strerror}",
            14,
        ) from None


def _directives(script: bytes, prefix: str) -> list[str]:
    options: list[str] = []
    for line in script.decode("utf-8", "surrogateescape").splitlines():
        if line.startswith(prefix):
            options += shlex.split(line[len(prefix) :])
    return options


def _request(
    cluster: Cluster, call: Call, flags: dict[str, list[str]], command: list[str], name: str
) -> Request:
    """Check what qsub itself checks."""
    user = pwd.getpwuid(call.uid)

    def text(option: str, default: str = "") -> str:
        return flags[option][0] if option in flags else default

    indices, range_ = None, ""
    if "t" in flags:
        if "," in text("t"):
            raise Refused("qsub: -t option only allows one range specification", 7)
        match = re.match(r"[\d:-]+", text("t"))
        trailer = text("t")[match.end() :] if match else ""
        if trailer and match and match[0][-1].isdigit():
            raise Refused(
                f'qsub: Range specifier "{text("t").rpartition("-")[2]}" has unknown trailer '
                f'"{trailer}"',
                7,
            )
        positions = words.span(text("t"))
        if positions is None:
            raise Refused(
                "qsub: Numerical value invalid!\nThe initial portion of string "
                f'"{text("t").rpartition("-")[2]}" contains no decimal number',
                7,
            )
        indices, range_ = (
            tuple(positions),
            f"{positions.start} {positions.stop - 1} {positions.step}",
        )
    name = text("N", name)
    if "/" in name:
        raise Refused("qsub: argument to -N option must not contain / ", 2)
    begin = words.moment(text("a")) if "a" in flags else 0.0
    if begin is None:
        raise Refused("qsub: Wrong date/time format", 7)
    if "hold_jid" in flags and not text("hold_jid").strip(","):
        raise Refused(
            f'qsub: Wrong jid_hold list format "{text("hold_jid")}" specified to -hold_jid option',
            7,
        )
    if "tc" in flags and not text("tc").isdigit():
        raise Refused("qsub: Numerical value invalid!", 7)
    home = call.environment.get("HOME", user.pw_dir)
    directory = call.directory if "cwd" in flags else text("wd", home)
    directory = directory.replace("$USER", user.pw_name).replace("$HOME", home)
    return Request(
        name=name, user=user.pw_name, uid=call.uid, gid=call.gid, account="science", partition="",
        script="", arguments=() if flags.get("b") == ["y"] else tuple(command[1:]),
        directory=directory, environment=_environment(call, flags, home),
        output=_log(text("o"), directory, indices is not None), append=True,
        error="" if text("j", "n") in ("y", "yes")
        else _log(text("e"), directory, indices is not None, "e"),
        memory=0, indices=indices, throttle=int(text("tc", "0")), begin=begin,
        held="h" in flags, requeue=False,
        shell=(text("S", "/bin/sh"),),
        extra={"submit": call.directory, "account": text("A", "sge"), "home": home, "pe": "",
               "l": "", "range": range_, "tc": text("tc"), "b": text("b", "n")},
    )  # fmt: skip


def _log(target: str, directory: str, array: bool, letter: str = "o") -> str:
    hosts = [word for word in re.split(r",", target) if word]
    if len(hosts) > 1:
        raise Rejected("ERROR! two files are specified for the same host")
    if not target:
        tail = ".$TASK_ID" if array else ""
        return os.path.join(directory, f"$JOB_NAME.{letter}$JOB_ID{tail}")
    host, colon, path = target.partition(":")
    if not colon:
        path = target
    elif host and host != words.HOST:
        raise Rejected(f'can\'t resolve hostname "{host}"')
    return os.path.join(directory, path)


def _environment(call: Call, flags: dict[str, list[str]], home: str) -> dict[str, str]:
    """Return what of the submitter's environment a job gets."""
    user = pwd.getpwuid(call.uid).pw_name
    variables = {"HOME": home, "SHELL": "/bin/sh", "USER": user, "LOGNAME": user, "TERM": ""}
    if "V" in flags:
        variables = {**variables, **call.environment}
    for word in flags.get("v", [""])[0].split(","):
        name, equals, value = word.partition("=")
        if equals or name in call.environment:
            variables[name] = value if equals else call.environment[name]
        elif name:
            variables[name] = ""
    return variables


def _check(cluster: Cluster, request: Request, flags: dict[str, list[str]]) -> None:
    """Check what qmaster checks, and put the result into the request."""
    name, settings = request.name, cluster.settings
    if not name:
        raise Rejected("job rejected cause there is no job_name in the request")
    if len(name) > 512:
        raise Rejected("job name too long, maximum allowed length is 512 characters")
    for letter, word in LETTERS.items():
        if letter in name:
            raise Rejected(f"{word} ('{letter}') not allowed in objectname")
    if name[0].isdigit():
        raise Rejected(
            f'denied: "{name}" is not a valid object name (cannot start with a digit)'
        )
    if " " in name or not name.isascii():
        raise Rejected("Error reading answer list from qmaster")
    if request.indices is not None:
        if 0 in request.indices:
            raise Rejected("job rejected: 0 is an invalid task id")
        if len(request.indices) > settings.max_array_size:
            raise Rejected(
                "job rejected: you tried to submit a job with more than "
                f"{settings.max_array_size} tasks"
            )
    _resources(request, flags)
    if "q" in flags and flags["q"][0]:
        queues = [queue.partition("@")[0] for queue in flags["q"][0].split(",")]
        for queue in queues:
            if queue not in cluster.partitions:
                raise Rejected(f'Job was rejected because job requests unknown queue "{queue}"')
        request.partition = queues[0] if len(queues) == 1 else ""
    if "pe" in flags:
        environment, slots = flags["pe"]
        if environment != "smp":
            raise Rejected(
                f'job rejected: the requested parallel environment "{environment}" does not exist'
            )
        if not slots.isdigit() or int(slots) < 1:
            raise Rejected('"job" rejected: pe range must be greater than zero')
        request.cpus, request.extra["pe"] = int(slots), environment
    if flags.get("P", [""])[0]:
        raise Rejected(f'job rejected: the requested project "{flags["P"][0]}" does not exist')
    if "p" in flags and int(flags["p"][0]) > 0:
        raise Rejected("job rejected: positive submission priority requires operator privileges")
    _dependencies(cluster, request, flags)
    limit = cluster.accounts["science"].max_submit
    own_jobs = [
        jobs
        for jobs in list(cluster.jobs.values())
        if jobs[0].request.user == request.user and any(job.live for job in jobs)
    ]
    if limit is not None and len(own_jobs) >= limit:  # an array counts as one
        raise Rejected(
            f"job rejected: only {limit} jobs are allowed per user (current job count: "
            f"{len(own_jobs)})",
            25,
        )


def _resources(request: Request, flags: dict[str, list[str]]) -> None:
    for word in filter(None, flags.get("l", [""])[0].split(",")):
        name, _, value = word.partition("=")
        if name not in COMPLEXES:
            raise Rejected(f'unknown resource "{name}"')
        kind = COMPLEXES[name]
        try:
            parsed = kind(value)
        except ValueError:
            parsed = None
        if parsed is None:
            what = "time" if kind is words.seconds else "memory"
            raise Rejected(f'attribute "{name}" is not a {what} value')
        if name == "h_rt":
            request.limit = int(parsed)
            value = str(parsed)
        elif name == "h_vmem":
            request.address_space = int(parsed)
        elif name in ("mem_free", "mf") and parsed > 64 << 30:
            request.refused_reason = "resources"
        request.extra["l"] += f"{',' if request.extra['l'] else ''}{name}={value}"


def _dependencies(cluster: Cluster, request: Request, flags: dict[str, list[str]]) -> None:
    for option, kind in (("hold_jid", "any"), ("hold_jid_ad", "each")):
        for word in filter(None, flags.get(option, [""])[0].split(",")):
            if "." in word and word.partition(".")[0].isdigit():
                raise Rejected(f'denied: job "{word}" not found')
            if kind == "each" and request.indices is None:
                raise Rejected(
                    'Can only specify "-hold_jid_ad" option with an array job (using "-t" option)'
                )
            jobs, _ = words.chosen(cluster, word, request.user)
            for base in sorted({job.base for job in jobs}):
                if kind == "each" and cluster.jobs[base][0].request.indices != request.indices:
                    raise Rejected(
                        "This array job must have the same range of sub-tasks as the dependent "
                        "array job specified with -hold_jid_ad"
                    )
                request.dependencies.append(Dependency(kind, base))
