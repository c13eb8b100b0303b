"""How LSF writes job ids and options, and what its clients say when a daemon is down."""

from __future__ import annotations

import re
from typing import Any

from ..engine.cluster import Cluster
from ..engine.model import Job
from ..engine.server import Answer, Call

NO_ANSWER = (
    "Failed in an LSF library call: Failed in sending/receiving a message: "
    "Connection reset by peer"
)
VERSION = "OpenLava 4.0dev4, simulated\n"
FOREVER = 3600.0


class Usage(Exception):
    """An option that does not exist, or lacks its value."""


def options(arguments: list[str], names: str) -> tuple[dict[str, str], list[str]]:
    """Read options as OpenLava does; `names` are divided by blanks, a colon: it takes a value.

    An unknown option is read as its first letter with the remaining letters as value: ``-cwd x``
    is ``-c wd`` and the word ``x``.
    """
    takes_value = {name.rstrip(":"): name.endswith(":") for name in names.split()}
    flags: dict[str, str] = {}
    pending = list(arguments)
    while pending and pending[0].startswith("-") and len(pending[0]) > 1:
        word = pending.pop(0)[1:]
        if word in takes_value:
            if takes_value[word] and not pending:
                raise Usage(word)
            flags.setdefault(word, pending.pop(0) if takes_value[word] else "")
        elif takes_value.get(word[0]):
            flags.setdefault(word[0], word[1:])
        elif word[0] in takes_value and len(word) > 1:
            flags.setdefault(word[0], "")
            pending.insert(0, f"-{word[1:]}")
        else:
            raise Usage(word[0])
    return flags, pending


def ids(word: str) -> tuple[int, list[int]] | None:
    """Read ``5`` or ``5[1-3,7]``; an empty list is the whole job, None no id at all."""
    match = re.fullmatch(r"(\d+)(?:\[([\d,:-]+)\])?", word)
    if match is None:
        return None
    return int(match[1]), spans(match[2]) or [] if match[2] else []


def spans(text: str) -> list[int] | None:
    """Read ``1,3,5-9:2``; None where it is no list of positive numbers."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is None:
            return None
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not first or last < first or not step:
            return None
        numbers += range(first, last + 1, step)
    return numbers


def find(cluster: Cluster, number: int, indices: list[int], *, past: bool = False) -> list[Job]:
    """Return a job, or elements of it, if it is remembered; with `past` also a forgotten one."""
    jobs = [job for job in cluster.find(number) if past or not job.purged]
    return [job for job in jobs if not indices or job.index in indices]


def down(cluster: Cluster, call: Call, fault: dict[str, Any] | None) -> Answer | None:
    """Return what a client prints that gets no answer; it tries for ever, or LSB_NTRIES times."""
    if cluster.settings.controller == "down":
        if call.command == "bhist":
            return Answer(
                255, err="ls_getclustername(): LIM is down; try later\n",
                pause=cluster.settings.message_timeout,
            )  # fmt: skip
        if "LSB_NTRIES" in call.environment:
            return Answer(
                255, err="Failed in an LSF library call: LIM is down; try later\n",
                pause=cluster.settings.message_timeout,
            )  # fmt: skip
        return Answer(
            255, err="batch system daemon not responding ... still trying\n", pause=FOREVER
        )
    if fault and fault["how"] == "refuse":
        return Answer(255, err=f"{fault.get('text', 'Bad argument')}\n")
    if fault and (fault["how"] == "before" or call.command != "bsub"):
        return Answer(255, err=f"{NO_ANSWER}\n", pause=cluster.settings.message_timeout)
    return None
