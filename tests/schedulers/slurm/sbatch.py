"""sbatch: options from the command line and the script, checked as Slurm checks them."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import UNKNOWN_QOS, Dependency, Request
from ..engine.server import Answer, Call, NeedsStdin
from . import getopt, words
from .getopt import BadOption, parse

SHORT = {
    "a": "array", "A": "account", "b": "begin", "c": "cpus-per-task", "d": "dependency",
    "D": "chdir", "e": "error", "H": "hold", "i": "input", "J": "job-name", "k": "no-kill",
    "L": "licenses", "M": "clusters", "m": "distribution", "n": "ntasks", "N": "nodes",
    "o": "output", "O": "overcommit", "p": "partition", "q": "qos", "Q": "quiet",
    "s": "oversubscribe", "S": "core-spec", "t": "time", "v": "verbose", "W": "wait",
    "C": "constraint", "F": "nodefile", "w": "nodelist", "x": "exclude", "G": "gpus",
    "h": "help", "V": "version", "B": "extra-node-info",
}  # fmt: skip
LONG = getopt.options(
    yes=(
        "array account bb bbf begin comment cpu-freq cpus-per-task dependency deadline delay-"
        "boot chdir error export export-file gid gres gres-flags input job-name licenses "
        "clusters container distribution mail-type mail-user mcs-label ntasks ntasks-per-node "
        "nodes output partition power priority profile qos core-spec signal switches thread-"
        "spec time time-min uid wckey wrap cluster-constraint constraint nodefile mem mincpus "
        "reservation tmp nodelist exclude mem-per-cpu sockets-per-node cores-per-socket "
        "threads-per-core ntasks-per-core ntasks-per-socket cpus-per-gpu gpus gpu-bind gpu-"
        "freq gpus-per-node gpus-per-socket gpus-per-task mem-per-gpu open-mode kill-on-"
        "invalid-dep acctg-freq mem-bind hint extra-node-info ntasks-per-gpu burst-buffer "
        "cluster"
    ),
    no=(
        "hold ignore-pbs overcommit parsable quiet reboot requeue no-requeue oversubscribe "
        "spread-job use-min-nodes verbose wait contiguous help usage version test-only"
    ),
    maybe=("get-user-env no-kill nice propagate exclusive"),
)
VARIABLES = {
    "SBATCH_ACCOUNT": "account", "SBATCH_PARTITION": "partition", "SBATCH_TIMELIMIT": "time",
    "SBATCH_QOS": "qos", "SBATCH_EXPORT": "export", "SBATCH_JOB_NAME": "job-name",
    "SBATCH_CONSTRAINT": "constraint", "SBATCH_RESERVATION": "reservation",
}  # fmt: skip
NO_SHEBANG = (
    "sbatch: error: This does not look like a batch script.  The first\n"
    "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
    "sbatch: error: For instance: #!/bin/sh\n"
)
DOS = (
    "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"
    "sbatch: error: instead of expected UNIX line breaks (\\n).\n"
)
FAILED = "sbatch: error: Batch job submission failed: "
LIMIT = (
    "sbatch: error: AssocMaxSubmitJobLimit\n"
    f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time "
    "limits)\n"
)
UNAVAILABLE = "Requested node configuration is not available"
MAIL = {
    "NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT", "TIME_LIMIT",
    "TIME_LIMIT_50", "TIME_LIMIT_80", "TIME_LIMIT_90", "ARRAY_TASKS",
}  # fmt: skip
KINDS = {
    "after": "after", "afterany": "any", "afterok": "ok", "afternotok": "notok",
    "aftercorr": "corr",
}  # fmt: skip


class Refused(Exception):
    """The text of a refusal, with the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


