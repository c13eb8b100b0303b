"""What all flux commands share: their options, their errors, a broker that is down."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from ..engine.cluster import Cluster
from ..engine.model import Settings
from ..engine.server import Answer, Call

SOCKET = "broker socket /run/flux/local was not found"


class Refused(Exception):
    """The text of a refusal, with the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Parser(argparse.ArgumentParser):
    """Parser of one command's options; unreadable ones raise `Refused`."""

    def __init__(self, program: str, usage: str) -> None:
        super().__init__(prog=program, usage=usage, add_help=False)

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{self.format_usage()}{self.prog}: error: {message}\n", 2)


def unreachable(settings: Settings, command: str, fault: Mapping[str, Any] | None) -> Answer | None:
    """Return the answer where the broker is down or a test injects an error; else None."""
    if settings.controller == "down":
        text = f"Unable to connect to Flux: {SOCKET}"
        return Answer(1, err=f"flux-{command}: ERROR: {text}\n", pause=settings.message_timeout)
    if fault and fault["how"] == "before":
        return timed_out(settings, command)
    if fault and fault["how"] == "refuse":
        return Answer(1, err=f"{fault.get('text', '[Errno 22] refused')}\n")
    return None


def timed_out(settings: Settings, command: str) -> Answer:
    text = "[Errno 110] Connection timed out"
    return Answer(1, err=f"flux-{command}: ERROR: {text}\n", pause=settings.message_timeout)


def name(call: Call) -> str:
    """Return what a call counts as: ``flux submit`` and ``flux bulksubmit`` are one."""
    word = call.arguments[0] if call.arguments else ""
    return {"bulksubmit": "submit"}.get(word, word)


def own(cluster: Cluster, call: Call) -> list[Any]:
    """Return the jobs of the caller that have not been purged."""
    return [job for job in cluster.remembered() if job.request.uid == call.uid]
