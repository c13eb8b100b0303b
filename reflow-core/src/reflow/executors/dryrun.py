"""An executor that shows what would be submitted, and submits nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from attrs import frozen

from ..errors import SubmissionRefusedError
from .base import Capabilities, Executor, JobRequest, JobStatus


@frozen(kw_only=True)
class DryRunExecutor(Executor):
    """Stands for "show me": `Workflow.submit` prints the plan instead of running it."""

    name: ClassVar[str] = "dry-run"
    runs_nothing: ClassVar[bool] = True

    @property
    def capabilities(self) -> Capabilities:
        """Nothing is ever run."""
        return Capabilities()

    def submit(self, request: JobRequest) -> str:
        """Refuse: a dry run has no jobs."""
        raise SubmissionRefusedError(f"a dry run submits nothing (job {request.name!r})")

    def poll(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """Know of no job."""
        return {}

    def find(self, tags: Collection[str]) -> Mapping[str, str]:
        """Know of no job."""
        return {}

    def cancel(self, jobs: Collection[str]) -> None:
        """Have nothing to cancel."""
