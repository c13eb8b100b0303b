"""The scripts of jobs: what a node's shell does before and after a process of reflow."""

from __future__ import annotations

import os
import shlex

from ..storage.events import Intent
from ..storage.run_directory import RunRequest, job_command
from .base import Executor

PAUSES = (15, 30, 60, 120, 240, 480, 960, 1920)
"""After so many seconds the job of a pass that left no successor runs it again: the scheduler may
have been down, or the lease held by a process whose node is."""


class Scripts:
    """Renders the scripts of the jobs of one run."""

    def __init__(self, request: RunRequest, folder: str) -> None:
        """`folder` is where the record of the run is."""
        self._request = request
        self._folder = folder

    def auxiliary(self, executor: Executor, intent: Intent, begin: float) -> str:
        """Return the script of a job that carries the run on, in `begin` seconds."""
        pauses = " ".join(map(str, PAUSES))
        work = (
            f"for pause in {pauses} 0; do\n  reflow pass {self._job(intent)} && break\n"
            "  sleep $pause\ndone\n"
        )
        if begin and not executor.capabilities.begin:
            work = f"sleep {begin:.0f}\n{work}"
        return self._script(executor, intent, work)

    def worker(
        self, executor: Executor, intent: Intent, size: int, *, tail: bool, beside: bool
    ) -> str:
        """Return the script of a job of `size` elements.

        `tail`: it runs the next pass after its worker, whatever became of that; `beside`: by a
        process that gets ready while the worker is at work.
        """
        capabilities, job = executor.capabilities, self._job(intent)
        position, mark = "0", '"$(uname -n)/$$"'
        if size > 1:
            position = f"$(({capabilities.array_variable} - {capabilities.first_index}))"
        if capabilities.job_variable:
            mark = f'"${{{capabilities.job_variable}:-$(uname -n)/$$}}"'
        after = f"reflow tail {job}\n" if tail else ""
        # The shell outlives the interpreter, and publishes its death where it was killed. A
        # worker with a process beside it leaves the tail to that, unless it dies.
        return self._script(
            executor,
            intent,
            f"position={position}\n"
            f"mark={mark}\n"
            f'reflow work {job} "$position" "$mark"{" tail" if beside else ""} || {{\n'
            f'  reflow died {job} "$position" "$mark" $?\n'
            + (f"  {after}}}\n" if beside else f"}}\n{after}"),
        )

    def _job(self, intent: Intent) -> str:
        return f"{shlex.quote(self._folder)} {intent.tag}"

    def _script(self, executor: Executor, intent: Intent, work: str) -> str:
        """Return a script that does `work` after what every job begins with."""
        exports = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in executor.environment.items()
        )
        prologue = executor.prologue.rstrip()
        # The scheduler's commands run with LC_ALL=C, and some hand their environment to the job.
        locale = os.environ.get("LC_ALL", "")
        return (
            f"#!/bin/sh\n# Job {intent.tag}; safe to run again by hand.\n"
            # Where the folder is gone the worker puts that on record; a pass does without it.
            f"cd {shlex.quote(self._request.entrypoint.directory)}\n"
            + (f"export LC_ALL={shlex.quote(locale)}\n" if locale else "unset LC_ALL\n")
            + exports
            + (f"{prologue}\n" if prologue else "")
            + f'reflow() {{ {job_command(self._request.python)} "$@"; }}\n'
            + f"{work}exit 0\n"
        )
