"""scancel: takes jobs out of the queue, or sends them a signal."""

from __future__ import annotations

import pwd
import signal
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import PENDING, RUNNING, Job
from ..engine.server import Answer, Call
from . import getopt, ids, words
from .getopt import BadOption, parse

SHORT = {
    "A": "account", "b": "batch", "f": "full", "H": "hurry", "i": "interactive", "M": "clusters",
    "n": "name", "p": "partition", "Q": "quiet", "q": "qos", "R": "reservation", "s": "signal",
    "t": "state", "u": "user", "v": "verbose", "V": "version", "w": "nodelist",
}  # fmt: skip
LONG = getopt.options(
    yes=(
        "account clusters name jobname partition qos reservation signal state user nodelist "
        "wckey cluster"
    ),
    no=("batch full hurry interactive quiet verbose version ctld help usage cron me sibling"),
)


def scancel(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer:
    try:
        options, operands = parse("scancel", call.arguments, SHORT, LONG, anywhere=True)
    except BadOption as error:
        return Answer(1, err=f'{error}\nTry "scancel --help" for more information\n')
    flags = dict(options)
    if "version" in flags:
        return Answer(out="slurm-wlm 22.05.8\n")
    number = None
    if "signal" in flags:
        name = (flags["signal"] or "").upper().removeprefix("SIG")
        number = int(name) if name.isdigit() else getattr(signal, f"SIG{name}", None)
        if number is None:
            return Answer(1, err=f"Unknown job signal: {flags['signal']}\n")
    states = None
    if flags.get("state"):
        parsed_states = words.states(flags["state"] or "")
        if isinstance(parsed_states, str):
            return Answer(
                1,
                err=f"Invalid job state specified: {parsed_states}\n"
                "Valid job states are PENDING, RUNNING, and SUSPENDED\n",
            )
        states = parsed_states
    user = flags.get("user")
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError:
            return Answer(1, err=f"scancel: error: Invalid user name: {user}\n")
    name = flags.get("name") or flags.get("jobname")
    filters = [user, name, states, flags.get("partition"), flags.get("account"), "me" in flags]
    targets: list[tuple[str, int, list[int] | None]] = []
    for word in operands:
        for target in _split(word):
            parsed = ids.parse(target)
            if parsed is None:
                return Answer(1, err=f"scancel: error: Invalid job id {target}\n")
            targets.append((target, *parsed))
    if not targets and not any(filters):
        return Answer(1, err="scancel: error: No job identification provided\n")
    settings = cluster.settings
    if settings.controller == "down" or (fault and fault["how"] != "after"):
        text = words.CONTACT if settings.controller == "down" else words.TIMED_OUT
        text = fault.get("text", text) if fault else text
        pause = 0.0 if fault and fault["how"] == "refuse" else settings.message_timeout
        first = targets[0][0] if targets else "0"
        err = f"scancel: error: Kill job error on job id {first}: {text}\n"
        return Answer(8, err=err, pause=pause)

    def selected(job: Job) -> bool:
        request = job.request
        return (
            (call.uid in (0, request.uid))
            and (not user or request.user == user)
            and (not name or request.name in name.split(","))
            and (states is None or words.state(job)[0] in states)
            and flags.get("partition") in (None, request.partition)
            and flags.get("account") in (None, request.account)
        )

    errors = ""
    if not targets:
        _end(
            cluster,
            [job for job in cluster.remembered() if selected(job) and job.live],
            number,
            flags,
            call,
        )
    for target, base, which in targets:
        jobs = ids.chosen(cluster, base, which)
        live = [job for job in jobs if job.state in (PENDING, RUNNING) and selected(job)]
        errors += f"scancel: Terminating job {target}\n"
        if not jobs:
            errors += (
                f"scancel: error: Kill job error on job id {target}: Invalid job id specified\n"
            )
        elif not live:
            errors += (
                f"scancel: error: Kill job error on job id {target}: "
                "Job/step already completing or completed\n"
            )
        _end(cluster, live, number, flags, call)
    err = errors if "verbose" in flags else ""
    if fault:
        return Answer(8, err=f"scancel: error: {words.TIMED_OUT}\n", pause=settings.message_timeout)
    return Answer(err=err)


def _end(
    cluster: Cluster, jobs: list[Job], number: int | None, flags: dict[str, str | None], call: Call
) -> None:
    if number is None or (number == signal.SIGKILL and not {"batch", "full"} & set(flags)):
        cluster.cancel(jobs, call.uid)
        return
    for job in jobs:
        if job.state == RUNNING:
            batch, full = "batch" in flags, "full" in flags
            # Without --batch and --full a signal goes to steps, and these jobs have none.
            cluster.signal(job, number, script=batch or full, rest=full)


def _split(word: str) -> list[str]:
    """Split a list of ids at the commas that are not within brackets."""
    parts, depth = [""], 0
    for letter in word:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]
