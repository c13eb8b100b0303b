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
        options, rest = parse("scancel", call.arguments, SHORT, LONG, anywhere=True)
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
        found = words.states(flags["state"] or "")
        if isinstance(found, str):
            return Answer(
                1,
                err=f"Invalid job state specified: {found}\n"
                "Valid job states are PENDING, RUNNING, and SUSPENDED\n",
            )
        states = found
    user = flags.get("user")
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError:
            return Answer(1, err=f"scancel: error: Invalid user name: {user}\n")
    name = flags.get("name") or flags.get("jobname")
    filters = [user, name, states, flags.get("partition"), flags.get("account"), "me" in flags]
    wanted: list[tuple[str, int, list[int] | None]] = []
    for word in rest:
        for one in _split(word):
            parsed = ids.parse(one)
            if parsed is None:
                return Answer(1, err=f"scancel: error: Invalid job id {one}\n")
            wanted.append((one, *parsed))
    if not wanted and not any(filters):
        return Answer(1, err="scancel: error: No job identification provided\n")
    settings = cluster.settings
    if settings.controller == "down" or (fault and fault["how"] != "after"):
        text = words.CONTACT if settings.controller == "down" else words.TIMED_OUT
        text = fault.get("text", text) if fault else text
        pause = 0.0 if fault and fault["how"] == "refuse" else settings.message_timeout
        first = wanted[0][0] if wanted else "0"
        err = f"scancel: error: Kill job error on job id {first}: {text}\n"
        return Answer(8, err=err, pause=pause)

    def asked(job: Job) -> bool:
        request = job.request
        return (
            (call.uid in (0, request.uid))
            and (not user or request.user == user)
            and (not name or request.name in name.split(","))
            and (states is None or words.state(job)[0] in states)
            and flags.get("partition") in (None, request.partition)
            and flags.get("account") in (None, request.account)
        )

    said = ""
    if not wanted:
        _end(
            cluster,
            [job for job in cluster.known() if asked(job) and job.live],
            number,
            flags,
            call,
        )
    for one, base, which in wanted:
        jobs = ids.chosen(cluster, base, which)
        live = [job for job in jobs if job.state in (PENDING, RUNNING) and asked(job)]
        said += f"scancel: Terminating job {one}\n"
        if not jobs:
            said += f"scancel: error: Kill job error on job id {one}: Invalid job id specified\n"
        elif not live:
            said += (
                f"scancel: error: Kill job error on job id {one}: "
                "Job/step already completing or completed\n"
            )
        _end(cluster, live, number, flags, call)
    err = said if "verbose" in flags else ""
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
    found, depth = [""], 0
    for letter in word:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [one for one in found if one]
