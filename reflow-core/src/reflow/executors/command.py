"""Base of the executors that drive a scheduler through its own commands.

A backend adds its settings, its capabilities and, as pure functions, how to
render a request and how to read what the commands print. Running those commands
is the business of this class alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NoReturn

from attrs import frozen

from ..errors import ExecutorError
from .base import Executor, JobRequest, JobStatus


@frozen(kw_only=True)
class CommandExecutor(Executor):
    """An executor that runs a scheduler's commands as argument lists, never by a shell.

    This version holds settings only: each of the four operations raises
    `ExecutorError`.
    """

    def submit(self, request: JobRequest) -> str:
        """Raise `ExecutorError`."""
        self._cannot("submit jobs")

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Raise `ExecutorError`."""
        self._cannot("ask for jobs")

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Raise `ExecutorError`."""
        self._cannot("look for jobs")

    def cancel(self, jobs: Collection[str]) -> None:
        """Raise `ExecutorError`."""
        self._cannot("cancel jobs")

    def _cannot(self, what: str) -> NoReturn:
        raise ExecutorError(
            f"executor {self.name!r} cannot {what}: this version of reflow-{self.name} knows its "
            "settings but does not talk to the scheduler yet; try: executor='local'"
        )
