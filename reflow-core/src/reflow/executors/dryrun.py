"""An executor that submits nothing: `Workflow.submit` shows what it would submit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from attrs import frozen

from ..errors import SubmissionRefusedError
from .base import Capabilities, Executor, JobRequest, JobStatus


@frozen(kw_only=True)
class DryRunExecutor(Executor):
    """Has `Workflow.submit` print what would run, and run nothing."""

    name: ClassVar[str] = "dry-run"
    runs_nothing: ClassVar[bool] = True

    @property
    def capabilities(self) -> Capabilities:
        """What a scheduler without any feature can do."""
        return Capabilities()

    def submit(self, request: JobRequest) -> str:
        """Refuse: a dry run has no jobs."""
        raise SubmissionRefusedError(f"a dry run submits nothing (job {request.name!r})")

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Return nothing: there are no jobs."""
        return {}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Return nothing: there are no jobs."""
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        """Do nothing: there are no jobs."""