def sbatch(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        options, arguments = parse("sbatch", call.arguments, SHORT, LONG)
        flags = dict(options)
        if "version" in flags:
            return Answer(out="slurm-wlm 22.05.8\n")
        script, name = _script(call, flags, arguments)
        directives = _directives(script) if "wrap" not in flags else []
        inside, _ = parse("sbatch", directives, SHORT, LONG)
        from_environment = [
            (option, call.environment[variable])
            for variable, option in VARIABLES.items()
            if variable in call.environment
        ]
        merged = dict([*inside, *from_environment, *options])
        request = _request(cluster, call, merged, arguments, name)
    except BadOption as error:
        return Answer(255, err=f'{error}\nTry "sbatch --help" for more information\n')
    except Refused as error:
        return Answer(error.code, err=error.text)
    settings = cluster.settings
    if settings.controller == "down":
        return Answer(1, err=f"{FAILED}{words.CONTACT}\n", pause=settings.message_timeout)
    how = fault["how"] if fault else ""
    if how == "before":
        return Answer(1, err=f"{FAILED}{words.TIMED_OUT}\n", pause=settings.message_timeout)
    if how == "refuse":
        assert fault is not None
        text = fault.get("text", "Unspecified error")
        full = text if text.startswith("sbatch: ") else f"{FAILED}{text}"
        return Answer(1, err=f"{full.rstrip()}\n")
    try:
        _check(cluster, request, merged)
    except Refused as error:
        return Answer(error.code, err=error.text)
    if "test-only" in merged:
        return Answer(
            err=f"sbatch: Job {cluster.next_number} to start at {words.moment(1)} using 1 "
            f"processors on nodes n1 in partition {request.partition}\n"
        )
    number = cluster.submit(request, script)
    if how == "after":
        return Answer(1, err=f"{FAILED}{words.TIMED_OUT}\n", pause=settings.message_timeout)
    text = f"{number}\n" if "parsable" in merged else f"Submitted batch job {number}\n"
    return Answer(out=text, wait_for=number if "wait" in merged else None)


def _script(call: Call, flags: dict[str, str | None], arguments: list[str]) -> tuple[bytes, str]:
    if "wrap" in flags:
        if arguments:
            raise Refused("sbatch: error: Script arguments not permitted with --wrap option\n")
        text = f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{flags['wrap']}\n"
        return text.encode(), ""
    if arguments:
        path = os.path.join(call.directory, arguments[0])
        if "/" not in arguments[0] and not os.path.exists(path):
            for folder in call.environment.get("PATH", "").split(":"):
                if os.path.isfile(f"{folder}/{arguments[0]}"):
                    path = f"{folder}/{arguments[0]}"
                    break
        try:
            with open(path, "rb") as file:
                script = file.read()
        except IsADirectoryError:
            script = b""
        except OSError:
            raise Refused(f"sbatch: error: Unable to open file {arguments[0]}\n") from None
    elif call.stdin is None:
        raise NeedsStdin
    else:
        path, script = "", call.stdin
    if not script:
        raise Refused("sbatch: error: Batch script is empty!\n")
    if not script.startswith(b"#!"):
        raise Refused(NO_SHEBANG)
    if b"\r\n" in script:
        raise Refused(DOS)
    return script, path


def _directives(script: bytes) -> list[str]:
    """Return the options of the #SBATCH lines before the first command."""
    options: list[str] = []
    for line in script.decode("utf-8", "surrogateescape").splitlines():
        if line.startswith("#SBATCH"):
            options += shlex.split(line[len("#SBATCH") :], comments=True)
        elif line.strip() and not line.startswith("#"):
            break
    return options


def _request(
    cluster: Cluster, call: Call, flags: dict[str, str | None], arguments: list[str], path: str
) -> Request:
    """Check what sbatch itself checks."""
    settings = cluster.settings
    user = pwd.getpwuid(call.uid).pw_name

    def text(name: str, default: str = "") -> str:
        return flags.get(name) or default

    def log(name: str, default: str) -> str:
        """A log named "none" means no log."""
        log_name = text(name, default)
        log_name = "/dev/null" if log_name.lower() == "none" else log_name
        return os.path.join(directory, log_name) if log_name else ""

    def number(name: str, default: int) -> int:
        if name not in flags:
            return default
        value = text(name)
        if not value.isdigit() or not int(value):
            raise Refused(f'sbatch: error: Invalid numeric value "{value}" for --{name}.\n')
        return int(value)

    def bad(name: str) -> Refused:
        return Refused(f"sbatch: error: Invalid --{name} specification\n", 255)

    cpus, tasks = number("cpus-per-task", 1), number("ntasks", 1)
    nodes = text("nodes", "1")
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)?", nodes):
        raise Refused(f'sbatch: error: "{nodes}" is not a valid node count\n', 255)
    partition = cluster.partitions.get(text("partition", next(iter(cluster.partitions))))
    limit = partition.default_limit if partition else 60
    if "time" in flags:
        parsed = words.time_limit(text("time"))
        if parsed is None:
            raise bad("time")
        limit = parsed or limit
    count = int(nodes.partition("-")[0])
    memory = settings.default_memory * -(-cpus * tasks // count)
    for name in ("mem", "mem-per-cpu", "mem-per-gpu", "tmp"):
        if name in flags:
            parsed = words.megabytes(text(name))
            if parsed is None:
                raise bad(name)
            if name == "mem":
                memory = parsed
            elif name == "mem-per-cpu":
                memory = parsed * -(-cpus * tasks // count)
    begin = 0.0
    if "begin" in flags:
        moment = words.point(text("begin"))
        if moment is None:
            error = f"Invalid time specification (pos=0): {text('begin')}\n"
            raise Refused(f"{error}sbatch: error: Invalid --begin specification\n", 255)
        begin = moment
    if text("kill-on-invalid-dep", "no") not in ("yes", "no"):
        raise bad("kill-on-invalid-dep")
    if text("open-mode", "t")[0] not in "at":
        raise bad("open-mode")
    if "signal" in flags and not re.fullmatch(
        r"([RB]+:)?(\d+|(SIG)?[A-Z]+\d?)(@\d+)?", text("signal")
    ):
        raise bad("signal")
    if "signal" in flags and text("signal").lower() == text("signal"):
        raise bad("signal")
    if not set(text("mail-type", "ALL").upper().split(",")) <= MAIL:
        raise bad("mail-type")
    if "clusters" in flags and text("clusters") != "reflow":
        name = text("clusters")
        raise Refused(
            f"sbatch: error: No cluster '{name}' known by database.\n"
            f"sbatch: error: '{name}' can't be reached now, or it is an invalid entry for "
            "--cluster.  Use 'sacctmgr list clusters' to see available clusters.\n"
        )
    directory = os.path.join(call.directory, text("chdir", call.directory))
    default = "slurm-%A_%a.out" if text("array") else "slurm-%j.out"
    return Request(
        name=text("job-name", os.path.basename(path) if path else
                  ("wrap" if "wrap" in flags else "sbatch")),
        user=user, uid=call.uid, gid=call.gid,
        account=text("account", next(iter(cluster.accounts))),
        partition=partition.name if partition else text("partition"),
        script=path, arguments=tuple(arguments[1:]), directory=directory,
        environment=_environment(call, flags.get("export")),
        output=log("output", default),
        error=log("error", ""),
        input=os.path.join(directory, text("input", "/dev/null")),
        append=text("open-mode", "t")[0] == "a",
        cpus=cpus, tasks=tasks, nodes=count, memory=memory, limit=limit,
        comment=text("comment"), begin=begin, held="hold" in flags,
        requeue="no-requeue" not in flags,
        kill_on_never=text("kill-on-invalid-dep") == "yes",
        extra={"command": path, "submit": call.directory, "qos": text("qos", "normal")},
    )  # fmt: skip


def _environment(call: Call, export: str | None) -> dict[str, str]:
    """Return what of the submitter's environment a job gets."""
    basic = {
        "HOME": call.environment.get("HOME", "/"), "SHELL": "/bin/sh",
        "USER": pwd.getpwuid(call.uid).pw_name, "LOGNAME": pwd.getpwuid(call.uid).pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }  # fmt: skip
    if export is None or export.upper() == "ALL":
        return {**basic, **call.environment}
    entries = export.split(",")
    variables = {**basic, "SLURM_EXPORT_ENV": export}
    if "ALL" in entries:
        variables = {**basic, **call.environment, "SLURM_EXPORT_ENV": export}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if equals:
            variables[name] = value
        elif name in call.environment:
            variables[name] = call.environment[name]
    return variables


def _check(cluster: Cluster, request: Request, flags: dict[str, str | None]) -> None:
    """Check what slurmctld checks, and put the result into the request."""
    if request.partition not in cluster.partitions:
        raise Refused(
            f"sbatch: error: invalid partition specified: {request.partition}\n"
            f"{FAILED}Invalid partition name specified\n"
        )
    if request.account not in cluster.accounts:
        raise Refused(f"{FAILED}Invalid account or account/partition combination specified\n")
    if any(flags.get(option) for option in ("gres", "gpus", "gpus-per-node", "gpus-per-task")):
        raise Refused("sbatch: error: Invalid generic resource (gres) specification\n")
    for name, text in (
        ("constraint", "Invalid feature specification"),
        ("reservation", "Requested reservation is invalid"),
        ("licenses", "Invalid license specification"),
    ):
        if flags.get(name):
            raise Refused(f"{FAILED}{text}\n")
    node_list = flags.get("nodelist")
    if node_list and not set(node_list.split(",")) <= set(cluster.nodes):
        raise Refused(f"{FAILED}Invalid node name specified\n")
    if flags.get("array"):
        request.indices, request.throttle = _array(cluster, flags["array"] or "")
    if flags.get("dependency"):
        _dependency(request, flags["dependency"] or "", cluster)
    partition = cluster.partitions[request.partition]
    nodes = [cluster.nodes[name] for name in partition.nodes]
    if request.memory > max(node.memory for node in nodes) and flags.get("mem"):
        raise Refused(
            f"sbatch: error: Memory specification can not be satisfied\n{FAILED}{UNAVAILABLE}\n"
        )
    total = sum(node.cpus for node in nodes)
    if max(node.cpus for node in nodes) < request.cpus <= total:
        raise Refused(
            f"sbatch: error: CPU count per node can not be satisfied\n{FAILED}{UNAVAILABLE}\n"
        )
    if request.extra["qos"] != "normal":
        request.refused_reason = UNKNOWN_QOS
    limit = cluster.accounts[request.account].max_submit
    size = len(request.indices) if request.indices is not None else 1
    if limit is not None and cluster.submitted_by(request.user, request.account) + size > limit:
        raise Refused(LIMIT)


def _array(cluster: Cluster, text: str) -> tuple[tuple[int, ...], int]:
    wrong = Refused(f"{FAILED}Invalid job array specification\n")
    spans, _, throttle = text.partition("%")
    indices: set[int] = set()
    for part in spans.rstrip(",").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is None:
            raise wrong
        first, last, step = (int(part) if part else None for part in match.groups())
        assert first is not None
        last = first if last is None else last
        if step == 0 or last < first or last >= cluster.settings.max_array_size:
            raise wrong
        indices.update(range(first, last + 1, step or 1))
    digits = re.match(r"\d*", throttle)
    return tuple(sorted(indices)), int(digits.group() or 0) if digits else 0


def _dependency(request: Request, text: str, cluster: Cluster) -> None:
    wrong = Refused(f"{FAILED}Job dependency problem\n")
    request.any_of = "?" in text
    for clause in re.split(r"[,?]", text):
        kind, _, targets = clause.partition(":")
        if kind == "singleton" and not targets:
            request.dependencies.append(Dependency("singleton"))
            continue
        if kind not in KINDS or not targets:
            raise wrong
        for target in targets.split(":"):
            match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\*))?(?:\+(\d+))?", target)
            if match is None:
                raise wrong
            number, index, delay = match.groups()
            request.dependencies.append(
                Dependency(
                    KINDS[kind], int(number), int(index) if index else None,
                    60.0 * int(delay or 0),
                )
            )  # fmt: skip
